package store

import (
	"math"

	"github.com/culvert-mq/culvert/log/record"
)

// Ledger counts a partition's records since it was created: Accepted is the sum of the others.
type Ledger struct {
	Accepted   int64 // offsets given
	Stored     int64 // there now
	Expired    int64
	Lost       int64
	Superseded int64 // taken by compaction: none where there is no compaction
	Damaged    int64
}

// Ledger returns what became of all records that are, or were, durable. What is stored and cannot be read, which is the
// error, counts as stored all the same.
func (l *Log) Ledger() (Ledger, error) {
	p := l.st.stateOf(l.id)
	if p == nil {
		return Ledger{}, ErrDropped
	}
	n := Ledger{Accepted: p.Next, Expired: p.Expired, Lost: p.Lost, Damaged: p.Damaged}
	rest := n.Accepted - n.Expired - n.Lost - n.Damaged
	stored, err := l.stored(p.Start, p.Next)
	if err != nil {
		stored = rest
	}
	n.Stored, n.Superseded = stored, rest-stored
	return n, err
}

// stored is Count between the start and the end. What it counts of a sealed segment that the start lies in it remembers:
// between two moves of the start only whole runs are added.
func (l *Log) stored(start, end int64) (int64, error) {
	l.mu.RLock()
	p, next := l.partial, int64(-1)
	if i := firstReaching(len(l.sealed), start, func(i int) int64 { return l.sealed[i].Next }); i < len(l.sealed) && l.sealed[i].Base < start {
		next = l.sealed[i].Next
	}
	l.mu.RUnlock()
	if next < 0 {
		return l.Count(start, end)
	}
	if p.start != start || p.next != next {
		n, err := l.Count(start, next)
		if err != nil {
			return 0, err
		}
		p = partialRun{start, next, n}
		l.mu.Lock()
		l.partial = p
		l.mu.Unlock()
	}
	behind, err := l.Count(next, end)
	return p.records + behind, err
}

// partialRun is what was counted of a sealed run that the start lies in.
type partialRun struct{ start, next, records int64 }

// decodeLimit bounds what a batch may decompress to when its records are counted, in bytes.
const decodeLimit = 64 << 20

// Count returns the number of records at offsets from one to another (exclusive). Whole runs are not read.
func (l *Log) Count(from, to int64) (int64, error) {
	n := int64(0)
	for from < to {
		runs, err := l.runsAt(from, to)
		if err != nil {
			return 0, err
		}
		if len(runs) == 0 {
			break
		}
		for _, e := range runs {
			if e.records >= 0 && e.base >= from && e.next <= to {
				n += e.records
			} else {
				c, err := l.countBatches(max(from, e.base), min(to, e.next))
				if err != nil {
					return 0, err
				}
				n += c
			}
		}
		from = runs[len(runs)-1].next
	}
	return n, nil
}

// runsAt returns runs, in order, from the one that holds offset from, or the first one behind it, on that begin before to:
// one of a whole segment, or those of one segment by commit, or batches that wait to be absorbed. None where there is
// nothing.
func (l *Log) runsAt(from, to int64) ([]indexEntry, error) {
	for {
		runs, err := l.findRuns(from, to)
		if !l.st.lookAgain(err) {
			return runs, err
		}
	}
}

func (l *Log) findRuns(from, to int64) ([]indexEntry, error) {
	l.mu.RLock()
	if l.gone {
		l.mu.RUnlock()
		return nil, ErrDropped
	}
	if n := len(l.sealed); n > 0 && from < l.sealed[n-1].Next {
		run := l.sealed[firstReaching(n, from, func(i int) int64 { return l.sealed[i].Next })]
		l.mu.RUnlock()
		if run.Base >= to {
			return nil, nil
		}
		if from <= run.Base && run.Next <= to && !run.cut {
			return []indexEntry{{base: run.Base, next: run.Next, records: run.Records}}, nil
		}
		return l.sealedRunsAt(run, from, to)
	}
	defer l.mu.RUnlock()
	var runs []indexEntry
	for i := firstReaching(len(l.active), from, func(i int) int64 { return l.active[i].next }); i < len(l.active) && l.active[i].base < to; i++ {
		runs = append(runs, l.active[i])
	}
	if len(runs) > 0 {
		return runs, nil
	}
	for i := firstReaching(len(l.tail), from, func(i int) int64 { return l.tail[i].NextOffset() }); i < len(l.tail) && l.tail[i].BaseOffset() < to; i++ {
		b := l.tail[i]
		runs = append(runs, indexEntry{base: b.BaseOffset(), next: b.NextOffset(), records: int64(b.Count())})
	}
	return runs, nil
}

// sealedRunsAt returns the runs of a sealed segment by commit, and behind them an empty one that ends where the segment's
// run does.
func (l *Log) sealedRunsAt(run sealedRun, from, to int64) (runs []indexEntry, err error) {
	tx, ix, err := l.openSealed(run.seg)
	if err != nil {
		return nil, err
	}
	defer run.seg.end(tx)
	end := min(to, run.Next)
	err = guard(run.seg, func() error {
		for i := firstReaching(ix.len(), from, func(i int) int64 { return ix.at(i).next }); i < ix.len() && ix.at(i).base < end; i++ {
			e := ix.at(i)
			if e.next > run.Next { // what is behind was truncated
				e.next, e.records = run.Next, -1
			}
			runs = append(runs, e)
		}
		return nil
	})
	for i, e := range runs {
		if e.records < 0 && err == nil {
			runs[i].records, err = l.countBatches(e.base, e.next)
		}
	}
	return append(runs, indexEntry{base: end, next: end}), err
}

// countBatches counts by reading.
func (l *Log) countBatches(from, to int64) (n int64, err error) {
	for from < to {
		s, err := l.Read(from, math.MaxInt64, 1<<20)
		if err != nil {
			return 0, err
		}
		if len(s.Batches) == 0 {
			s.Release()
			break
		}
		for _, b := range s.Batches {
			if b.BaseOffset() >= to {
				from = to
				break
			}
			c, e := countRecords(b, from, to)
			if e != nil {
				err = e
				break
			}
			n, from = n+c, b.NextOffset()
		}
		s.Release()
		if err != nil {
			return 0, err
		}
	}
	return n, nil
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
