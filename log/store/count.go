package store

import (
	"math"

	"github.com/culvert-mq/culvert/log/record"
)

// Ledger counts a partition's records since it was created: Accepted is the sum of the others.
type Ledger struct {
	Accepted   int64
	Stored     int64
	Expired    int64
	Lost       int64
	Superseded int64
	Damaged    int64
}

// Ledger returns what became of all records that are, or were, durable.
func (l *Log) Ledger() Ledger {
	s := l.st
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	p := s.state.Partitions[l.id]
	if p == nil {
		p = &PartitionState{}
	}
	c := PartitionState{Start: p.Start, Next: p.Next, Gone: p.Gone, Superseded: p.Superseded, Damaged: p.Damaged}
	s.pendMu.Lock()
	for _, g := range s.pending {
		for _, o := range g.ops {
			switch {
			case o.info.ID != l.id:
			case o.kind == opReset:
				c = *o.state
			case o.kind != opDrop && o.kind != opCreate:
				c.applyOp(o)
			}
		}
		for _, e := range g.entries {
			if e.Partition == l.id && e.Batch.NextOffset() > c.Next {
				c.Superseded += e.Batch.NextOffset() - c.Next - int64(e.Batch.Count())
				c.Next = e.Batch.NextOffset()
			}
		}
	}
	s.pendMu.Unlock()
	n := Ledger{Accepted: c.Next, Expired: c.Expired, Lost: c.Lost, Superseded: c.Superseded, Damaged: c.Damaged}
	n.Stored = n.Accepted - n.Expired - n.Lost - n.Superseded - n.Damaged
	return n
}

// decodeLimit bounds what a batch may decompress to when its records are counted, in bytes.
const decodeLimit = 64 << 20

// Count returns the number of records at offsets from one to another (exclusive).
func (l *Log) Count(from, to int64) (int64, error) {
	n := int64(0)
	for from < to {
		e, ok, err := l.entryAt(from)
		if err != nil {
			return 0, err
		}
		if !ok || e.base >= to {
			break
		}
		if e.base >= from && e.next <= to {
			n, from = n+e.records, e.next
			continue
		}
		c, next, err := l.countBatches(max(from, e.base), min(to, e.next))
		if err != nil {
			return 0, err
		}
		n, from = n+c, max(next, e.base+1)
	}
	return n, nil
}

// entryAt returns the run that holds offset from, or the first one behind it: of a whole segment where from is at or
// before its first record, else of a commit.
func (l *Log) entryAt(from int64) (indexEntry, bool, error) {
	for {
		e, ok, err := l.findEntry(from)
		if !l.st.lookAgain(err) {
			return e, ok, err
		}
	}
}

func (l *Log) findEntry(from int64) (indexEntry, bool, error) {
	l.mu.RLock()
	if l.gone {
		l.mu.RUnlock()
		return indexEntry{}, false, ErrDropped
	}
	if n := len(l.sealed); n > 0 && from < l.sealed[n-1].Next {
		run := l.sealed[firstReaching(n, from, func(i int) int64 { return l.sealed[i].Next })]
		l.mu.RUnlock()
		if from <= run.Base {
			return indexEntry{base: run.Base, next: run.Next, records: run.Records}, true, nil
		}
		tx, ix, err := l.openSealed(run.seg)
		if err != nil {
			return indexEntry{}, false, err
		}
		defer run.seg.end(tx)
		var e indexEntry
		found := false
		err = guard(run.seg, func() error {
			if i := firstReaching(ix.len(), from, func(i int) int64 { return ix.at(i).next }); i < ix.len() {
				e, found = ix.at(i), true
			}
			return nil
		})
		if err == nil && !found { // what the index does not have the run does not have
			e, found = indexEntry{base: from, next: run.Next}, true
		}
		return e, found, err
	}
	defer l.mu.RUnlock()
	if i := firstReaching(len(l.active), from, func(i int) int64 { return l.active[i].next }); i < len(l.active) {
		return l.active[i], true, nil
	}
	if i := firstReaching(len(l.tail), from, func(i int) int64 { return l.tail[i].NextOffset() }); i < len(l.tail) {
		b := l.tail[i]
		return indexEntry{base: b.BaseOffset(), next: b.NextOffset(), records: int64(b.Count())}, true, nil
	}
	return indexEntry{}, false, nil
}

// countBatches counts by reading. It returns where it got to.
func (l *Log) countBatches(from, to int64) (n, next int64, err error) {
	s, err := l.Read(from, math.MaxInt64, 1<<20)
	if err != nil {
		return 0, 0, err
	}
	defer s.Release()
	next = to
	for _, b := range s.Batches {
		if b.BaseOffset() >= to {
			return n, to, nil
		}
		c, err := countRecords(b, from, to)
		if err != nil {
			return 0, 0, err
		}
		n, next = n+c, b.NextOffset()
	}
	return n, min(next, to), nil
}

func countRecords(b record.Batch, from, to int64) (int64, error) {
	if b.BaseOffset() >= from && b.NextOffset() <= to {
		return int64(b.Count()), nil
	}
	var r record.Reader
	defer r.Close()
	if err := r.Reset(b, decodeLimit); err != nil {
		return 0, err
	}
	n := int64(0)
	for r.Next() {
		if off := r.Record().Offset; off >= from && off < to {
			n++
		}
	}
	return n, r.Err()
}
