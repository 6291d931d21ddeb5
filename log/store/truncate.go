package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Truncate takes everything at and past an offset off a partition's end, in whole batches: the batch that holds the offset
// goes too. It returns the state as it was when the log ended there, when that is durable. At or behind the end it changes
// nothing; before the start nothing is left, and the log begins at the offset. Nothing of the partition may be waiting to
// become durable.
func (s *Store) Truncate(id uint32, offset int64) (*PartitionState, error) {
	l := s.Log(id)
	if l == nil {
		return nil, ErrDropped
	}
	now := s.stateOf(id)
	if now == nil {
		return nil, ErrDropped
	}
	if offset >= now.Next {
		return now, nil
	}
	then, err := s.stateAt(l, now, offset)
	if err != nil {
		return nil, fmt.Errorf("truncate partition %d to offset %d: %w", id, offset, err)
	}
	if err := s.commitOps(op{kind: opReset, info: PartitionInfo{ID: id}, state: then.Clone()}); err != nil {
		return nil, err
	}
	return then, nil
}

// stateOf returns the state of a partition as of all that is durable, nil if there is none.
func (s *Store) stateOf(id uint32) *PartitionState {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	one := &State{Partitions: make(map[uint32]*PartitionState)}
	if p := s.state.Partitions[id]; p != nil {
		one.Partitions[id] = p.Clone()
	}
	s.pendMu.Lock()
	defer s.pendMu.Unlock()
	for _, g := range s.pending {
		for _, o := range g.ops { // of one group: they come before its batches
			if o.info.ID == id {
				one.applyOp(o)
			}
		}
		for _, e := range g.entries {
			if e.Partition == id {
				one.applyBatch(e)
			}
		}
	}
	return one.Partitions[id]
}

// stateAt returns what the state of a partition was when its log ended before the batch that holds an offset. What left
// the log meanwhile has left it.
func (s *Store) stateAt(l *Log, now *PartitionState, offset int64) (*PartitionState, error) {
	then := &PartitionState{PartitionInfo: now.PartitionInfo}
	if offset <= now.Start {
		then.Start, then.Next, then.Cleaned = offset, offset, min(now.Cleaned, offset)
	} else {
		end, err := l.batchStart(offset)
		if err != nil {
			return nil, err
		}
		if then, err = s.snapshotBefore(now, end); err != nil {
			return nil, err
		}
		if err := l.replay(then, end); err != nil {
			return nil, err
		}
		then.Start, then.Next, then.Cleaned = min(now.Start, end), end, min(now.Cleaned, end)
	}
	then.Epochs = slices.DeleteFunc(slices.Clone(now.Epochs), func(e EpochStart) bool { return e.Start >= then.Next })
	then.Aborted = slices.DeleteFunc(slices.Clone(now.Aborted), func(a Aborted) bool { return a.Last >= then.Next })
	then.Holes, then.Damaged = nil, now.Damaged
	for _, h := range now.Holes {
		if h.From < then.Next {
			then.Holes = append(then.Holes, Hole{h.From, min(h.To, then.Next)})
		}
		then.Damaged -= max(0, h.To-max(h.From, then.Next))
	}
	then.Truncated, then.Truncations = now.Truncated, slices.Clone(now.Truncations)
	then.truncate(then.Next)
	stored, err := l.Count(then.Start, then.Next)
	if err != nil {
		return nil, err
	}
	then.Gone = now.Gone
	if over := stored + then.Expired + then.Lost + then.Damaged - then.Next; over > 0 { // more had left than there were
		expired := min(over, then.Expired)
		then.Expired, then.Lost = then.Expired-expired, then.Lost-(over-expired)
	}
	return then, nil
}

// batchStart returns the base offset of the batch that holds an offset; the offset itself where none does.
func (l *Log) batchStart(offset int64) (int64, error) {
	sp, err := l.Read(offset, math.MaxInt64, 1)
	if err != nil {
		return 0, err
	}
	defer sp.Release()
	if len(sp.Batches) > 0 {
		return min(offset, sp.Batches[0].BaseOffset()), nil
	}
	return offset, nil
}

// snapshotBefore returns the producers of a partition as of the newest segment that begins at or before an offset.
func (s *Store) snapshotBefore(now *PartitionState, offset int64) (*PartitionState, error) {
	s.absorbMu.Lock()
	segments := append(slices.Clone(s.sealed), s.active.Load())
	s.absorbMu.Unlock()
	for _, seg := range slices.Backward(segments) {
		state, err := seg.beginning()
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p := state.Partitions[now.ID]
		if p == nil {
			break
		}
		if p.Next <= offset && p.isPrefixOf(now) {
			return p, nil
		}
	}
	return &PartitionState{PartitionInfo: now.PartitionInfo}, nil
}

// beginning returns the state before the first commit of the segment.
func (g *segment) beginning() (state *State, err error) {
	tx, err := g.begin()
	if err != nil {
		return nil, err
	}
	defer g.end(tx)
	return state, guard(g, func() error {
		h := tx.Bucket(keyHeader)
		if h == nil {
			return g.damaged(0, errors.New("no header"))
		}
		if state, err = decodeState(h.Get(keyState)); err != nil {
			return g.damaged(0, err)
		}
		return nil
	})
}

// replay applies the batches that are there from the state's end on up to an offset.
func (l *Log) replay(p *PartitionState, to int64) error {
	for at := p.Next; at < to; {
		sp, err := l.Read(at, to, 1<<20)
		if err != nil {
			return err
		}
		for _, b := range sp.Batches {
			p.Apply(b)
			at = b.NextOffset()
		}
		n := len(sp.Batches)
		sp.Release()
		if n == 0 {
			return nil
		}
	}
	return nil
}

// cut takes what is at and past an offset out of the partition: of what is in segments, and, unless it is there already,
// of what waits to be absorbed.
func (l *Log) cut(offset int64, waiting bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if waiting {
		i := slices.IndexFunc(l.tail, func(b tailBatch) bool { return b.BaseOffset() >= offset })
		if i >= 0 {
			l.tail = slices.Clone(l.tail[:i])
		}
	}
	l.partial = partialRun{}
	l.active = cutIndex(l.active, offset)
	l.sealed = cutRuns(l.sealed, offset)
}

// setActive replaces the runs in the active segment.
func (l *Log) setActive(entries []indexEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active = slices.Clip(entries)
}

// cutIndex returns the runs before an offset. Of one that was cut itself the records are not known: -1; see recount. Readers
// may hold the slice that it is given.
func cutIndex(entries []indexEntry, offset int64) []indexEntry {
	i := slices.IndexFunc(entries, func(e indexEntry) bool { return e.next > offset })
	if i < 0 {
		return entries
	}
	e := entries[i]
	entries = slices.Clone(entries[:i])
	if e.base < offset {
		e.next, e.records = offset, -1
		entries = append(entries, e)
	}
	return entries
}

// recount counts what is left of the runs that were cut.
func (g *segment) recount(id uint32, entries []indexEntry) error {
	for i := range entries {
		if entries[i].records >= 0 {
			continue
		}
		if err := g.recountRun(id, &entries[i]); err != nil {
			return err
		}
	}
	return nil
}

func (g *segment) recountRun(id uint32, e *indexEntry) error {
	tx, err := g.begin()
	if err != nil {
		return err
	}
	defer g.end(tx)
	return guard(g, func() error {
		b := tx.Bucket(seqKey(e.seq))
		if b == nil {
			return g.damaged(e.seq, errors.New("commit is missing"))
		}
		e.records, e.bytes, e.maxTime = 0, 0, math.MinInt64
		next := e.base
		c := b.Cursor()
		for k, v := c.Seek(itemKey(nil, id, e.base)); len(k) == 12 && binary.BigEndian.Uint32(k) == id; k, v = c.Next() {
			batch, err := shapeOf(k, v)
			if err != nil {
				return g.damaged(e.seq, err)
			}
			if batch.BaseOffset() >= e.next {
				break
			}
			next = batch.NextOffset()
			e.records, e.bytes, e.maxTime = e.records+int64(batch.Count()), e.bytes+int64(len(v)), max(e.maxTime, batch.MaxTimestamp())
		}
		e.next = next
		return nil
	})
}

func cutRuns(runs []sealedRun, offset int64) []sealedRun {
	i := slices.IndexFunc(runs, func(r sealedRun) bool { return r.Next > offset })
	if i < 0 {
		return runs
	}
	r := runs[i]
	runs = slices.Clone(runs[:i])
	if r.Base < offset {
		r.Next, r.cut = offset, true
		runs = append(runs, r)
	}
	return runs
}

// unwrap takes what later truncations cut off out of the runs of one partition, which are in the order of their segments:
// each ends at the latest where the next one begins, and the last at the end of what is sealed.
func unwrap(runs []sealedRun, end int64) []sealedRun {
	out := make([]sealedRun, 0, len(runs))
	for _, r := range slices.Backward(runs) {
		if r.Base >= end {
			continue
		}
		if r.Next > end {
			r.Next, r.cut = end, true
		}
		end = r.Base
		out = append(out, r)
	}
	slices.Reverse(out)
	return out
}
