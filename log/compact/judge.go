package compact

import (
	"github.com/culvert-mq/culvert/log/record"
)

// fate is what becomes of a batch.
type fate struct {
	all     bool  // all records go
	some    bool  // records go by keep
	horizon int64 // delete horizon to be set, -1 for none
}

// judge decides what becomes of the next batch of p in the segment that is looked at. It follows the partition's
// transactions in t, so every batch is to be shown to it once, in order.
func (c *pass) judge(p *part, t *transactions, b record.Batch) fate {
	needless := t.see(b)
	f := fate{horizon: -1}
	switch {
	case b.BaseOffset() >= p.end:
	case b.Count() == 0:
		f.all = true
	case b.Attributes().Control():
		if needless && b.HasDeleteHorizon() {
			f.all = c.due(b)
		} else if needless {
			f.horizon = c.horizon(p)
		}
	default:
		f.all, f.some = needless, !needless
	}
	return f
}

// horizon is the time from which on what is cleaned now may go, ms; -1 while the time is not known.
func (c *pass) horizon(p *part) int64 {
	if !c.Timed {
		return -1
	}
	return c.Now.Add(p.DeleteRetention).UnixMilli()
}

// stampable reports whether the tombstones of b may get their delete horizon: all are known to be the last of their keys,
// and of what they delete nothing is left.
func (c *pass) stampable(p *part, b record.Batch) bool {
	return c.Timed && p.clear && b.NextOffset() <= p.end && !b.HasDeleteHorizon()
}

// due reports whether the delete horizon of b has passed.
func (c *pass) due(b record.Batch) bool { return c.Timed && c.Now.UnixMilli() >= b.DeleteHorizon() }

// verdict is what becomes of a record.
type verdict int

const (
	stays      verdict = iota
	superseded         // it must go before the next pass can begin behind it
	expired            // it may go
)

// try decides about one record of a batch whose fate is some. A record without a key has no place in a compacted
// partition: Kafka removes it too.
func (c *pass) try(p *part, b record.Batch, r *record.Record) verdict {
	switch {
	case r.Offset >= p.end:
	case r.Key == nil || r.Offset < c.keys.latest(p.ID, r.Key):
		return superseded
	case r.Value == nil && b.HasDeleteHorizon() && c.due(b):
		return expired
	}
	return stays
}

// stays reports whether b must stay, without records if need be: the last batch before the bound, from which readers know
// where the log goes on, and the last one of a producer that the partition remembers.
func (p *part) stays(b record.Batch) bool {
	if b.NextOffset() == p.bound {
		return true
	}
	pr, ok := p.Producers[b.ProducerID()]
	switch {
	case !ok || b.ProducerID() < 0:
		return false
	case pr.Last >= 0:
		return b.LastOffset() == pr.Last
	}
	return b.Attributes().Control() && b.ProducerEpoch() == pr.Epoch
}
