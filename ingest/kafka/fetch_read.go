package kafka

import (
	"time"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/sync/replica"
)

// fetchState is an answer to Fetch as it is put together.
type fetchState struct {
	parts     []fetchPart
	asks      []fetchAsk
	forgotten []fetchKey
	stops     []func() // of watching partitions
}

// fetchPart is one partition of an answer.
type fetchPart struct {
	fetchAsk
	cached *sessionPart // of an incremental request, else nil

	code            errorCode
	hw, lso, start  int64 // -1 with an error
	divergeAt       int64 // where the client's log leaves this one, -1 if it does not
	divergeEpoch    int32
	hint, hintEpoch int32 // the leader and its epoch, -1 unless another broker leads
	span            Span
	batches         []record.Batch
	size            int // bytes of batches
}

func (f *fetchPart) diverged() bool { return f.divergeAt >= 0 }

// fetchLimits are what bounds an answer as a whole.
type fetchLimits struct {
	minBytes, maxBytes int
	committed          bool // up to the last stable offset only
	byID               bool
}

// gather reads until there is enough to answer: the bytes asked for, something that the client has to know, or the end of
// the time it wants to wait. The records stay where they are until release.
func (st *fetchState) gather(s *Server, w *writer, q *call, lim fetchLimits, wait time.Duration) {
	if st.read(s, lim) || wait <= 0 || len(st.parts) == 0 {
		return
	}
	// What waits takes memory from a budget of its own, so that it does not hold up what works. Beyond that nobody waits.
	if !s.parked.TryAcquire(q.size) {
		return
	}
	defer s.parked.Release(q.size)
	s.budget.give(q.size)
	defer func() { q.size = 0 }()
	w.flush()
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	moved := make(chan struct{}, 1)
	st.watch(s, moved, lim.byID)
	defer st.unwatch()
	for {
		st.release()
		if st.read(s, lim) {
			return
		}
		st.release()
		select {
		case <-moved:
		case <-timeout.C:
			st.read(s, lim)
			return
		case <-w.c.poll.Done():
			st.read(s, lim)
			return
		}
	}
}

// read reads every partition once and tells whether that is enough for an answer.
func (st *fetchState) read(s *Server, lim fetchLimits) bool {
	total, enough := 0, false
	for i := range st.parts {
		p := &st.parts[i]
		p.read(s, lim, total)
		total += p.size
		enough = enough || p.code != codeNone || p.diverged()
	}
	return enough || total >= lim.minBytes
}

// release gives back the records, which must not be used any more.
func (st *fetchState) release() {
	for i := range st.parts {
		st.parts[i].release()
	}
}

// watch has moved told of every change to the partitions, for as long as unwatch is not called.
func (st *fetchState) watch(s *Server, moved chan<- struct{}, byID bool) {
	for i := range st.parts {
		if p, err := st.parts[i].partition(s, byID); err == nil {
			st.stops = append(st.stops, p.Watch(moved))
		}
	}
}

func (st *fetchState) unwatch() {
	for _, stop := range st.stops {
		stop()
	}
	clear(st.stops)
	st.stops = st.stops[:0]
}

func (f *fetchPart) partition(s *Server, byID bool) (Partition, error) {
	if byID {
		return s.partitionByID(f.id, f.index)
	}
	return s.logs.Partition(f.topic, f.index)
}

func (f *fetchPart) release() {
	if f.span != nil {
		f.span.Release()
	}
	f.span, f.batches, f.size = nil, nil, 0
}

// read looks at the partition and reads what still fits into the answer behind the bytes of the partitions before it.
func (f *fetchPart) read(s *Server, lim fetchLimits, before int) {
	f.hw, f.lso, f.start, f.divergeAt, f.hint, f.hintEpoch = -1, -1, -1, -1, -1, -1
	part, err := f.partition(s, lim.byID)
	if err == nil {
		if f.code = checkEpoch(part, f.leaderEpoch); f.code != codeNone {
			return
		}
		err = f.readFrom(part, lim, before)
	}
	if f.code = codeOf(err); f.code == codeNone {
		return
	}
	f.release()
	f.hw, f.lso, f.start = -1, -1, -1
	switch f.code {
	case codeNotLeaderOrFollower:
		f.hint, f.hintEpoch = s.leader(f.topic, f.id, f.index)
	case codeUnknownServerError, codeKafkaStorageError:
		s.log.Error("records could not be read", "topic", f.topic, "topic_id", f.id, "partition", f.index, "offset", f.offset, "error", err)
	}
}

func (f *fetchPart) readFrom(part Partition, lim fetchLimits, before int) error {
	f.start, f.hw, f.lso = part.StartOffset(), part.HighWatermark(), part.LastStableOffset()
	if f.lastEpoch >= 0 {
		epoch, end := part.EpochEnd(f.lastEpoch)
		switch {
		case epoch < 0:
			return replica.ErrOffsetOutOfRange
		case epoch < f.lastEpoch || end < f.offset:
			f.divergeEpoch, f.divergeAt = epoch, end
			return nil
		}
	}
	if f.offset < f.start || f.offset > f.hw {
		return replica.ErrOffsetOutOfRange
	}
	end := f.hw
	if lim.committed {
		end = f.lso
	}
	room := min(int(max(f.maxBytes, 0)), lim.maxBytes-before)
	if f.offset >= end || room <= 0 && before > 0 {
		return nil
	}
	span, err := part.Read(f.offset, max(room, 1))
	if err != nil {
		return err
	}
	f.span = span
	for i, b := range span.Batches() {
		// The first records of an answer come whatever the limits are, so that a batch larger than they are does not stop
		// its consumer for good (KIP-74).
		if b.LastOffset() >= end || f.size+len(b) > room && before+f.size > 0 {
			break
		}
		f.batches, f.size = span.Batches()[:i+1], f.size+len(b)
	}
	if f.size == 0 {
		f.release()
	}
	return nil
}
