//go:build powercut

package powercut

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/culvert-mq/culvert/log/partition"
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// worker is the only one who appends to its partitions.
type worker struct {
	*driver
	rng   *rand.Rand
	parts []*held
}

// held is a partition in the hands of its worker.
type held struct {
	*partition.Partition
	next      int64 // the offset of the next record
	epoch     int32
	producers []*producer
	acks      []*ack // of what was appended, in order
}

type producer struct {
	id    int64
	epoch int16
	seq   int32
	last  record.Batch // nil before the first
	base  int64        // of last
}

// ack notes, from the committer, that a group is durable.
type ack struct {
	w       *worker
	g       *store.Group
	id      uint32
	end     int64
	written chan struct{}
}

// Committed implements store.Waiter.
func (a *ack) Committed() {
	err := a.g.Err()
	if err == nil && !a.w.cfg.Hasty {
		err = a.w.marks.write(mark{Kind: markAcked, ID: a.id, Offset: a.end})
	}
	if err != nil {
		a.w.fail(fmt.Errorf("commit: %w", err))
	}
	close(a.written)
}

func (w *worker) add(st *store.PartitionState) {
	h := &held{Partition: partition.New(w.st, &w.set, st, func() {}), next: st.Next}
	if n := len(st.Epochs); n > 0 {
		h.epoch = st.Epochs[n-1].Epoch
	}
	h.SetEpoch(h.epoch)
	w.parts = append(w.parts, h)
	w.mu.Lock()
	w.driver.parts[st.ID] = h.Partition
	w.mu.Unlock()
}

func (w *worker) waitAll() {
	for _, h := range w.parts {
		h.wait(0)
	}
}

// wait waits until at most n groups are in flight.
func (h *held) wait(n int) {
	for len(h.acks) > n {
		<-h.acks[0].written
		h.acks = h.acks[1:]
	}
}

// expect has the end of what was appended noted when g is durable.
func (w *worker) expect(h *held, g *store.Group) error {
	a := &ack{w: w, g: g, id: h.ID(), end: h.next, written: make(chan struct{})}
	h.acks = append(h.acks, a)
	if w.cfg.Hasty {
		if err := w.marks.write(mark{Kind: markAcked, ID: a.id, Offset: a.end}); err != nil {
			return err
		}
	}
	g.Notify(a)
	h.wait(w.rng.IntN(4))
	return nil
}

// step does one thing.
func (w *worker) step() error {
	n := w.rng.IntN(100)
	if len(w.parts) == 0 || n < 4 && len(w.parts) < 4 {
		return w.create()
	}
	i := w.rng.IntN(len(w.parts))
	h := w.parts[i]
	switch {
	case n < 46:
		return w.singles(h)
	case n < 72:
		return w.batch(h)
	case n < 77:
		return w.again(h)
	case n < 87:
		return w.start(h)
	case n < 90:
		return w.drop(i)
	case n < 93:
		return w.lead(h)
	case n < 95:
		return w.expire(h)
	case n < 98:
		return w.cut(h)
	default:
		pause(nil, time.Duration(w.rng.IntN(8))*time.Millisecond)
	}
	return nil
}

func (w *worker) create() error {
	infos := make([]store.PartitionInfo, 1+w.rng.IntN(2))
	for i := range infos {
		infos[i] = store.PartitionInfo{Topic: fmt.Sprintf("t%d", w.rng.IntN(5)), Index: int32(w.rng.IntN(3))}
		binary.BigEndian.PutUint64(infos[i].TopicID[:], w.rng.Uint64())
		binary.BigEndian.PutUint64(infos[i].TopicID[8:], w.rng.Uint64())
	}
	if err := w.marks.write(mark{Kind: markCreating, Infos: infos}); err != nil {
		return err
	}
	states, err := w.st.CreatePartitions(infos)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	for i, st := range states {
		infos[i] = st.PartitionInfo
	}
	if err := w.marks.write(mark{Kind: markCreated, Infos: infos}); err != nil {
		return err
	}
	for _, st := range states {
		w.add(st)
	}
	return nil
}

// size draws the size of a value: mostly small, seldom more than a block of the journal.
func (w *worker) size() int {
	switch w.rng.IntN(10) {
	case 0:
		return 1000 + w.rng.IntN(5000)
	case 1, 2:
		return w.rng.IntN(1500)
	}
	return w.rng.IntN(150)
}

// singles appends records one by one, as sensors do.
func (w *worker) singles(h *held) error {
	n := 1 + w.rng.IntN(6)
	m := mark{Kind: markAppending, ID: h.ID()}
	for i := range n {
		m.Headers = append(m.Headers, singleHeader(h.next+int64(i), h.epoch))
	}
	if err := w.marks.write(m); err != nil {
		return err
	}
	var last *store.Group
	for range n {
		value := appendValue(nil, h.Info().TopicID, h.epoch, h.next, w.size())
		offset, g, err := h.Append(time.Now().UnixMilli(), keyOf(h.Info().TopicID, h.next), value, nil)
		if err != nil {
			return fmt.Errorf("append: %w", err)
		}
		if offset != h.next {
			return fmt.Errorf("partition %d: record at %d, want %d", h.ID(), offset, h.next)
		}
		if last != nil && g != last { // the group closed in between
			if err := w.expect(h, last); err != nil {
				return err
			}
		}
		h.next++
		last = g
	}
	return w.expect(h, last)
}

// batch appends one batch of an idempotent producer.
func (w *worker) batch(h *held) error {
	if len(h.producers) < 3 && w.rng.IntN(3) == 0 || len(h.producers) == 0 {
		h.producers = append(h.producers, &producer{id: w.rng.Int64N(1 << 40)})
	}
	pr := h.producers[w.rng.IntN(len(h.producers))]
	if w.rng.IntN(10) == 0 {
		pr.epoch++
		pr.seq = 0
	}
	var b record.Builder
	n := 1 + w.rng.IntN(4)
	for i := range n {
		size := w.size()
		if w.rng.IntN(12) == 0 {
			size = 4000 + w.rng.IntN(20000) // past the size of a group for the journal
		}
		at := h.next + int64(i)
		b.Append(time.Now().UnixMilli(), keyOf(h.Info().TopicID, at), appendValue(nil, h.Info().TopicID, h.epoch, at, size), nil)
	}
	batch := append(record.Batch(nil), b.Finish(h.next, h.epoch, record.None, nil)...)
	batch.SetProducer(pr.id, pr.epoch, pr.seq)
	pr.last, pr.base = append(record.Batch(nil), batch...), h.next
	pr.seq += int32(n)
	if err := w.marks.write(mark{Kind: markAppending, ID: h.ID(), Headers: [][]byte{header(batch)}}); err != nil {
		return err
	}
	a, err := h.AppendBatch(batch)
	if err != nil {
		return fmt.Errorf("append a batch: %w", err)
	}
	if a.Duplicate || a.BaseOffset != h.next {
		return fmt.Errorf("partition %d: batch at %d (duplicate %v), want %d", h.ID(), a.BaseOffset, a.Duplicate, h.next)
	}
	h.next += int64(n)
	return w.expect(h, a.Commit)
}

// again sends a producer's last batch a second time.
func (w *worker) again(h *held) error {
	for _, pr := range h.producers {
		if pr.last == nil {
			continue
		}
		a, err := h.AppendBatch(append(record.Batch(nil), pr.last...))
		if err != nil || !a.Duplicate || a.BaseOffset != pr.base {
			return fmt.Errorf("partition %d: a batch sent again: %+v, %w", h.ID(), a, err)
		}
	}
	return nil
}

// ask has the store do something to a partition, and notes both ends of it.
func (d *driver) ask(id uint32, o operation, do func() error) error {
	if err := d.marks.write(mark{Kind: markAsking, ID: id, Op: &o}); err != nil {
		return err
	}
	if err := do(); err != nil {
		return fmt.Errorf("%s of partition %d: %w", o.Kind, id, err)
	}
	return d.marks.write(mark{Kind: markDone, ID: id, Op: &o})
}

// start moves the start offset, as retention does.
func (w *worker) start(h *held) error {
	w.keeping.Lock()
	defer w.keeping.Unlock()
	from, to := h.Start(), h.End()
	at := from
	if w.rng.IntN(3) > 0 { // much goes, so that segments die
		at += (to - from) * 3 / 4
	}
	at += w.rng.Int64N(to - at + 1)
	n, err := w.st.Log(h.ID()).Count(from, at)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	gone := store.Gone{Lost: w.rng.Int64N(n + 1)}
	gone.Expired = n - gone.Lost
	return w.ask(h.ID(), operation{Kind: opStart, Offset: at, Gone: gone}, func() error { return h.AdvanceStart(at, gone) })
}

// lead begins a leader epoch before there is a batch of it.
func (w *worker) lead(h *held) error {
	h.wait(0)
	h.epoch += int32(1 + w.rng.IntN(3))
	h.SetEpoch(h.epoch)
	if w.rng.IntN(2) == 0 {
		return nil
	}
	return w.ask(h.ID(), operation{Kind: opEpoch, Epoch: h.epoch, Offset: h.next}, func() error { return h.BeginEpoch(h.epoch) })
}

// expire forgets producers.
func (w *worker) expire(h *held) error {
	h.wait(0)
	h.producers = nil // they come back as others
	before := time.Now().UnixMilli() - w.rng.Int64N(50)
	return w.ask(h.ID(), operation{Kind: opExpire, Offset: before}, func() error { return w.st.ExpireProducers(before, h.ID()) })
}

// cut truncates the log, mostly by little, as a follower does whose leader has changed.
func (w *worker) cut(h *held) error {
	w.keeping.Lock()
	defer w.keeping.Unlock()
	h.wait(0)
	at := h.next - w.rng.Int64N(min(h.next, 12)+1)
	if w.rng.IntN(4) == 0 {
		at = w.rng.Int64N(h.next + 1)
	}
	o := operation{Kind: opCut, Offset: at}
	if err := w.marks.write(mark{Kind: markAsking, ID: h.ID(), Op: &o}); err != nil {
		return err
	}
	if err := h.Truncate(at); err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	if h.End() > at {
		return fmt.Errorf("partition %d: truncated to %d, it ends at %d", h.ID(), at, h.End())
	}
	states := slices.DeleteFunc(w.st.States(), func(st *store.PartitionState) bool { return st.ID != h.ID() })
	if err := w.marks.write(mark{Kind: markDone, ID: h.ID(), Op: &o, States: states}); err != nil {
		return err
	}
	h.next, h.producers = h.End(), nil
	h.epoch++ // so that the records that come are others
	h.SetEpoch(h.epoch)
	return nil
}

func (w *worker) drop(i int) error {
	h := w.parts[i]
	if err := w.marks.write(mark{Kind: markDropping, ID: h.ID()}); err != nil {
		return err
	}
	w.mu.Lock()
	delete(w.driver.parts, h.ID())
	w.mu.Unlock()
	h.Close()
	if err := w.st.DropPartitions(h.ID()); err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	if err := w.marks.write(mark{Kind: markDropped, ID: h.ID()}); err != nil {
		return err
	}
	h.wait(0)
	w.parts = append(w.parts[:i], w.parts[i+1:]...)
	return nil
}
