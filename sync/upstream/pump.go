package upstream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// coalesce is how long the pump lets events gather before it looks at all partitions again.
const coalesce = 2 * time.Millisecond

// pump reads for all flows, in turns of one chunk each, and hands records to the producer. It sleeps until there is
// something to read, memory was given back, or a wait is over.
func (w *Forwarder) pump(ctx context.Context) {
	d := newDecoder(w.cfg.MaxBatchBytes)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := time.Hour
		if at := w.pass(ctx, d); !at.IsZero() {
			wait = max(time.Until(at), coalesce)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-w.data:
		case <-w.wake:
		case <-timer.C:
		}
		timer.Reset(coalesce)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// pass feeds all flows until none is ready, and returns when the first of those that wait for a time is due.
func (w *Forwarder) pass(ctx context.Context, d *decoder) (due time.Time) {
	now := time.Now()
	var topics []*centralTopic
	ready := w.ready[:0]
	list := w.flows.Load().list
	w.turn++ // everybody is the first to be served now and then
	for i := range list {
		f := list[(w.turn+i)%len(list)]
		v := w.look(f, now)
		if v.lookup && !slices.Contains(topics, f.central) {
			topics = append(topics, f.central)
		}
		if !v.at.IsZero() && (due.IsZero() || v.at.Before(due)) {
			due = v.at
		}
		if v.read {
			ready = append(ready, f)
		}
	}
	w.ready = ready
	if len(topics) > 0 {
		w.startLookup(ctx, topics)
	}
	for len(ready) > 0 {
		more := ready[:0]
		for _, f := range ready {
			if ctx.Err() != nil {
				return due
			}
			if w.feed(f, d) {
				more = append(more, f)
			}
		}
		ready = more
	}
	return due
}

// verdict is what a look at a flow found.
type verdict struct {
	read   bool      // there is something to read, and it may be sent
	lookup bool      // its central topic is to be looked up
	at     time.Time // when to look again; zero when an event will tell
}

// look decides what a flow needs, and moves it on from mode held when its time has come.
func (w *Forwarder) look(f *flow, now time.Time) (v verdict) {
	hwm := f.src.HighWatermark()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.removed || hwm <= f.next && f.mode == running {
		f.behindAt = time.Time{}
		return v
	}
	if f.behindAt.IsZero() {
		f.behindAt = now
	}
	switch f.mode {
	case draining, careful:
		return v
	case held:
		if now.Before(f.retryAt) {
			return verdict{at: f.retryAt}
		}
	case probing:
		if f.pending > 0 {
			return v
		}
	}
	ready, due, retryAt, _ := f.central.state(now, w.link.lastAnswer())
	if !ready {
		v.lookup = due
		if !due && retryAt.After(now) {
			v.at = retryAt
		}
		return v
	}
	if f.mode == held {
		if cls := classify(f.cause); cls == failProducer || f.failures >= 3 {
			w.renew(f.failedAt, now)
		}
		if f.suspect && f.position < f.windowEnd {
			f.mode = careful
			w.check(f)
			return v
		}
		f.mode = probing
	}
	if hwm <= f.next {
		f.mode, f.cause, f.failures = running, nil, 0 // what failed is gone
		return v
	}
	v.read = true
	return v
}

// feed reads one chunk of a flow and sends it. It tells whether there is more to read now.
func (w *Forwarder) feed(f *flow, d *decoder) (more bool) {
	f.mu.Lock()
	mode, from, skip := f.mode, f.next, f.skip
	grant := w.budget.grant(f.held)
	busy := mode == probing && f.pending > 0
	f.mu.Unlock()
	if grant == 0 || busy || mode != running && mode != probing {
		return false
	}
	limit := int(grant)
	if mode == probing {
		limit = 1
	}
	c, err := d.read(f.src, from, skip, grant, limit)
	if err != nil {
		w.cannotRead(f, err)
		return false
	}
	if c == nil {
		return false
	}
	if c.large {
		w.aside(f, c)
		return false
	}
	w.budget.take(c.bytes)
	if !f.add(c, mode) {
		w.budget.give(c.bytes)
		return false
	}
	w.produce(w.client.Load(), f, c)
	return mode == running && f.src.HighWatermark() > c.next
}

// aside lets a flow wait until nothing of it is on its way, and then gives it to the prober, whose producer sends
// records of any size.
func (w *Forwarder) aside(f *flow, c *chunk) {
	f.mu.Lock()
	f.windowEnd = max(f.windowEnd, c.items[0].offset+1)
	f.drain(errLarge, time.Now())
	settle := f.pending == 0
	f.mu.Unlock()
	if settle {
		w.settle(f)
	}
}

// cannotRead holds a flow whose log cannot be read: a partition that is going away, or a disk that fails.
func (w *Forwarder) cannotRead(f *flow, err error) {
	now := time.Now()
	f.mu.Lock()
	if f.mode == running || f.mode == probing {
		f.hold(err, now, w.cfg.MaxBackoff)
	}
	removed, first := f.removed, f.failures == 1
	f.mu.Unlock()
	if !removed && first {
		w.log.Warn("cannot read the log for forwarding; the partition waits", "topic", f.id.Topic, "partition", f.id.Index, "err", err)
	}
	w.metrics.errors.WithLabelValues("READ").Inc()
}

// produce hands a chunk that was added to its flow to the producer.
func (w *Forwarder) produce(cl *kgo.Client, f *flow, c *chunk) {
	w.onWay.Add(int64(len(c.items)))
	for i := range c.items {
		if f.failing.Load() {
			w.answer(f, c, i, errNotSent)
			continue
		}
		r := &c.items[i].rec
		r.Topic = f.central.name
		cl.Produce(context.Background(), r, func(_ *kgo.Record, err error) { w.answer(f, c, i, err) })
	}
}

// answer takes the producer's answer for one record.
func (w *Forwarder) answer(f *flow, c *chunk, i int, err error) {
	var now time.Time
	if err != nil {
		now = time.Now()
	}
	freed, drained := f.done(c, i, err, now)
	if err == nil {
		w.confirmed.Store(true)
	}
	if freed > 0 {
		w.budget.give(freed)
		w.poke()
	}
	if drained {
		w.settle(f)
	}
	if w.onWay.Add(-1) == 0 {
		w.poke()
	}
}

// settle decides how a flow goes on of which a record failed and nothing is on its way any more.
func (w *Forwarder) settle(f *flow) {
	now := time.Now()
	f.mu.Lock()
	cause := f.cause
	freed, again := f.rewind()
	w.budget.give(freed)
	class := classify(cause)
	switch class {
	case failClosed:
		f.mode, f.retryAt = held, now.Add(closeBackoff)
	case failRecord:
		f.mode, f.suspect = careful, true
		f.probeLimit = firstProbe
		if errors.Is(cause, errLarge) {
			f.probeLimit = 1
		}
	default:
		f.hold(cause, now, w.cfg.MaxBackoff)
	}
	first := f.failures == 1
	f.mu.Unlock()

	if class == failTopic {
		f.central.missing(cause)
	}
	if class == failRecord {
		w.check(f)
	}
	if class != failClosed && !errors.Is(cause, errLarge) {
		w.resent.Add(again)
		w.metrics.errors.WithLabelValues(reason(cause)).Inc()
		if class != failRecord && first && f.central.mayWarn(now) {
			w.log.Warn("the centre does not take records; the partition waits", "topic", f.id.Topic, "partition", f.id.Index,
				"central_topic", f.central.name, "err", cause)
		}
	}
	w.poke()
}
