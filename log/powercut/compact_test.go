//go:build powercut

package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// compact rewrites sealed segments all the time, as compaction does: the last record of every key stays.
func (d *driver) compact(stop chan struct{}) {
	rng := rand.New(rand.NewPCG(d.cfg.Seed, 2000))
	for pause(stop, time.Duration(5+rng.IntN(30))*time.Millisecond) {
		var sealed []store.SegmentInfo
		for _, s := range d.st.Segments() {
			if s.Sealed {
				sealed = append(sealed, s)
			}
		}
		if len(sealed) < 2 {
			continue
		}
		if err := d.rewrite(sealed[rng.IntN(len(sealed)-1)]); err != nil {
			d.fail(fmt.Errorf("compaction: %w", err))
			return
		}
	}
}

// cleaned is what compaction does to one partition in one segment.
type cleaned struct {
	topicID [16]byte
	end     int64
}

// rewrite compacts one segment.
func (d *driver) rewrite(s store.SegmentInfo) error {
	d.keeping.Lock()
	defer d.keeping.Unlock()
	parts := map[uint32]*cleaned{}
	d.mu.Lock()
	for id := range s.Runs {
		if p := d.parts[id]; p != nil && compacted(p.Info().TopicID) {
			parts[id] = &cleaned{topicID: p.Info().TopicID, end: p.End()}
		}
	}
	d.mu.Unlock()
	if len(parts) == 0 {
		return nil
	}
	ids := make([]uint32, 0, len(parts))
	for id, c := range parts {
		ids = append(ids, id)
		if err := d.marks.write(mark{Kind: markCleaning, ID: id, Offset: c.end}); err != nil {
			return err
		}
	}
	slices.Sort(ids)
	_, err := d.st.Rewrite(s.Number, func(id uint32, b record.Batch) (record.Batch, error) {
		c := parts[id]
		if c == nil {
			return b, nil
		}
		out, _, err := record.Filter(b, func(r *record.Record) bool { return !superseded(c.topicID, r.Offset, c.end) }, -1, decodeLimit)
		return out, err
	}, nil)
	if errors.Is(err, store.ErrNoSegment) { // retention was first
		clear(parts)
		err = nil
	}
	if err != nil {
		return err
	}
	for _, id := range ids {
		o := operation{Kind: opCleaned}
		if c := parts[id]; c != nil {
			o.Offset = c.end
		}
		if err := d.ask(id, o, func() error { return d.st.SetCleaned(id, o.Offset) }); err != nil {
			return err
		}
	}
	return nil
}
