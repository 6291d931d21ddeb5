package store

import (
	"errors"
	"fmt"
	"slices"
)

// pending goes through the groups of a journal that are in no segment.
type pending struct {
	r      *JournalReader
	opt    JournalOptions
	rep    *JournalReport
	groups []scannedFrame // whole, by sequence, each once
	state  *State
	runs   runCount
	cuts   map[uint32][]truncation
	gapped bool // groups are missing
}

// Inspect tells what the journal holds. An error is that of the callback.
func (r *JournalReader) Inspect(opt JournalOptions) (*JournalReport, error) {
	if opt.Alone {
		opt.Absorbed = r.Settled()
	}
	rep := &JournalReport{Path: r.j.path, Bytes: r.bytes, Size: r.j.size, Settled: r.Settled()}
	rep.Problems = Problems{slices.Clone(r.List), r.More}
	p := &pending{r: r, opt: opt, rep: rep, runs: make(runCount), cuts: make(map[uint32][]truncation)}
	if opt.State != nil {
		p.state = opt.State.clone()
	}
	p.find()
	for _, f := range p.groups {
		p.findCuts(f)
	}
	for _, f := range p.groups {
		if err := p.group(f); err != nil {
			return nil, err
		}
	}
	rep.Runs = p.runs.sorted()
	rep.Batches, rep.Records, rep.BatchBytes = p.runs.sum()
	rep.After = p.state
	return rep, nil
}

func (p *pending) problem(one Problem) {
	one.Path = p.rep.Path
	p.rep.add(one)
}

// find picks the groups that are pending, and tells what is wrong with the frames.
func (p *pending) find() {
	last := p.opt.Absorbed // newest group there is
	for _, f := range p.r.frames {
		if !f.whole || f.kind != frameGroup {
			continue
		}
		if p.rep.Groups == 0 {
			p.rep.First = f.seq
		}
		p.rep.Groups, p.rep.Last = p.rep.Groups+1, f.seq
		if f.seq <= last {
			continue
		}
		if f.seq > last+1 {
			p.gap(last+1, f.seq-1)
		}
		last = f.seq
		p.groups = append(p.groups, f)
	}
	for _, f := range p.r.frames {
		at := blockSize + f.off
		switch have := slices.ContainsFunc(p.groups, func(g scannedFrame) bool { return g.seq == f.seq }); {
		case f.near && f.version: // whatever it was, its group is missed where it is needed
			p.problem(Problem{Harmless: f.seq <= last, Err: fmt.Errorf("the frame at byte %d: %w", at, ErrVersion)})
		case f.near:
			p.problem(Problem{Harmless: f.seq <= last, Err: fmt.Errorf("the frame at byte %d does not begin as it was written", at)})
		case f.whole:
		case f.seq == last+1 && f.kind == frameGroup:
			p.problem(Problem{Commit: f.seq, Harmless: true, Err: fmt.Errorf("%w: group %d at byte %d", ErrUnfinished, f.seq, at)})
		case p.overwritten(f):
		case have || f.seq <= p.opt.Absorbed || f.kind != frameGroup:
			p.problem(Problem{Harmless: true, Err: fmt.Errorf("the frame at byte %d, which is not needed, is not whole", at)})
		case f.seq > last: // no group comes behind one that is not there: its number is wrong, too
			p.problem(Problem{Harmless: true, Err: fmt.Errorf("the frame at byte %d is not whole, and says that it is group %d: it is not needed, or was not finished", at, f.seq)})
		default:
			p.problem(Problem{Commit: f.seq, Err: fmt.Errorf("group %d at byte %d: checksum does not match", f.seq, at)})
		}
	}
}

// overwritten reports whether a later frame begins in the blocks of one.
func (p *pending) overwritten(f scannedFrame) bool {
	return slices.ContainsFunc(p.r.frames, func(g scannedFrame) bool { return g.off > f.off && g.off < f.off+f.len })
}

func (p *pending) gap(from, to uint64) {
	p.gapped = true
	p.problem(Problem{Commit: from, Err: fmt.Errorf("%w: groups %d to %d", ErrMissing, from, to)})
}

// read returns what a group holds.
func (p *pending) read(f scannedFrame) (ops []op, entries []Entry, err error) {
	buf, err := p.r.j.frame(f.foundFrame)
	if buf == nil {
		return nil, nil, errors.Join(errors.New("it was overwritten while it was read"), err)
	}
	return decodeItems(buf[frameHeader:])
}

func (p *pending) findCuts(f scannedFrame) {
	ops, _, err := p.read(f)
	if err != nil {
		return // group tells
	}
	for _, o := range ops {
		if o.kind == opReset {
			p.cuts[o.info.ID] = append(p.cuts[o.info.ID], truncation{f.seq, o.cutAt()})
			p.rep.Truncated = lowest(p.rep.Truncated, o.info.ID, o.cutAt())
		}
	}
}

func (p *pending) group(f scannedFrame) error {
	ops, entries, err := p.read(f)
	if err != nil {
		p.problem(Problem{Commit: f.seq, Err: err})
		return nil
	}
	rep := p.rep
	if rep.Pending == 0 {
		rep.PendingFrom = f.seq
	}
	rep.Pending, rep.PendingTo = rep.Pending+1, f.seq
	if p.state != nil {
		for _, o := range ops { // they come before the batches of their group
			p.state.applyOp(o)
		}
	}
	for _, e := range entries {
		if err := p.batch(f.seq, e); err != nil {
			return err
		}
	}
	return nil
}

func (p *pending) batch(seq uint64, e Entry) error {
	b, id := e.Batch, e.Partition
	if !b.VerifyCRC() {
		p.problem(Problem{Commit: seq, Partition: id, From: b.BaseOffset(), To: max(b.BaseOffset(), b.NextOffset()), Err: fmt.Errorf("batch at offset %d: checksum does not match", b.BaseOffset())})
		return nil
	}
	if p.state != nil {
		ps := p.state.Partitions[id]
		switch {
		case ps == nil: // it was dropped, or its creation is lost
		case b.BaseOffset() > ps.Next && (p.gapped || p.opt.Inexact): // else the batches were a copy of a log with gaps
			p.problem(Problem{Commit: seq, Partition: id, From: ps.Next, To: b.BaseOffset(), Err: fmt.Errorf("%w: the records before it", ErrMissing)})
		case b.BaseOffset() < ps.Next:
			p.problem(Problem{Commit: seq, Partition: id, From: b.BaseOffset(), To: min(ps.Next, b.NextOffset()), Err: fmt.Errorf("the records before end at offset %d", ps.Next)})
		}
		p.state.applyBatch(e)
	}
	live := p.runs.add(id, b, !cut(p.cuts[id], seq, b), p.opt.Live)
	if p.opt.Batch == nil {
		return nil
	}
	return p.opt.Batch(BatchReport{Commit: seq, Partition: id, Batch: b, Live: live})
}
