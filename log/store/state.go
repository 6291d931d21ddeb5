package store

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/culvert-mq/culvert/log/record"
)

// Errors of the idempotence check (KIP-98).
var (
	ErrOutOfOrderSequence   = errors.New("out of order sequence number")
	ErrInvalidProducerEpoch = errors.New("producer epoch is older than the newest one seen")
)

const (
	// producerWindow is the number of batches remembered per producer: what a client may have in flight.
	producerWindow = 5
	// maxProducers bounds the producers remembered per partition. The one that wrote least recently goes first.
	maxProducers = 256
	// maxTruncations bounds the truncations remembered per partition.
	maxTruncations = 64
)

// PartitionInfo names a partition. The id is the store's own and is never used again.
type PartitionInfo struct {
	ID      uint32
	Topic   string
	TopicID [16]byte
	Index   int32
}

// EpochStart says at which offset a leader epoch began.
type EpochStart struct {
	Epoch int32
	Start int64
}

// Produced is one remembered batch of an idempotent producer.
type Produced struct {
	BaseSequence, LastSequence int32
	BaseOffset, NextOffset     int64
}

// Producer is what a partition remembers of an idempotent producer: its newest epoch and its last batches, oldest first.
type Producer struct {
	Epoch            int16
	CoordinatorEpoch int32 // of the newest marker, -1 before the first
	Time             int64 // largest timestamp of its newest batch, ms
	TxnStart         int64 // where the transaction that it has open begins, -1 if it has none
	Batches          []Produced

	rewound bool  // Rewind took all batches
	expect  int32 // then the base sequence of the first of them, which must come again first
}

// Aborted is a transaction that was given up: readers of committed records pass over what its producer wrote between First
// and Last, the offset of the marker.
type Aborted struct {
	Producer    int64
	First, Last int64
}

// Truncation is where the log ended after one, for telling which older snapshots of the state are of another history.
type Truncation struct {
	Number uint32 // counted from 1
	Offset int64
}

// Hole is a range of offsets whose records were lost with a damaged file.
type Hole struct{ From, To int64 }

// Gone counts records that leave the log when its start moves on: those that were to be forwarded and had not been are
// lost, the others expired.
type Gone struct{ Expired, Lost int64 }

// PartitionState is all that the log says of a partition beside its records. It is a pure function of the batches and
// operations applied to it, in order. The zero value with its Info set is a new, empty partition.
type PartitionState struct {
	PartitionInfo
	Start     int64 // first offset that is still there
	Next      int64 // offset of the next record
	Cleaned   int64 // compaction has looked at what is before
	Epochs    []EpochStart
	Producers map[int64]*Producer
	Aborted   []Aborted // by Last
	Holes     []Hole    // behind Start, in order

	Truncated   uint32       // how often
	Truncations []Truncation // those that none behind them went below: numbers and offsets ascend

	// What became of records that are not there any more, beside those that compaction took.
	Gone
	Damaged int64 // lost with a damaged file
}

// Clone returns a deep copy.
func (p *PartitionState) Clone() *PartitionState {
	c := *p
	c.Epochs, c.Aborted, c.Holes, c.Truncations = slices.Clone(p.Epochs), slices.Clone(p.Aborted), slices.Clone(p.Holes), slices.Clone(p.Truncations)
	c.Producers = make(map[int64]*Producer, len(p.Producers))
	for id, pr := range p.Producers {
		p := *pr
		p.Batches = slices.Clone(pr.Batches)
		c.Producers[id] = &p
	}
	return &c
}

// Check decides whether a batch may be appended. A batch that repeats one of its producer's last five returns that
// batch's base offset and duplicate = true. Other refusals are ErrOutOfOrderSequence and ErrInvalidProducerEpoch. A
// producer that is not known may begin with any sequence, because what was known of it may have expired.
func (p *PartitionState) Check(b record.Batch) (base int64, duplicate bool, err error) {
	id := b.ProducerID()
	if id < 0 {
		return 0, false, nil
	}
	pr := p.Producers[id]
	switch {
	case pr == nil:
		return 0, false, nil
	case b.ProducerEpoch() < pr.Epoch:
		return 0, false, ErrInvalidProducerEpoch
	case b.Attributes().Control():
		return 0, false, nil // a marker has no sequence
	case b.ProducerEpoch() > pr.Epoch:
		if b.BaseSequence() != 0 {
			return 0, false, ErrOutOfOrderSequence
		}
		return 0, false, nil
	case len(pr.Batches) == 0:
		if pr.rewound && b.BaseSequence() != pr.expect {
			return 0, false, ErrOutOfOrderSequence
		}
		return 0, false, nil
	}
	for _, d := range pr.Batches {
		if d.BaseSequence == b.BaseSequence() && d.LastSequence == b.LastSequence() {
			return d.BaseOffset, true, nil
		}
	}
	want := int32(0)
	if last := pr.Batches[len(pr.Batches)-1].LastSequence; last != math.MaxInt32 {
		want = last + 1
	}
	if b.BaseSequence() != want {
		return 0, false, ErrOutOfOrderSequence
	}
	return 0, false, nil
}

// Apply takes an appended batch into account. One that is counted already changes nothing.
func (p *PartitionState) Apply(b record.Batch) {
	if b.NextOffset() <= p.Next {
		return
	}
	p.Next = b.NextOffset()
	p.BeginEpoch(b.LeaderEpoch(), b.BaseOffset())
	id := b.ProducerID()
	if id < 0 {
		return
	}
	pr := p.producer(id, b.ProducerEpoch())
	pr.Time = max(pr.Time, b.MaxTimestamp())
	switch m, marker := b.Marker(); {
	case marker:
		if pr.TxnStart >= 0 && !m.Commit {
			p.Aborted = append(p.Aborted, Aborted{id, pr.TxnStart, b.LastOffset()})
		}
		pr.TxnStart, pr.CoordinatorEpoch = -1, m.CoordinatorEpoch
		return
	case b.Attributes().Control():
		return
	case b.Attributes().Transactional() && pr.TxnStart < 0:
		pr.TxnStart = b.BaseOffset()
	}
	if len(pr.Batches) == producerWindow {
		pr.Batches = slices.Delete(pr.Batches, 0, 1)
	}
	pr.Batches = append(pr.Batches, Produced{b.BaseSequence(), b.LastSequence(), b.BaseOffset(), b.NextOffset()})
	pr.rewound = false
}

// producer returns what is remembered of a producer, which begins a new epoch with nothing.
func (p *PartitionState) producer(id int64, epoch int16) *Producer {
	pr := p.Producers[id]
	if pr == nil {
		if p.Producers == nil {
			p.Producers = make(map[int64]*Producer)
		}
		if len(p.Producers) >= maxProducers {
			p.forgetOldestProducer()
		}
		pr = &Producer{Epoch: epoch, CoordinatorEpoch: -1, TxnStart: -1}
		p.Producers[id] = pr
	}
	if epoch != pr.Epoch {
		pr.Epoch, pr.Batches = epoch, pr.Batches[:0]
	}
	return pr
}

// FirstUnstable returns where the oldest transaction begins that is open, Next if there is none (KIP-98).
func (p *PartitionState) FirstUnstable() int64 {
	first := p.Next
	for _, pr := range p.Producers {
		if pr.TxnStart >= 0 {
			first = min(first, pr.TxnStart)
		}
	}
	return first
}

// AbortedIn returns the aborted transactions that a reader of the offsets from (inclusive) to (exclusive) has to know.
func (p *PartitionState) AbortedIn(from, to int64) []Aborted {
	i, _ := slices.BinarySearchFunc(p.Aborted, from, func(a Aborted, from int64) int { return cmp.Compare(a.Last, from) })
	var in []Aborted
	for _, a := range p.Aborted[i:] {
		if a.First < to {
			in = append(in, a)
		}
	}
	return in
}

// truncate counts a truncation.
func (p *PartitionState) truncate(offset int64) {
	p.Truncated++
	p.Truncations = slices.DeleteFunc(p.Truncations, func(t Truncation) bool { return t.Offset >= offset })
	if len(p.Truncations) == maxTruncations {
		p.Truncations = slices.Delete(p.Truncations, 0, 1)
	}
	p.Truncations = append(p.Truncations, Truncation{p.Truncated, offset})
}

// isPrefixOf reports whether the log at this state is a beginning of the log at a later one.
func (p *PartitionState) isPrefixOf(later *PartitionState) bool {
	if len(later.Truncations) == maxTruncations && p.Truncated < later.Truncations[0].Number {
		return false // of those before nothing is known
	}
	return !slices.ContainsFunc(later.Truncations, func(t Truncation) bool { return t.Number > p.Truncated && t.Offset < p.Next })
}

// moveStart makes offset the first one that is there.
func (p *PartitionState) moveStart(offset int64, gone Gone) {
	if offset <= p.Start {
		return
	}
	p.Start = offset
	p.Expired += gone.Expired
	p.Lost += gone.Lost
	p.Aborted = slices.DeleteFunc(p.Aborted, func(a Aborted) bool { return a.Last < offset })
	p.Holes = slices.DeleteFunc(p.Holes, func(h Hole) bool { return h.To <= offset })
}

// expireProducers forgets the producers that have written nothing since a time (ms) and have no transaction open.
func (p *PartitionState) expireProducers(before int64) {
	for id, pr := range p.Producers {
		if pr.Time < before && pr.TxnStart < 0 {
			delete(p.Producers, id)
		}
	}
}

// addHole notes that the records from one offset on up to another are lost, n of them at most, and that the latter is not
// given to another record.
func (p *PartitionState) addHole(from, to, n int64) {
	p.Next = max(p.Next, to)
	if gone := p.Start - from; gone > 0 { // these had left before
		from, n = p.Start, max(0, n-gone)
	}
	p.Damaged += n
	if from < to {
		p.Holes = append(p.Holes, Hole{from, to})
		slices.SortFunc(p.Holes, func(a, b Hole) int { return cmp.Compare(a.From, b.From) })
	}
}

// BeginEpoch notes the offset at which a leader epoch begins, unless that epoch or a later one has begun.
func (p *PartitionState) BeginEpoch(epoch int32, offset int64) {
	if epoch >= 0 && (len(p.Epochs) == 0 || p.Epochs[len(p.Epochs)-1].Epoch < epoch) {
		p.Epochs = append(p.Epochs, EpochStart{epoch, offset})
	}
}

func (p *PartitionState) forgetOldestProducer() {
	oldest, at := int64(-1), int64(math.MaxInt64)
	for id, pr := range p.Producers {
		if pr.TxnStart >= 0 {
			continue
		}
		if last := pr.lastOffset(); last < at || last == at && id < oldest {
			oldest, at = id, last
		}
	}
	delete(p.Producers, oldest)
}

func (pr *Producer) lastOffset() int64 {
	if len(pr.Batches) == 0 {
		return -1
	}
	return pr.Batches[len(pr.Batches)-1].NextOffset
}

// Rewind forgets what was applied at and past offset next, for batches that did not become durable. What they had
// pushed out of a producer's window does not come back; a client has at most the window in flight, so it cannot ask. A
// producer of which nothing is left must go on with the first batch that was taken from it: those behind it may be on
// their way already.
func (p *PartitionState) Rewind(next int64) {
	p.Next = min(p.Next, next)
	p.Epochs = slices.DeleteFunc(p.Epochs, func(e EpochStart) bool { return e.Start >= next })
	p.Aborted = slices.DeleteFunc(p.Aborted, func(a Aborted) bool { return a.Last >= next })
	for _, pr := range p.Producers {
		if pr.TxnStart >= next {
			pr.TxnStart = -1
		}
		i := slices.IndexFunc(pr.Batches, func(d Produced) bool { return d.BaseOffset >= next })
		if i < 0 {
			continue
		}
		if i == 0 {
			pr.rewound, pr.expect = true, pr.Batches[0].BaseSequence
		}
		pr.Batches = pr.Batches[:i]
	}
}

// EpochEnd answers OffsetForLeaderEpoch (KIP-101, KIP-279): the largest epoch at or below the one asked for, and the
// offset at which it ended; (-1, -1) where that is not known. The newest epoch ends at the log's end.
func (p *PartitionState) EpochEnd(epoch int32) (int32, int64) {
	n := len(p.Epochs)
	if n == 0 || epoch > p.Epochs[n-1].Epoch || epoch < p.Epochs[0].Epoch {
		return -1, -1
	}
	i, found := slices.BinarySearchFunc(p.Epochs, epoch, func(e EpochStart, want int32) int { return cmp.Compare(e.Epoch, want) })
	if !found {
		i--
	}
	if i == n-1 {
		return p.Epochs[i].Epoch, p.Next
	}
	return p.Epochs[i].Epoch, p.Epochs[i+1].Start
}

// EpochAt returns the leader epoch under which the record at an offset was written, -1 if that is not known.
func (p *PartitionState) EpochAt(offset int64) int32 {
	epoch := int32(-1)
	for _, e := range p.Epochs {
		if e.Start > offset {
			break
		}
		epoch = e.Epoch
	}
	return epoch
}

// State is what the log says of all partitions, as of one group.
type State struct {
	Partitions map[uint32]*PartitionState
	NextID     uint32 // the id that the next partition will get
}

func newState() *State { return &State{Partitions: make(map[uint32]*PartitionState), NextID: 1} }

// clone returns a deep copy.
func (s *State) clone() *State {
	c := &State{Partitions: make(map[uint32]*PartitionState, len(s.Partitions)), NextID: s.NextID}
	for id, p := range s.Partitions {
		c.Partitions[id] = p.Clone()
	}
	return c
}

// apply takes a group or a commit into account, whose entries are in offset order per partition. An operation comes before
// the batches of its partition at and past the offset at, and behind the others.
func (s *State) apply(ops []op, entries []Entry) {
	if len(ops) == 0 {
		for _, e := range entries {
			s.applyBatch(e)
		}
		return
	}
	of := make(map[uint32][]Entry)
	for _, e := range entries {
		of[e.Partition] = append(of[e.Partition], e)
	}
	for _, o := range ops {
		id := o.info.ID
		for len(of[id]) > 0 && of[id][0].Batch.BaseOffset() < o.at {
			s.applyBatch(of[id][0])
			of[id] = of[id][1:]
		}
		s.applyOp(o)
	}
	for _, rest := range of {
		for _, e := range rest {
			s.applyBatch(e)
		}
	}
}

func (s *State) applyBatch(e Entry) {
	if p := s.Partitions[e.Partition]; p != nil {
		p.Apply(e.Batch)
	}
}

// applyOp takes an operation into account; one that names an unknown partition changes nothing.
func (s *State) applyOp(o op) {
	switch o.kind {
	case opCreate:
		if s.Partitions[o.info.ID] == nil {
			s.Partitions[o.info.ID] = &PartitionState{PartitionInfo: o.info}
		}
		s.NextID = max(s.NextID, o.info.ID+1)
	case opDrop:
		delete(s.Partitions, o.info.ID)
	case opReset:
		if s.Partitions[o.info.ID] != nil {
			s.Partitions[o.info.ID] = o.state.Clone()
		}
	default:
		if p := s.Partitions[o.info.ID]; p != nil {
			p.applyOp(o)
		}
	}
}

func (p *PartitionState) applyOp(o op) {
	switch o.kind {
	case opStart:
		p.moveStart(o.offset, o.gone)
	case opEpoch:
		p.BeginEpoch(o.epoch, o.offset)
	case opExpire:
		p.expireProducers(o.offset)
	case opCleaned:
		p.Cleaned = max(p.Cleaned, o.offset)
	case opHole:
		p.addHole(o.offset, o.to, o.count)
	}
}

// ids returns the partitions' ids in ascending order.
func (s *State) ids() []uint32 { return slices.Sorted(maps.Keys(s.Partitions)) }
