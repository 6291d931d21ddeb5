package store

import (
	"errors"
	"fmt"

	"github.com/culvert-mq/culvert/log/record"
)

// indexProgress is how far an index was compared with the commits.
type indexProgress struct {
	ix packedIndex
	at int
}

// indexOf returns what the index says of a partition in a commit.
func (p *pass) indexOf(id uint32, seq uint64) (e indexEntry, ok bool) {
	x := p.index[id]
	if x == nil {
		return e, false
	}
	_, err := p.im.try(func() {
		i := firstReaching(x.ix.len(), int64(seq)-1, func(i int) int64 { return int64(x.ix.at(i).seq) }) //nolint:gosec // compared only
		if i < x.ix.len() {
			e = x.ix.at(i)
			ok = e.seq == seq
		}
	})
	return e, ok && err == nil
}

// inIndex reports whether the index has a batch where it was found.
func (p *pass) inIndex(id uint32, seq uint64, b record.Batch) bool {
	e, ok := p.indexOf(id, seq)
	return ok && b.BaseOffset() >= e.base && b.NextOffset() <= e.next
}

// compareIndex compares what a commit holds with the index of a sealed segment.
func (p *pass) compareIndex(seq uint64, entries []Entry, bad map[uint32]bool) {
	if p.h.summary == nil {
		return
	}
	indexCommit(seq, entries, func(id uint32, have indexEntry) {
		x := p.index[id]
		if x == nil {
			if _, damaged := p.h.index[id]; !damaged {
				p.problem(Problem{Commit: seq, Partition: id, Err: errors.New("its partition is not in the index")})
			}
			return
		}
		p.missing(id, x, seq)
		want, ok := p.next(x)
		switch {
		case !ok || want.seq != seq:
			p.problem(Problem{Commit: seq, Partition: id, Err: errors.New("it is not in the index")})
			return
		case len(p.cuts[id]) > 0: // a run that was truncated ends where the log did
			have.next = want.next
		}
		x.at++
		if have != want && !bad[id] {
			p.problem(Problem{Commit: seq, Partition: id, Err: fmt.Errorf("the index says otherwise: offsets %d to %d, %d records, %d bytes; there are offsets %d to %d, %d records, %d bytes",
				want.base, want.next-1, want.records, want.bytes, have.base, have.next-1, have.records, have.bytes)})
		}
	})
	for id := range bad { // all that the commit has of a partition may be bad
		if x := p.index[id]; x != nil {
			p.missing(id, x, seq)
			if want, ok := p.next(x); ok && want.seq == seq {
				x.at++
			}
		}
	}
}

// next returns the entry that comes next.
func (p *pass) next(x *indexProgress) (e indexEntry, ok bool) {
	_, err := p.im.try(func() {
		if x.at < x.ix.len() {
			e, ok = x.ix.at(x.at), true
		}
	})
	return e, ok && err == nil
}

// missing notes the entries of commits before one that were not found.
func (p *pass) missing(id uint32, x *indexProgress, before uint64) {
	for {
		e, ok := p.next(x)
		if !ok || e.seq >= before {
			return
		}
		x.at++
		p.problem(Problem{Commit: e.seq, Partition: id, From: e.base, To: e.next, Err: fmt.Errorf("%w: it is in the index, and not in the segment", ErrMissing)})
	}
}

// checkIndex is called when all commits were read: what is left of the index has no commit, and the summary sums it up.
func (p *pass) checkIndex() {
	sum := p.h.summary
	if sum == nil {
		return
	}
	summed := make(map[uint32]runSummary, len(sum.Partitions))
	for _, r := range sum.Partitions {
		summed[r.ID] = r
		if _, ok := p.h.index[r.ID]; !ok && r.Records > 0 {
			p.problem(Problem{Partition: r.ID, From: r.Base, To: r.Next, Err: errors.New("its index is missing")})
		}
	}
	for id, x := range p.index {
		p.missing(id, x, ^uint64(0))
		have, ok := p.sumIndex(id, x.ix)
		want, found := summed[id]
		if !ok || x.ix.len() == 0 {
			continue
		}
		if p.h.after != nil || len(p.cuts[id]) > 0 { // it may stand for more than is left
			want.Base, want.Next = min(want.Base, have.Base), max(want.Next, have.Next)
			have.Base, have.Next = want.Base, want.Next
		}
		if !found || have != want {
			p.problem(Problem{Partition: id, Err: errors.New("the summary does not sum up the index")})
		}
	}
	if p.last > sum.Last {
		p.problem(Problem{Err: fmt.Errorf("the summary ends with commit %d, the segment with %d", sum.Last, p.last)})
	} else if p.last < sum.Last && p.h.after == nil {
		p.problem(Problem{Err: fmt.Errorf("%w: it ends with commit %d, the summary says %d", ErrMissing, p.last, sum.Last)})
	}
}

// sumIndex sums up the index of a partition, without an array of its entries.
func (p *pass) sumIndex(id uint32, ix packedIndex) (r runSummary, ok bool) {
	_, err := p.im.try(func() {
		for i := range ix.len() {
			e := ix.at(i)
			if i == 0 {
				r = runSummary{ID: id, Base: e.base, MaxTime: e.maxTime}
			}
			r.Next, r.MaxTime = e.next, max(r.MaxTime, e.maxTime)
			r.Bytes, r.Records = r.Bytes+e.bytes, r.Records+e.records
		}
	})
	return r, err == nil
}
