package compact

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// fake is a store in memory: segments of commits of batches.
type fake struct {
	segs    []*fakeSegment
	starts  map[uint32]int64
	cleaned map[uint32]int64
	now     time.Time
	kill    int // operations until the process dies, -1 for never
	reads   int // scans
}

type fakeSegment struct {
	number  uint64
	commits [][]store.Entry
	sealed  bool
	created time.Time
	bytes   int64                // of the batches when it was written
	runs    map[uint32]store.Run // offsets that it stands for, also where records have gone
}

var errKilled = errors.New("killed")

func newFake(now time.Time) *fake {
	f := &fake{starts: map[uint32]int64{}, cleaned: map[uint32]int64{}, now: now, kill: -1}
	f.roll()
	return f
}

func (f *fake) roll() {
	n := len(f.segs)
	if n > 0 {
		f.segs[n-1].sealed = true
	}
	number := uint64(1)
	if n > 0 {
		number = f.segs[n-1].number + 1
	}
	f.segs = append(f.segs, &fakeSegment{number: number, created: f.now, runs: map[uint32]store.Run{}})
}

// commit appends batches as one commit, sorted as the store does.
func (f *fake) commit(entries ...store.Entry) {
	slices.SortStableFunc(entries, func(a, b store.Entry) int { return int(a.Partition) - int(b.Partition) })
	s := f.segs[len(f.segs)-1]
	for _, e := range entries {
		s.bytes += int64(len(e.Batch))
		r, ok := s.runs[e.Partition]
		if !ok {
			r.Base = e.Batch.BaseOffset()
		}
		r.Next = e.Batch.NextOffset()
		s.runs[e.Partition] = r
	}
	s.commits = append(s.commits, entries)
}

func (f *fake) inForce(e store.Entry) bool { return e.Batch.NextOffset() > f.starts[e.Partition] }

// dies counts an operation and reports whether the process is dead.
func (f *fake) dies() bool {
	if f.kill > 0 {
		f.kill--
	}
	return f.kill == 0
}

func (f *fake) Segments() []store.SegmentInfo {
	var all []store.SegmentInfo
	for _, s := range f.segs {
		info := store.SegmentInfo{Number: s.number, Bytes: s.bytes + 1000, BatchBytes: s.bytes, Sealed: s.sealed, Created: s.created, Runs: map[uint32]store.Run{}}
		for id, r := range s.runs {
			if r.Next <= f.starts[id] {
				continue
			}
			r.MaxTime = -1
			for _, c := range s.commits {
				for _, e := range c {
					if e.Partition == id {
						r.MaxTime, r.Bytes = max(r.MaxTime, e.Batch.MaxTimestamp()), r.Bytes+int64(len(e.Batch))
					}
				}
			}
			info.Runs[id] = r
		}
		all = append(all, info)
	}
	return all
}

func (f *fake) find(number uint64) (*fakeSegment, int, error) {
	i := slices.IndexFunc(f.segs, func(s *fakeSegment) bool { return s.number == number && s.sealed })
	if i < 0 {
		return nil, 0, fmt.Errorf("%w: %d", store.ErrNoSegment, number)
	}
	return f.segs[i], i, nil
}

func (f *fake) Scan(id uint32, from, to int64, fn func(b record.Batch) error) error {
	if f.dies() {
		return errKilled
	}
	f.reads++
	for _, b := range f.read(id) {
		if b.NextOffset() <= from || b.BaseOffset() >= to {
			continue
		}
		lent := slices.Clone(b) // who keeps it finds out
		err := fn(lent)
		clear(lent)
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) Rewrite(number uint64, keep func(id uint32, b record.Batch) (record.Batch, error), pace func(bytes int64) error) (freed int64, err error) {
	if f.dies() {
		return 0, errKilled
	}
	s, i, err := f.find(number)
	if err != nil {
		return 0, err
	}
	next := &fakeSegment{number: s.number, sealed: true, created: s.created, runs: s.runs}
	for _, c := range s.commits {
		var left []store.Entry
		for _, e := range c {
			if !f.inForce(e) {
				continue
			}
			lent := slices.Clone(e.Batch)
			b, err := keep(e.Partition, lent)
			if err != nil {
				return 0, err
			}
			if b != nil {
				if b.BaseOffset() != e.Batch.BaseOffset() || !b.VerifyCRC() {
					return 0, fmt.Errorf("batch at %d replaced by one at %d", e.Batch.BaseOffset(), b.BaseOffset())
				}
				left = append(left, store.Entry{Partition: e.Partition, Batch: slices.Clone(b)})
				next.bytes += int64(len(b))
			}
			clear(lent)
			if err := pace(int64(len(e.Batch))); err != nil {
				return 0, err
			}
		}
		if len(left) > 0 {
			next.commits = append(next.commits, left)
		}
	}
	f.segs[i] = next
	if f.dies() {
		return 0, errKilled
	}
	return s.bytes - next.bytes, nil
}

func (f *fake) SetCleaned(id uint32, offset int64) error {
	if f.dies() {
		return errKilled
	}
	f.cleaned[id] = max(f.cleaned[id], offset)
	return nil
}

// read returns the batches in force of a partition, in the order they lie.
func (f *fake) read(id uint32) []record.Batch {
	var all []record.Batch
	for _, s := range f.segs {
		for _, c := range s.commits {
			for _, e := range c {
				if e.Partition == id && f.inForce(e) {
					all = append(all, e.Batch)
				}
			}
		}
	}
	return all
}
