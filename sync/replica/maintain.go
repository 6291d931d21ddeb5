package replica

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/culvert-mq/culvert/log/store"
)

// spaceInterval is how often the limits of the device are looked at.
const spaceInterval = time.Second

// Maintain applies retention and gives space back, every interval and whenever a segment was sealed, compacts beside it
// what is to be compacted, and keeps the log within its limits all the time, until ctx ends.
func (m *Manager) Maintain(ctx context.Context, interval time.Duration, l Limits) {
	var beside sync.WaitGroup
	defer beside.Wait()
	compact := make(chan struct{}, 1)
	beside.Go(func() { m.compactor.run(ctx, compact) })
	pass, space := time.NewTicker(interval), time.NewTicker(spaceInterval)
	defer pass.Stop()
	defer space.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-pass.C:
			err = m.Clean(ctx, l)
			offer(compact) // by what the clock is known to be now
		case <-m.st.Sealed():
			err = m.Clean(ctx, l)
			offer(compact)
		case <-space.C:
			err = m.lookForRoom(ctx, l)
		}
		if err != nil && ctx.Err() == nil {
			m.log.Error("retention failed", "err", err)
		}
	}
}

// offer wakes who waits at a channel with a capacity of 1.
func offer(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Clean applies retention once, each topic's own, gives back the space of what has gone, and keeps the log within its
// limits. Topics that are only compacted keep everything. Clean and KeepRoom must not be called at once. When ctx ends, what
// is begun is left for the next pass.
func (m *Manager) Clean(ctx context.Context, l Limits) error {
	t := make(tally)
	err := m.expire(t)
	m.report(t)
	var reclaimed error
	if !m.compactor.log.copying.Load() { // else it would wait for that; the next pass does it
		_, reclaimed = m.st.Reclaim()
	}
	if errors.Is(reclaimed, store.ErrFull) { // a full disk is what room is made for
		m.log.Debug("space cannot be given back yet", "err", reclaimed)
		reclaimed = nil
	}
	return errors.Join(err, reclaimed, m.KeepRoom(ctx, l))
}

// expire applies the topics' own retention.
func (m *Manager) expire(t tally) error {
	byTime := m.believeClock()
	now := m.now().UnixMilli()
	starts := make(map[*Partition]int64)
	for _, p := range m.All() {
		if to := p.due(now, byTime); to > p.StartOffset() {
			starts[p] = to
		}
	}
	return m.advanceAll(starts, reasonRetention, t)
}

// believeClock tells whether records may expire by the clock now, and why not when that changes.
func (m *Manager) believeClock() bool {
	newest := int64(-1)
	if !m.guard.begun {
		for _, p := range m.All() {
			newest = max(newest, p.records.MaxTime())
		}
	}
	held := m.guard.look(m.now(), m.uptime(), m.synchronised(), newest)
	if was := *m.held.Swap(&held); was != held {
		if held != "" {
			m.log.Warn("nothing expires by time", "reason", held)
		} else {
			m.log.Info("records expire by time again")
		}
	}
	return held == ""
}

// Held returns why nothing expires by time, "" if it does.
func (m *Manager) Held() string { return *m.held.Load() }

// due returns the offset to which the topic's own retention moves the start: past the runs in sealed segments whose newest
// record is too old at now (ms), unless it must not go by time, and past the oldest while more would remain than the topic
// is to keep.
func (p *Partition) due(now int64, byTime bool) int64 {
	c := p.Config()
	if !c.Delete {
		return p.StartOffset()
	}
	age := c.RetentionMs
	if !byTime {
		age = -1
	}
	to, _ := p.log.Expiring(now, age, c.RetentionBytes)
	return to
}

// startsAtOnce is how many start offsets are moved at a time: they become durable together.
const startsAtOnce = 64

// advanceAll moves the starts of partitions and counts what leaves.
func (m *Manager) advanceAll(starts map[*Partition]int64, reason string, t tally) error {
	var g errgroup.Group
	g.SetLimit(startsAtOnce)
	parts := slices.SortedFunc(maps.Keys(starts), func(a, b *Partition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.index, b.index))
	})
	gone, bytes, errs := make([]store.Gone, len(parts)), make([]int64, len(parts)), make([]error, len(parts))
	for i, p := range parts {
		g.Go(func() error {
			from := p.StartOffset()
			gone[i], errs[i] = p.advance(starts[p])
			for _, r := range p.records.SealedRuns() {
				if r.Base >= from && r.Next <= starts[p] {
					bytes[i] += r.Bytes
				}
			}
			return nil
		})
	}
	_ = g.Wait() // each has its own error
	for i, p := range parts {
		if errs[i] == nil {
			t.add(p.topic, reason, gone[i], bytes[i])
		}
	}
	return errors.Join(errs...)
}
