package compact

import (
	"errors"

	"github.com/culvert-mq/culvert/log/record"
)

// errFull ends the scan of a segment when the map is full.
var errFull = errors.New("map of keys is full")

// build fills the map with the keys of all parts from Cleaned on, segment by segment, as far as there is room, and sets
// each part's end. A part that could not be taken in as a whole is forced: only when nothing is left behind can the next
// pass go on from its end.
func (c *pass) build() error {
	err := c.takeAll()
	if errors.Is(err, errFull) {
		c.res.More = true
		for _, p := range c.parts {
			p.forced = p.forced || p.end < p.bound && !p.stuck
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, p := range c.parts {
		if !p.stuck {
			p.end = p.bound
		}
	}
	return nil
}

func (c *pass) takeAll() error {
	for i := range c.sealed {
		for _, p := range c.sealed[i].parts {
			r := c.sealed[i].Runs[p.ID]
			from, to := max(r.Base, p.Cleaned, p.Start), min(r.Next, p.bound)
			if from >= to || p.stuck {
				continue
			}
			if err := c.scan(p, from, to, c.take); err != nil {
				return err
			}
		}
	}
	return nil
}

// scan shows the batches of p between two offsets to fn.
func (c *pass) scan(p *part, from, to int64, fn func(p *part, b record.Batch) error) error {
	return c.opt.Store.Scan(p.ID, from, to, func(b record.Batch) error {
		n := int64(len(b))
		c.res.Read += n
		if err := fn(p, b); err != nil {
			return err
		}
		return c.spend(n)
	})
}

// take puts the keys of a batch into the map. What a transaction has aborted was never there.
func (c *pass) take(p *part, b record.Batch) error {
	if p.stuck || b.NextOffset() <= p.Cleaned || b.BaseOffset() >= p.bound {
		return nil
	}
	if !b.Attributes().Control() && !p.txns.wasAborted(b) {
		r := &c.reader
		err := r.Reset(b, c.opt.Limit)
		for err == nil && r.Next() {
			rec := r.Record()
			if rec.Offset < p.Cleaned || rec.Key == nil || rec.Offset >= p.bound {
				continue
			}
			if !c.keys.put(p.ID, rec.Key, rec.Offset) {
				p.end = rec.Offset
				return errFull
			}
		}
		if err = errors.Join(err, r.Err()); err != nil {
			p.stuck, p.end = true, max(b.BaseOffset(), p.Cleaned)
			c.opt.Logger.Error("a batch cannot be read, compaction does not go past it", "topic", p.Topic, "partition", p.Index,
				"offset", b.BaseOffset(), "err", err)
			return nil
		}
	}
	p.end = min(b.NextOffset(), p.bound)
	return nil
}
