package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// Limits are what the log may take of its device. The zero value sets none.
type Limits struct {
	MaxBytes     int64                 // of segments and journal; 0: as much as the device has
	MinFree      int64                 // of the device, to be left to others
	SegmentBytes int64                 // up to which the active segment grows
	Reserve      int64                 // that the store holds for alarms while there is room
	Free         func() (int64, error) // what the device has left; nil: only MaxBytes counts
}

// need returns what is missing. Room is made ahead of the limits, by what the active segment may still grow and what a
// rewritten segment takes until the old one is gone, so that appends are never refused while there is something that may
// give way; 0 when there is room.
func (m *Manager) need(l Limits) (need, error) {
	st := m.st.Stats()
	grows := max(0, l.SegmentBytes-st.ActiveBytes)
	n := need{room: math.MinInt64, hard: math.MinInt64, copy: math.MaxInt64}
	if l.MaxBytes > 0 {
		n.hard = st.SegmentBytes + st.JournalBytes - l.MaxBytes
		n.room = n.hard + grows + l.SegmentBytes/8 // what comes while a pass is under way
	}
	if l.Free != nil {
		free, err := l.Free()
		if err != nil {
			return need{}, fmt.Errorf("free space of the device: %w", err)
		}
		wanted := l.MinFree + grows + l.SegmentBytes/2
		if st.ReserveBytes < l.Reserve {
			wanted += 2 * l.Reserve // from which on the store holds it again
		}
		n.room = max(n.room, wanted-free)
		n.hard = max(n.hard, l.SegmentBytes+copyMargin-free) // alarms may use what is to be left free, but for room to rewrite
		n.copy = max(0, free-copyMargin)
	}
	return n, nil
}

// copyMargin is what of the device's last space a rewritten segment leaves to the journal and the metadata.
const copyMargin = 1 << 20

// KeepRoom has topics give way, by priority, until the log is within its limits with some room to spare. What it cannot
// do for want of records that may go, appends will be refused for. Clean and KeepRoom must not be called at once. When ctx
// ends, what is begun is left for the next call.
func (m *Manager) KeepRoom(ctx context.Context, l Limits) error {
	t := make(tally)
	defer func() { m.report(t) }()
	for range maxRounds {
		n, err := m.need(l)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if n.room <= 0 {
			m.setCramped(false, n)
			return nil
		}
		wanted := n
		wanted.room += l.SegmentBytes / 8 // so that the next records do not begin all over
		wanted.copy = math.MaxInt64
		freed, err := m.makeRoom(ctx, l, wanted, t)
		if err == nil && freed == 0 { // no copy has room, perhaps
			wanted.copy = n.copy
			freed, err = m.makeRoom(ctx, l, wanted, t)
		}
		if err != nil {
			return err
		}
		if freed == 0 {
			m.setCramped(true, n)
			return nil
		}
	}
	return nil
}

// maxRounds bounds one call of KeepRoom: what a plan frees is estimated, and records keep coming.
const maxRounds = 16

// lookForRoom is KeepRoom unless it is known that nothing may give way.
func (m *Manager) lookForRoom(ctx context.Context, l Limits) error {
	if m.cramped {
		n, err := m.need(l)
		if err != nil || n.room > 0 && (n.hard > 0) == m.crampedHard {
			return err // what there is to do comes with a seal or with time
		}
	}
	return m.KeepRoom(ctx, l)
}

// setCramped notes whether there is nothing left that may give way.
func (m *Manager) setCramped(cramped bool, n need) {
	was := m.cramped
	m.cramped, m.crampedHard = cramped, n.hard > 0
	switch now := m.uptime(); {
	case cramped && n.hard > 0 && (!was || now-m.crampedTold >= crampedAgain):
		m.crampedTold = now
		m.log.Warn("the log is at its limit and nothing is left that may give way", "missing_bytes", n.hard)
	case was && !cramped:
		m.log.Info("the log is within its limits again")
	}
}

// crampedAgain is how often it is told that nothing may give way.
const crampedAgain = 10 * time.Minute

// makeRoom carries a plan out and returns how many bytes it freed.
func (m *Manager) makeRoom(ctx context.Context, l Limits, n need, t tally) (freed int64, err error) {
	m.hurry.Add(1)
	defer m.hurry.Add(-1)
	parts := make(map[uint32]*Partition)
	tenants := make(map[uint32]tenant)
	for _, p := range m.All() {
		c := p.Config()
		id := p.log.ID()
		parts[id] = p
		tenants[id] = tenant{start: p.StartOffset(), priority: c.Priority, deletes: c.Delete}
	}
	shelves := m.shelves()
	plan := planRoom(shelves, tenants, n)
	if plan.frees == 0 && len(plan.starts) == 0 {
		return 0, nil
	}
	starts := make(map[*Partition]int64, len(plan.starts))
	for id, to := range plan.starts {
		starts[parts[id]] = to
	}
	if err := m.advanceAll(starts, reasonDisk, t); err != nil {
		return 0, err
	}
	freed, err = m.st.Reclaim()
	if errors.Is(err, store.ErrFull) {
		err = nil // what could be done without space was done
	}
	if err != nil {
		return freed, err
	}
	more, err := m.rewrite(ctx, l, plan.rewrite)
	return freed + more, err
}

// rewrite writes segments anew until there is room, those first that take least space meanwhile.
func (m *Manager) rewrite(ctx context.Context, l Limits, numbers []uint64) (freed int64, err error) {
	if len(numbers) == 0 {
		return 0, nil
	}
	starts := make(map[uint32]int64)
	for _, p := range m.All() {
		starts[p.log.ID()] = p.StartOffset()
	}
	type left struct {
		number uint64
		bytes  int64
	}
	var all []left
	for _, s := range m.shelves() {
		if live := s.live(func(id uint32) int64 { return starts[id] }); live < s.batches && slices.Contains(numbers, s.number) {
			all = append(all, left{s.number, live}) // else it is what it should be already
		}
	}
	slices.SortFunc(all, func(a, b left) int { return cmp.Or(cmp.Compare(a.bytes, b.bytes), cmp.Compare(a.number, b.number)) })
	for _, s := range all {
		n, err := m.need(l)
		if err != nil || n.room <= 0 {
			return freed, err
		}
		if s.bytes > n.copy {
			break
		}
		got, err := m.st.Rewrite(s.number, keepBatch, func(int64) error { return ctx.Err() })
		freed += got
		if err != nil && !errors.Is(err, store.ErrFull) && !errors.Is(err, store.ErrNoSegment) {
			return freed, err
		}
	}
	return freed, nil
}

func keepBatch(_ uint32, b record.Batch) (record.Batch, error) { return b, nil }

// shelves returns the sealed segments, oldest first.
func (m *Manager) shelves() []shelf {
	var out []shelf
	for _, s := range m.st.Segments() {
		if s.Sealed {
			out = append(out, shelfOf(s))
		}
	}
	return out
}

func shelfOf(s store.SegmentInfo) shelf {
	v := shelf{number: s.Number, bytes: s.Bytes, batches: s.BatchBytes}
	for id, r := range s.Runs {
		v.runs = append(v.runs, run{id, r.Base, r.Next, r.Bytes})
	}
	return v
}
