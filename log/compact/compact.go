package compact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/culvert-mq/culvert/log/record"
)

// Options configures a Cleaner. Zero values take the defaults that the fields name.
type Options struct {
	Store  Store
	Memory int64 // bytes of the map of keys, taken for the time of a pass: 4 MiB, room for 131,072 keys
	Limit  int   // bytes to which the records of a batch may grow when they are decompressed: 64 MiB
	Worth  int   // percent of a segment's batches that must be dead before it is written anew: 50
	Logger *slog.Logger
}

const (
	defaultMemory = 4 << 20
	defaultLimit  = 64 << 20
	defaultWorth  = 50
)

// Cleaner compacts the partitions of one store, a pass at a time. Its methods must not be called at once.
//
// Between passes it remembers what a pass has looked at and left, so as not to look again before there is reason to.
// That is lost with the process, which costs one pass.
type Cleaner struct {
	opt  Options
	seen map[uint32]int64   // by partition: up to where a pass has looked, where it has left something
	kept map[uint64]remnant // by segment: what a pass has left there
}

// remnant is what could go of a segment that was not worth rewriting.
type remnant struct {
	now   int64 // bytes
	later waiting
}

// New makes a cleaner.
func New(o Options) *Cleaner {
	o.Memory = cmp.Or(o.Memory, defaultMemory)
	o.Limit = cmp.Or(o.Limit, defaultLimit)
	o.Worth = cmp.Or(o.Worth, defaultWorth)
	return &Cleaner{opt: o, seen: make(map[uint32]int64), kept: make(map[uint64]remnant)}
}

// Conditions are those of one pass.
type Conditions struct {
	Now time.Time
	// Timed tells that Now can be relied on. Without it nothing goes by time: no tombstone goes, no lag counts as over.
	Timed bool
	// Pace is told of bytes that were read or written. It may wait. Its error ends the pass.
	Pace func(bytes int64) error
}

// Result tells what a pass did.
type Result struct {
	Partitions int              // that were compacted
	Segments   int              // that were written anew
	Read       int64            // bytes of batches that were looked at
	Written    int64            // bytes of the segment files that were written
	Freed      int64            // bytes by which the files became smaller
	Removed    map[uint32]int64 // records, by partition
	Dirty      float64          // largest dirty ratio of a partition before the pass, 0 to 1
	More       bool             // the map had no room for all: the next pass goes on
}

// Pass compacts those of the partitions that are dirty enough or have waited long enough. After an error, which may be
// that of Pace, all that was done stays done, and the result tells of it.
func (c *Cleaner) Pass(ctx context.Context, partitions []Partition, on Conditions) (Result, error) {
	p := &pass{Cleaner: c, Conditions: on, ctx: ctx, parts: make(map[uint32]*part, len(partitions)), res: Result{Removed: make(map[uint32]int64)}}
	for _, in := range partitions {
		p.parts[in.ID] = &part{Partition: in, clear: true, left: math.MaxInt64}
	}
	p.look()
	c.forget(p)
	if !p.choose() {
		return p.res, nil
	}
	p.keys = newKeys(c.opt.Memory)
	defer p.reader.Close()
	if err := p.build(); err != nil {
		return p.res, err
	}
	err := p.clean()
	return p.res, errors.Join(err, p.finish(err == nil))
}

// pass is one pass over the store.
type pass struct {
	*Cleaner
	Conditions
	ctx    context.Context
	sealed []segment        // oldest first
	parts  map[uint32]*part // by id; those that are not chosen leave
	keys   *keys
	reader record.Reader
	res    Result
}

// spend tells Pace of bytes.
func (c *pass) spend(n int64) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if c.Pace == nil {
		return nil
	}
	return c.Pace(n)
}

// forget drops what is remembered of segments and partitions that are gone.
func (c *Cleaner) forget(p *pass) {
	for id := range c.seen {
		if p.parts[id] == nil {
			delete(c.seen, id)
		}
	}
	for number := range c.kept {
		if !slices.ContainsFunc(p.sealed, func(s segment) bool { return s.Number == number }) {
			delete(c.kept, number)
		}
	}
}

// look takes in the sealed segments and what the parts have in them.
func (c *pass) look() {
	for _, info := range c.opt.Store.Segments() {
		if !info.Sealed {
			continue
		}
		s := segment{SegmentInfo: info}
		for id, r := range s.Runs {
			if p := c.parts[id]; p != nil {
				s.parts = append(s.parts, p)
				p.runs = append(p.runs, run{r, s.Created})
			}
		}
		slices.SortFunc(s.parts, func(a, b *part) int { return cmp.Compare(a.ID, b.ID) })
		c.sealed = append(c.sealed, s)
	}
}

// choose finds the partitions that this pass is for, and reports whether there are any.
func (c *pass) choose() bool {
	some := false
	for _, p := range c.parts {
		p.limit(c.Now, c.Timed)
		d := p.dirt(p.Cleaned, c.Now)
		c.res.Dirty = max(c.res.Dirty, d.ratio())
		seen := c.seen[p.ID]
		p.forced = c.Timed && d.dirty > 0 && d.waiting > p.MaxLag
		d.dirty = p.dirt(max(p.Cleaned, seen), c.Now).dirty
		p.chosen = p.forced || d.dirty > 0 && d.ratio() > p.MinDirtyRatio
	}
	for _, s := range c.sealed {
		k := c.kept[s.Number]
		dead := k.now
		if c.Timed && c.Now.UnixMilli() >= k.later.at {
			dead += k.later.bytes
		}
		if dead > 0 && c.worth(&s, dead) {
			for _, p := range s.parts {
				p.chosen = true
			}
		}
	}
	for id, p := range c.parts {
		if p.chosen {
			some = true
			p.end = min(p.Cleaned, p.bound)
			p.txns = newTransactions(p.Aborted)
			c.res.Partitions++
		} else {
			delete(c.parts, id)
		}
	}
	for i := range c.sealed {
		s := &c.sealed[i]
		s.parts = slices.DeleteFunc(s.parts, func(p *part) bool { return !p.chosen })
	}
	return some
}

// worth reports whether a segment with so many dead bytes beside those that are not in force any more is to be written
// anew.
func (c *pass) worth(s *segment, dead int64) bool {
	for _, r := range s.Runs {
		dead -= r.Bytes
	}
	dead += s.BatchBytes
	return dead > 0 && float64(dead)*100 >= float64(s.BatchBytes)*float64(c.opt.Worth)
}

// finish records how far each partition has been compacted, and, where the pass has come to its end, what it has seen.
func (c *pass) finish(whole bool) error {
	var errs []error
	for _, p := range c.parts {
		to := max(min(p.end, p.left), p.Cleaned)
		switch {
		case p.stuck:
			c.seen[p.ID] = p.bound
		case to < p.end && whole:
			c.seen[p.ID] = p.end
		default:
			delete(c.seen, p.ID)
		}
		if to == p.Cleaned {
			continue
		}
		if err := c.opt.Store.SetCleaned(p.ID, to); err != nil {
			errs = append(errs, fmt.Errorf("compaction of %s-%d: %w", p.Topic, p.Index, err))
		}
	}
	return errors.Join(errs...)
}
