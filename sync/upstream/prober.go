package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The prober finds the records that the centre refuses. When a batch fails, the producer fails everything behind it in
// the central partition, of other source partitions too, and says nothing about the record that caused it. So the
// prober takes one source partition at a time, of which nothing is on its way, and sends fewer and fewer records of it
// through a producer of its own: what fails there alone is refused for itself and not for its company.

const (
	firstProbe = 64
	mostProbe  = 1024
)

// check queues a flow in mode careful for the prober.
func (w *Forwarder) check(f *flow) {
	w.checkMu.Lock()
	w.checks = append(w.checks, f)
	w.checkMu.Unlock()
	select {
	case w.checkable <- struct{}{}:
	default:
	}
}

func (w *Forwarder) nextCheck() *flow {
	w.checkMu.Lock()
	defer w.checkMu.Unlock()
	if len(w.checks) == 0 {
		return nil
	}
	f := w.checks[0]
	w.checks = w.checks[1:]
	return f
}

// prober serves the queue. Its producer exists while there is something in it.
func (w *Forwarder) prober(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.checkable:
		}
		if f := w.nextCheck(); f != nil {
			w.probeAll(ctx, f)
		}
	}
}

func (w *Forwarder) probeAll(ctx context.Context, f *flow) {
	d := newDecoder(maxBatchBytes)
	cl, err := w.newClient(kgo.ProducerBatchMaxBytes(maxBatchBytes), kgo.ProducerLinger(0))
	if err != nil {
		w.log.Error("cannot make a producer for records that were refused", "err", err)
	}
	if cl != nil {
		// Closing makes an end of waiting for answers.
		closing := sync.OnceFunc(cl.Close)
		defer closing()
		defer context.AfterFunc(ctx, closing)()
	}
	for ; f != nil && ctx.Err() == nil; f = w.nextCheck() {
		if cl == nil {
			f.mu.Lock()
			f.hold(err, time.Now(), w.cfg.MaxBackoff)
			f.mu.Unlock()
			continue
		}
		w.probe(ctx, cl, d, f)
		w.poke()
	}
}

// probe sends what is left of a flow's window, in portions that shrink when one fails and grow when one arrives, and
// leaves the flow running, or held.
func (w *Forwarder) probe(ctx context.Context, cl *kgo.Client, d *decoder, f *flow) {
	for ctx.Err() == nil {
		f.mu.Lock()
		if f.position >= f.windowEnd || f.removed {
			f.suspect = false
			f.mode, f.cause, f.failures = running, nil, 0
			f.mu.Unlock()
			return
		}
		from, skip, limit := f.next, f.skip, f.probeLimit
		f.mu.Unlock()

		c, err := d.read(f.src, from, skip, maxGrant, limit)
		if err == nil && c == nil {
			err = errors.New("upstream: the log ends before what has been read of it")
		}
		if err != nil {
			f.mu.Lock()
			f.hold(err, time.Now(), w.cfg.MaxBackoff)
			f.mu.Unlock()
			return
		}
		if len(c.items) > 0 {
			c.settled = make(chan struct{})
		}
		w.budget.take(c.bytes)
		if !f.add(c, careful) {
			w.budget.give(c.bytes)
			return
		}
		if len(c.items) == 0 {
			continue // a gap
		}
		w.produce(cl, f, c)
		<-c.settled
		if !w.judge(f, c) {
			return
		}
	}
}

// judge looks at how a portion fared, and tells whether to go on with the next.
func (w *Forwarder) judge(f *flow, c *chunk) bool {
	var cause error
	for i := range c.items {
		if err := c.items[i].err; err != nil && (cause == nil || classify(cause) == failClosed) {
			cause = err
		}
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if cause == nil {
		f.probeLimit = min(2*f.probeLimit, mostProbe)
		return true
	}
	class := classify(cause)
	if class == failRecord && len(c.items) == 1 && w.cfg.Refused == RefusedSkip {
		w.refuse(f, &c.items[0], cause)
		return true
	}
	freed, again := f.rewind()
	w.budget.give(freed)
	switch {
	case class == failClosed:
		f.mode, f.retryAt = held, now.Add(closeBackoff)
		return false
	case class == failRecord && len(c.items) > 1:
		f.probeLimit = max(1, min(f.probeLimit, len(c.items))/4)
		w.resent.Add(again)
		return true
	case class == failRecord:
		cause = fmt.Errorf("record at offset %d is refused: %w", c.items[0].offset, cause)
		f.probeLimit = 1
	case class == failTopic:
		f.central.missing(cause)
	}
	w.metrics.errors.WithLabelValues(reason(cause)).Inc()
	f.hold(cause, now, w.cfg.MaxBackoff)
	if f.failures == 1 {
		w.log.Error("the centre refuses a record; its partition waits", "topic", f.id.Topic, "partition", f.id.Index,
			"central_topic", f.central.name, "err", cause)
	}
	return false
}

// refuse passes over a record that the centre has refused by itself. Called with f.mu held.
func (w *Forwarder) refuse(f *flow, it *item, cause error) {
	it.done = true
	f.total.refused++
	before := f.held
	f.advance()
	w.budget.give(before - f.held)
	w.metrics.errors.WithLabelValues(reason(cause)).Inc()
	w.log.Error("the centre refuses a record; it is passed over", "topic", f.id.Topic, "partition", f.id.Index, "offset", it.offset,
		"timestamp", it.rec.Timestamp, "key", printable(it.rec.Key), "bytes", len(it.rec.Key)+len(it.rec.Value), "err", cause)
}

// printable is a key for the log: what is not short is cut.
func printable(key []byte) string {
	const most = 64
	if len(key) > most {
		return fmt.Sprintf("%q...", key[:most])
	}
	return fmt.Sprintf("%q", key)
}
