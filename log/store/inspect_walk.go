package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/log/record"
)

// pass reads a segment's file once, from one of its meta pages.
type pass struct {
	im  *image
	opt InspectOptions
	rep *SegmentReport
	h   header

	visits, skip int // how often visit was called; how many of the first calls were seen in a walk before
	begun        bool
	broken       bool  // commits, or parts of them, are missing
	err          error // of a callback: nothing is called any more

	cur   *rawCommit
	last  uint64   // sequence of the commit before cur
	runs  runCount // of what is whole
	cuts  map[uint32][]truncation
	ends  map[uint32]int64          // offset behind the newest batch, by partition
	open  map[uint32]int            // a problem of a batch whose end is not known, by partition
	index map[uint32]*indexProgress // of a sealed segment
	state *State                    // as of the newest commit, nil where it is not known
}

// rawCommit is what was found in the bucket of a commit.
type rawCommit struct {
	seq   uint64
	items []rawItem
	check []byte
}

type rawItem struct{ k, v []byte }

// truncation says that a commit took everything from an offset on off a partition's end.
type truncation struct {
	seq    uint64
	offset int64
}

func newPass(im *image, number uint64, opt InspectOptions) *pass {
	return &pass{
		im: im, opt: opt, rep: &SegmentReport{Path: im.path, Number: number, Bytes: int64(len(im.data)), Exact: true},
		h: header{index: make(map[uint32][]byte)}, runs: make(runCount), cuts: make(map[uint32][]truncation),
		ends: make(map[uint32]int64), open: make(map[uint32]int), index: make(map[uint32]*indexProgress),
	}
}

func (p *pass) problem(one Problem) int {
	one.Path = p.im.path
	if !one.Harmless {
		p.rep.Exact = false
	}
	return p.rep.add(one)
}

func (p *pass) run(m boltfile.Meta) (*SegmentReport, error) {
	p.im.work = 4*int64(len(p.im.data)) + 1<<20
	if p.opt.HeaderOnly {
		if in, ok := p.im.headerTree(m); ok {
			_ = p.walk(in, p.header) // what is wrong is not looked for
			p.h.found = true
			p.guarded(p.begin)
			return p.rep, nil
		}
		_ = p.walk(m, func(path [][]byte, key, value []byte) error { // likewise
			if len(path) > 0 && bytes.Equal(path[0], keyHeader) {
				return p.header(path[1:], key, value)
			}
			return nil
		})
		p.guarded(p.begin)
		return p.rep, nil
	}
	p.findCuts(m)
	for _, err := range split(p.walk(m, p.visit)) {
		p.problem(Problem{Err: err})
	}
	p.guarded(p.flush)
	p.guarded(p.end)
	if p.h.tx != m.TxID && p.err == nil {
		p.problem(Problem{Err: fmt.Errorf("meta page %d is of transaction %d, what it leads to of %d", m.Page, m.TxID, p.h.tx)})
	}
	return p.rep, p.err
}

// guarded runs fn, which reads the image. A page that turns out to be unreadable is noted by the image.
func (p *pass) guarded(fn func()) {
	if again, err := p.im.try(fn); err != nil && !again {
		p.problem(Problem{Err: err})
	}
}

// walk walks the file as often as pages turn up that cannot be read.
func (p *pass) walk(m boltfile.Meta, visit boltfile.Visit) (errs error) {
	for {
		p.visits = 0
		again, err := p.im.try(func() {
			errs = boltfile.Walk(p.im.data, m, func(path [][]byte, key, value []byte) error {
				if p.visits++; p.visits <= p.skip {
					return nil
				}
				return visit(path, key, value)
			})
		})
		p.skip = max(p.skip, p.visits)
		if !again && err != nil {
			p.problem(Problem{Err: err})
		}
		if !again {
			break
		}
	}
	p.skip = 0
	return errs
}

// visit takes what boltfile.Walk finds. What is wrong is noted, and returned only where the walk has the page to it.
func (p *pass) visit(path [][]byte, key, value []byte) error {
	switch {
	case p.err != nil:
	case len(path) == 0:
		return fmt.Errorf("key %.20x outside a bucket", key)
	case bytes.Equal(path[0], keyHeader):
		return p.header(path[1:], key, value)
	case len(path) != 1 || len(path[0]) != 8:
		return fmt.Errorf("bucket %.20x", path[len(path)-1])
	case key == nil:
		p.flush()
		p.cur = &rawCommit{seq: binary.BigEndian.Uint64(path[0])}
	case len(key) != 12:
		p.problem(Problem{Commit: p.cur.seq, Err: fmt.Errorf("key %.20x", key)})
	case bytes.Equal(key, checkKey):
		p.cur.check = value
	default:
		p.cur.items = append(p.cur.items, rawItem{key, value})
	}
	return nil
}

// header takes an entry of the header.
func (p *pass) header(path [][]byte, key, value []byte) error {
	if len(path) == 0 && bytes.Equal(key, keySegment) && p.rep.Number == 0 && len(value) >= 18 {
		p.rep.Number = binary.BigEndian.Uint64(value[10:])
	}
	return p.h.read(path, key, value, p.rep.Number)
}

// flush looks at the commit that was gathered.
func (p *pass) flush() {
	if p.err != nil {
		return
	}
	if !p.begun {
		p.begin()
	}
	if c := p.cur; c != nil {
		p.cur = nil
		p.commit(c)
		p.last = c.seq
	}
}

// begin is called when the header was read.
func (p *pass) begin() {
	p.begun = true
	r := p.rep
	r.Created, r.Before, r.Sealed, r.Rewritten = p.h.created, p.h.last, p.h.summary != nil, p.h.after != nil
	p.last, r.Last = r.Before, r.Before
	if !p.h.found {
		p.problem(Problem{Err: errors.New("no header")})
	} else if r.Created.IsZero() {
		p.problem(Problem{Err: errors.New("header without a number")})
	}
	if s, err := decodeState(p.h.state); err != nil {
		p.problem(Problem{Err: fmt.Errorf("state: %w", err)})
	} else {
		r.Begin, p.state = s, s.clone()
		for id, ps := range s.Partitions {
			p.ends[id] = ps.Next
		}
	}
	if r.Rewritten { // what truncated some of what was before is not there any more
		clear(p.ends)
	}
	for id, raw := range p.h.index {
		ix, err := openIndex(raw)
		if err != nil {
			p.problem(Problem{Partition: id, Err: fmt.Errorf("index: %w", err)})
			continue
		}
		p.index[id] = &indexProgress{ix: ix}
	}
	if p.h.summary == nil {
		return
	}
	r.Last = p.h.summary.Last
	for _, run := range p.h.summary.Partitions {
		if p.opt.HeaderOnly {
			r.Runs = append(r.Runs, PartitionRun{Partition: run.ID, Run: run.run()})
		}
	}
}

// end is called when all commits were read.
func (p *pass) end() {
	r := p.rep
	p.checkIndex()
	for id := range p.open {
		p.closeOpen(id, -1)
	}
	r.Last = max(r.Last, p.last)
	r.Runs = p.runs.sorted()
	r.Batches, r.Records, r.BatchBytes = p.runs.sum()
	if p.h.after == nil {
		r.After = p.state
		return
	}
	s, err := decodeState(p.h.after)
	if err != nil {
		p.problem(Problem{Err: fmt.Errorf("state behind it: %w", err)})
		return
	}
	r.After, r.Exact = s, true
}

// findCuts finds what the commits truncate.
func (p *pass) findCuts(m boltfile.Meta) {
	_ = p.walk(m, func(path [][]byte, key, value []byte) error { // the walk that follows tells
		if len(path) != 1 || len(path[0]) != 8 || len(key) != 12 || binary.BigEndian.Uint32(key) != opPartition || len(value) == 0 || value[0] != opReset {
			return nil
		}
		if p.im.spend(len(value)) != nil {
			return nil // commit tells
		}
		if o, err := decodeOp(value); err == nil {
			id := o.info.ID
			p.cuts[id] = append(p.cuts[id], truncation{binary.BigEndian.Uint64(path[0]), o.cutAt()})
			p.rep.Truncated = lowest(p.rep.Truncated, id, o.cutAt())
		}
		return nil
	})
}

// cut reports whether a commit behind that of a batch truncated it.
func cut(by []truncation, seq uint64, b record.Batch) bool {
	return slices.ContainsFunc(by, func(t truncation) bool { return t.seq > seq && t.offset <= b.BaseOffset() })
}

// lowest notes an offset of a partition where it is lower than the one noted before.
func lowest(of map[uint32]int64, id uint32, offset int64) map[uint32]int64 {
	if of == nil {
		of = make(map[uint32]int64)
	}
	if have, ok := of[id]; !ok || offset < have {
		of[id] = offset
	}
	return of
}
