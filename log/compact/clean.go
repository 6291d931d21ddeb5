package compact

import (
	"errors"
	"fmt"
	"slices"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// clean goes through the sealed segments, oldest first, and writes those anew that are worth it.
func (c *pass) clean() error {
	for i := range c.sealed {
		s := &c.sealed[i]
		s.parts = slices.DeleteFunc(s.parts, func(p *part) bool { return s.Runs[p.ID].Base >= p.end })
		if len(s.parts) == 0 {
			continue
		}
		if err := c.segment(s); err != nil {
			for _, s := range c.sealed[i:] { // what was not looked at may have anything in it
				for _, p := range s.parts {
					p.leave(s.base(p))
				}
			}
			return err
		}
	}
	return nil
}

// leave notes that there is something dead in a run that begins at an offset, and stays there.
func (p *part) leave(base int64) { p.clear, p.left = false, min(p.left, base) }

// weight is what was found in a segment, bytes.
type weight struct {
	dead    int64   // what must go before a pass may begin behind it
	expired int64   // what may go
	stamped waiting // tombstones and markers that would get their delete horizon
	later   waiting // those that have one that has not passed
}

// waiting is what may go at some time.
type waiting struct {
	bytes int64
	at    int64 // ms since 1970: when the last of it may
}

func (w *waiting) add(n, at int64) {
	if n > 0 {
		w.bytes, w.at = w.bytes+n, max(w.at, at)
	}
}

// segment looks at one segment and writes it anew where that is worth it.
func (c *pass) segment(s *segment) error {
	before := make(map[uint32]*transactions, len(s.parts))
	var w weight
	var dead []*part
	forced := false
	for _, p := range s.parts {
		t := p.txns.clone()
		before[p.ID] = &t
		n := w.dead
		if err := c.scan(p, s.base(p), s.Runs[p.ID].Next, func(p *part, b record.Batch) error {
			c.weigh(p, b, &w)
			return nil
		}); err != nil {
			return err
		}
		if w.dead > n {
			dead, forced = append(dead, p), forced || p.forced
		}
	}
	goes := w.dead + w.expired
	change := goes + w.stamped.bytes
	if forced || change > 0 && c.worth(s, change) {
		if err := c.rewrite(s, before); err != nil && !errors.Is(err, store.ErrNoSegment) {
			return err
		}
		w.later.add(w.stamped.bytes, w.stamped.at)
		goes = 0
	} else {
		for _, p := range dead {
			p.leave(s.base(p))
		}
	}
	if delete(c.kept, s.Number); goes+w.later.bytes > 0 {
		c.kept[s.Number] = remnant{goes, w.later}
	}
	return nil
}

// rewrite writes a segment anew. The transactions are as they were before its first batch.
func (c *pass) rewrite(s *segment, before map[uint32]*transactions) error {
	removed := make(map[uint32]int64)
	freed, err := c.opt.Store.Rewrite(s.Number, func(id uint32, b record.Batch) (record.Batch, error) {
		t := before[id]
		if t == nil { // it is not looked at here
			return b, nil
		}
		p := c.parts[id]
		out, n := c.keep(p, t, b)
		removed[id] += n
		return out, nil
	}, c.spend)
	if err != nil {
		return fmt.Errorf("segment %d: %w", s.Number, err)
	}
	for id, n := range removed {
		c.res.Removed[id] += n
	}
	c.res.Segments++
	c.res.Freed += freed
	c.res.Written += s.Bytes - freed
	return nil
}

// weigh adds what goes of a batch to w.
func (c *pass) weigh(p *part, b record.Batch, w *weight) {
	f := c.judge(p, &p.txns, b)
	switch {
	case f.all && (b.Count() == 0 || b.Attributes().Control()):
		w.expired += p.gone(b)
	case f.all:
		w.dead += p.gone(b)
	case f.horizon >= 0:
		w.stamped.add(int64(len(b)), f.horizon)
	case f.some:
		c.weighRecords(p, b, w)
	case b.Attributes().Control() && b.HasDeleteHorizon():
		w.later.add(int64(len(b)), b.DeleteHorizon())
	}
}

// gone is how many bytes come free when all records of b go.
func (p *part) gone(b record.Batch) int64 {
	if p.stays(b) {
		return int64(len(b)) - record.HeaderSize
	}
	return int64(len(b))
}

// weighRecords adds what goes of a batch that goes record by record. A part of it counts by the size of its records.
func (c *pass) weighRecords(p *part, b record.Batch, w *weight) {
	r := &c.reader
	var all, dead, over, tombstones int64
	err := r.Reset(b, c.opt.Limit)
	for err == nil && r.Next() {
		rec := r.Record()
		n := sizeOf(rec)
		all += n
		switch c.try(p, b, rec) {
		case superseded:
			dead += n
		case expired:
			over += n
		case stays:
			if rec.Value == nil {
				tombstones += n
			}
		}
	}
	if errors.Join(err, r.Err()) != nil || all == 0 {
		p.clear = false // what it holds of a key is not known
		return
	}
	size := int64(len(b))
	if dead+over == all {
		size = p.gone(b)
	}
	share := func(n int64) int64 {
		if n == 0 {
			return 0
		}
		return max(int64(float64(size)*(float64(n)/float64(all))), 1)
	}
	w.dead += share(dead)
	w.expired += share(over)
	switch {
	case b.HasDeleteHorizon():
		w.later.add(share(tombstones), b.DeleteHorizon())
	case c.stampable(p, b):
		w.stamped.add(share(tombstones), c.horizon(p))
	}
}

// sizeOf is about the size of a record, uncompressed.
func sizeOf(r *record.Record) int64 {
	n := 8 + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += 2 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return int64(n)
}

// keep returns what stays of a batch, nil for nothing, and how many records go. One that cannot be read stays as it is, and
// has not been counted either.
func (c *pass) keep(p *part, t *transactions, b record.Batch) (out record.Batch, removed int64) {
	f := c.judge(p, t, b)
	count := int64(b.Count())
	var kept int
	var err error
	switch {
	case f.all:
	case f.some:
		out, kept, err = c.keepRecords(p, b)
	case f.horizon >= 0:
		out, kept, err = record.Filter(b, all, f.horizon, c.opt.Limit)
	default:
		return b, 0
	}
	switch {
	case err != nil:
		return b, 0
	case out != nil:
		return out, count - int64(kept)
	case !p.stays(b):
		return nil, count
	case count == 0:
		return b, 0
	}
	return b.Emptied(), count
}

// keepRecords returns a batch that goes record by record with those that stay.
func (c *pass) keepRecords(p *part, b record.Batch) (out record.Batch, kept int, err error) {
	tombstones := false
	out, kept, err = record.Filter(b, func(r *record.Record) bool {
		if c.try(p, b, r) != stays {
			return false
		}
		tombstones = tombstones || r.Value == nil
		return true
	}, -1, c.opt.Limit)
	if tombstones && err == nil && c.stampable(p, b) {
		return record.Filter(out, all, c.horizon(p), c.opt.Limit)
	}
	return out, kept, err
}

func all(*record.Record) bool { return true }
