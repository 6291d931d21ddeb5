package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/culvert-mq/culvert/log/record"
)

// ErrDropped says that the partition of a Log was dropped.
var ErrDropped = errors.New("partition was dropped from the log")

// errGone says that a segment was dropped between being found and being read; the reader looks again.
var errGone = errors.New("segment was dropped")

// Log reads one partition's batches, wherever they are: in the memory of groups that are not absorbed yet, in the
// active segment or in a sealed one. Its methods may be called from any goroutine.
type Log struct {
	st *Store
	id uint32

	mu     sync.RWMutex
	tail   []tailBatch  // guarded by mu: in the journal only, oldest first
	active []indexEntry // guarded by mu: runs in the active segment
	sealed []sealedRun  // guarded by mu: oldest first
	gone   bool         // guarded by mu: dropped

	partial partialRun // guarded by mu
}

type tailBatch struct {
	record.Batch
	seq uint64
}

type sealedRun struct {
	runSummary
	seg *segment
	cut bool // what its segment holds behind Next was truncated
}

// Span is a piece of a partition: whole batches in offset order. Their bytes are valid until Release.
type Span struct {
	Batches []record.Batch
	seg     *segment
	tx      *bolt.Tx
	bytes   int
}

// Bytes returns the size of all batches together.
func (s *Span) Bytes() int { return s.bytes }

// Release gives the span's memory back. It must be called once.
func (s *Span) Release() {
	if s.tx != nil {
		s.seg.end(s.tx)
		s.tx = nil
	}
}

func (s *Span) add(b record.Batch) {
	s.Batches = append(s.Batches, b)
	s.bytes += len(b)
}

// Read returns batches from the one that holds offset from, or the first one behind it, that end at or before limit:
// as many as fit into about size bytes, but at least one. The span is empty when there is nothing. A sealed segment
// that proves damaged is set aside, and what follows it is read; damage in the active one is a *DamageError. Error:
// ErrDropped.
func (l *Log) Read(from, limit int64, size int) (*Span, error) {
	for {
		s, err := l.read(from, limit, size)
		if !l.st.lookAgain(err) {
			return s, err
		}
	}
}

func (l *Log) read(from, limit int64, size int) (*Span, error) {
	l.mu.RLock()
	if l.gone {
		l.mu.RUnlock()
		return nil, ErrDropped
	}
	for n := len(l.sealed); n > 0 && from < l.sealed[n-1].Next; n = len(l.sealed) {
		run := l.sealed[firstReaching(n, from, func(i int) int64 { return l.sealed[i].Next })]
		l.mu.RUnlock()
		s, err := l.readSealed(run, from, limit, size)
		if err != nil || len(s.Batches) > 0 || run.Next >= limit {
			return s, err
		}
		s.Release()
		from = run.Next // nothing is left of the run behind from
		l.mu.RLock()
		if l.gone {
			l.mu.RUnlock()
			return nil, ErrDropped
		}
	}
	if n := len(l.active); n > 0 && from < l.active[n-1].next {
		i := firstReaching(n, from, func(i int) int64 { return l.active[i].next })
		runs := l.active[i:min(n, i+64)]
		seg := l.st.active.Load()
		tx, err := seg.begin() // under the lock, so that seg is the segment these runs are in
		l.mu.RUnlock()
		if err != nil {
			return nil, err
		}
		return l.collect(seg, tx, len(runs), func(i int) indexEntry { return runs[i] }, from, limit, size)
	}
	defer l.mu.RUnlock()
	s := &Span{}
	i := firstReaching(len(l.tail), from, func(i int) int64 { return l.tail[i].NextOffset() })
	for _, b := range l.tail[i:] {
		if b.NextOffset() > limit || len(s.Batches) > 0 && s.bytes+len(b.Batch) > size {
			break
		}
		s.add(b.Batch)
	}
	return s, nil
}

func (l *Log) readSealed(run sealedRun, from, limit int64, size int) (*Span, error) {
	tx, ix, err := l.openSealed(run.seg)
	if err != nil {
		return nil, err
	}
	i := firstReaching(ix.len(), from, func(i int) int64 { return ix.at(i).next })
	return l.collect(run.seg, tx, ix.len()-i, func(k int) indexEntry { return ix.at(i + k) }, from, min(limit, run.Next), size)
}

func (l *Log) openSealed(seg *segment) (tx *bolt.Tx, ix packedIndex, err error) {
	if tx, err = seg.begin(); err != nil {
		return nil, nil, err
	}
	l.st.touch(seg)
	err = guard(seg, func() error {
		h := tx.Bucket(keyHeader)
		if h == nil || h.Bucket(keyIndex) == nil {
			return seg.damaged(0, errors.New("no index"))
		}
		if ix, err = openIndex(h.Bucket(keyIndex).Get(binary.BigEndian.AppendUint32(nil, l.id))); err != nil {
			return seg.damaged(0, fmt.Errorf("index of partition %d: %w", l.id, err))
		}
		return nil
	})
	if err != nil {
		seg.end(tx)
		return nil, nil, err
	}
	return tx, ix, nil
}

// collect reads the runs of one segment into a span, which then owns tx.
func (l *Log) collect(seg *segment, tx *bolt.Tx, n int, run func(i int) indexEntry, from, limit int64, size int) (*Span, error) {
	s := &Span{seg: seg, tx: tx}
	err := guard(seg, func() error {
		for i := range n {
			r := run(i)
			if r.base >= limit || len(s.Batches) > 0 && s.bytes >= size {
				return nil
			}
			if full, err := l.collectRun(s, r, from, limit, size); full || err != nil {
				return err
			}
		}
		return nil
	})
	whole, bad := l.verify(seg, s.Batches)
	for _, b := range s.Batches[whole:] {
		s.bytes -= len(b)
	}
	s.Batches = s.Batches[:whole]
	if bad != nil {
		err = bad
	}
	if err != nil && len(s.Batches) == 0 {
		s.Release()
		return nil, err
	}
	return s, nil // what is whole before the damage is served; the next read begins at the damage
}

// verify returns how many of the first batches are whole, and what is wrong with the next.
func (l *Log) verify(seg *segment, batches []record.Batch) (whole int, err error) {
	now := l.st.verified.clock()
	err = guard(seg, func() error {
		for _, b := range batches {
			if !l.st.verified.recently(seg, l.id, b, now) {
				fetchLines(b)
				if !b.VerifyCRC() {
					return seg.damaged(0, fmt.Errorf("batch at offset %d: checksum does not match", b.BaseOffset()))
				}
				l.st.verified.note(seg, l.id, b, now)
			}
			whole++
		}
		return nil
	})
	return whole, err
}

// fetchLines has the processor fetch b from memory, many cache lines at a time. The checksum, which has to have one byte
// before it can go on with the next, would wait for each: it is a fifth faster behind this.
func fetchLines(b []byte) {
	const line = 64
	var sum byte
	for len(b) >= 4*line {
		sum += b[0] + b[line] + b[2*line] + b[3*line]
		b = b[4*line:]
	}
	runtime.KeepAlive(sum)
}

func (l *Log) collectRun(s *Span, r indexEntry, from, limit int64, size int) (full bool, err error) {
	b := s.tx.Bucket(seqKey(r.seq))
	if b == nil {
		return false, s.seg.damaged(r.seq, errors.New("commit is missing"))
	}
	c := b.Cursor()
	var buf [12]byte
	key := itemKey(buf[:], l.id, max(from, r.base))
	k, v := c.Seek(key)
	if from > r.base && !bytes.Equal(k, key) {
		k, v = c.Prev() // the batch before holds the offset
		if k == nil {
			k, v = c.First()
		}
	}
	at := int64(-1) // where the batches so far end
	for ; len(k) == 12 && binary.BigEndian.Uint32(k) == l.id; k, v = c.Next() {
		if len(s.Batches) > 0 && s.bytes+len(v) > size {
			return true, nil
		}
		batch, err := shapeOf(k, v)
		if err != nil {
			return false, s.seg.damaged(r.seq, err)
		}
		if at < 0 && batch.BaseOffset() > max(from, r.base) {
			break
		}
		at = batch.NextOffset()
		if behind := at > min(r.next, limit); behind || at <= from {
			if !batch.VerifyCRC() { // it is passed over only if what it says of itself is right
				return false, s.seg.damaged(r.seq, fmt.Errorf("batch at offset %d: checksum does not match", batch.BaseOffset()))
			}
			if behind { // r.next: what is behind was truncated
				return at > limit, nil
			}
			continue
		}
		s.add(batch)
	}
	if at != r.next && (at < 0 || r.records >= 0) {
		return false, s.seg.damaged(r.seq, fmt.Errorf("batches of partition %d are missing between offsets %d and %d", l.id, r.base, r.next))
	}
	return false, nil
}

// ReadTime returns a span that begins with the first batch whose largest timestamp is at or past ts (ms) among the
// batches at and past offset from; an empty one if there is none.
func (l *Log) ReadTime(ts, from, limit int64) (*Span, error) {
	for {
		s, err := l.readTime(ts, from, limit)
		if !l.st.lookAgain(err) {
			return s, err
		}
	}
}

func (l *Log) readTime(ts, from, limit int64) (*Span, error) {
	at, err := l.findTime(ts, from)
	if err != nil || at < 0 {
		return &Span{}, err
	}
	for at < limit { // the run is known, look for the batch
		s, err := l.Read(max(at, from), limit, 1)
		if err != nil || len(s.Batches) == 0 || s.Batches[0].MaxTimestamp() >= ts {
			return s, err
		}
		at = s.Batches[0].NextOffset()
		s.Release()
	}
	return &Span{}, nil
}

// findTime returns the base offset of the first run with a timestamp at or past ts, -1 if there is none.
func (l *Log) findTime(ts, from int64) (int64, error) {
	l.mu.RLock()
	if l.gone {
		l.mu.RUnlock()
		return -1, ErrDropped
	}
	sealed := slices.Clone(l.sealed)
	base := int64(-1)
	for _, e := range l.active {
		if e.maxTime >= ts && e.next > from {
			base = e.base
			break
		}
	}
	if base < 0 {
		for _, b := range l.tail {
			if b.MaxTimestamp() >= ts && b.NextOffset() > from {
				base = b.BaseOffset()
				break
			}
		}
	}
	l.mu.RUnlock()
	for _, run := range sealed {
		if run.MaxTime < ts || run.Next <= from {
			continue
		}
		tx, ix, err := l.openSealed(run.seg)
		if err != nil {
			return -1, err
		}
		found := int64(-1)
		err = guard(run.seg, func() error {
			for i := range ix.len() {
				if e := ix.at(i); e.maxTime >= ts && e.next > from && e.base < run.Next {
					found = e.base
					break
				}
			}
			return nil
		})
		run.seg.end(tx)
		if err != nil || found >= 0 {
			return found, err
		}
	}
	return base, nil
}

// Size returns the bytes of the partition's batches.
func (l *Log) Size() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n := int64(0)
	for _, r := range l.sealed {
		n += r.Bytes
	}
	for _, e := range l.active {
		n += e.bytes
	}
	for _, b := range l.tail {
		n += int64(len(b.Batch))
	}
	return n
}

// MaxTime returns the largest timestamp, in ms, of all batches; -1 when there are none.
func (l *Log) MaxTime() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	ts := int64(-1)
	for _, r := range l.sealed {
		ts = max(ts, r.MaxTime)
	}
	for _, e := range l.active {
		ts = max(ts, e.maxTime)
	}
	for _, b := range l.tail {
		ts = max(ts, b.MaxTimestamp())
	}
	return ts
}

// Run sums up a partition's batches in one sealed segment, the unit that retention drops.
type Run struct {
	Base, Next int64 // offsets
	MaxTime    int64 // largest timestamp, ms
	Bytes      int64
	Records    int64
}

// SealedRuns returns the partition's runs in sealed segments, oldest first.
func (l *Log) SealedRuns() []Run {
	l.mu.RLock()
	defer l.mu.RUnlock()
	runs := make([]Run, len(l.sealed))
	for i, r := range l.sealed {
		runs[i] = r.run()
	}
	return runs
}

// pushTail makes a journalled batch readable.
func (l *Log) pushTail(seq uint64, b record.Batch) {
	l.mu.Lock()
	l.tail = append(l.tail, tailBatch{b, seq})
	l.mu.Unlock()
}

// absorbed moves the partition's end from memory to the active segment: the run e of commit seq.
func (l *Log) absorbed(e indexEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active = append(l.active, e)
	i := 0
	for i < len(l.tail) && l.tail[i].seq <= e.seq {
		i++
	}
	if i == len(l.tail) {
		l.tail = nil
		return
	}
	l.tail = slices.Clone(l.tail[i:]) // a new array, so that the old batches can be collected
}

// sealActive turns the partition's runs of the active segment into one run of a sealed segment.
func (l *Log) sealActive(seg *segment, run runSummary) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sealed = append(l.sealed, sealedRun{runSummary: run, seg: seg})
	l.active = nil
}

// drop ends the partition: what is in segments may go at any time from now on.
func (l *Log) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone, l.tail, l.active, l.sealed = true, nil, nil, nil
}

// forget drops the partition's run in a sealed segment that goes out of service.
func (l *Log) forget(seg *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = partialRun{}
	if i := slices.IndexFunc(l.sealed, func(r sealedRun) bool { return r.seg == seg }); i >= 0 {
		l.sealed = slices.Delete(slices.Clone(l.sealed), i, i+1)
	}
}

// replace puts the run of a rewritten segment in the place of the old one's.
func (l *Log) replace(seg *segment, run sealedRun) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = partialRun{}
	if i := slices.IndexFunc(l.sealed, func(r sealedRun) bool { return r.seg == seg }); i >= 0 {
		l.sealed = slices.Clone(l.sealed)
		l.sealed[i] = run
	}
}
