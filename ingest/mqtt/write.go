package mqtt

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// Output. What a connection has to say is appended to conn.out under mu. Whoever then calls flush and finds nobody
// writing becomes the writer: it takes the buffer, writes it without waiting, and looks at out again until it is empty.
// When the socket takes no more, a goroutine finishes the job under a deadline, and ends. So there is one writer at a
// time, packets leave in the order in which they were appended, and an idle connection has no goroutine for it.

const (
	// maxPendingAcks bounds the acknowledgements that wait to be written; those that follow stay in the queue, where
	// they take half as much and count as in flight.
	maxPendingAcks = 64 << 10
	// maxPendingReplies is how much may wait to be written before a client is no longer read from.
	maxPendingReplies = 64 << 10
	// maxPooledOut is the largest output buffer that is kept.
	maxPooledOut = 64 << 10
	// writeStep is what the writing goroutine writes under one deadline.
	writeStep = 16 << 10
)

// outBuffer is a pooled output buffer.
type outBuffer struct {
	b       []byte
	charged int    // bytes in it that are charged to the budget for output
	acks    int    // PUBACKs in it
	sent    [2]int // PUBLISH packets in it, by QoS
}

// outBuffers is a pool of them.
type outBuffers struct {
	pool  sync.Pool
	spent *budget
}

func (p *outBuffers) get() *outBuffer {
	if o, ok := p.pool.Get().(*outBuffer); ok {
		return o
	}
	return &outBuffer{b: make([]byte, 0, 512)}
}

func (p *outBuffers) put(o *outBuffer) {
	if o.charged > 0 {
		p.spent.release(o.charged)
	}
	if cap(o.b) <= maxPooledOut {
		o.b, o.charged, o.acks, o.sent = o.b[:0], 0, 0, [2]int{}
		p.pool.Put(o)
	}
}

// output returns the buffer to append to. mu is held.
func (c *conn) output() *outBuffer {
	if c.out == nil {
		c.out = c.srv.outBuffers.get()
	}
	return c.out
}

// pending returns the number of bytes that wait to be written or are being written. mu is held.
func (c *conn) pending() int {
	if c.out == nil {
		return c.sending
	}
	return c.sending + len(c.out.b)
}

// reply appends to the output what encode does. The reader calls it and flushes at the end of its burst.
func (c *conn) reply(encode func([]byte) []byte) {
	c.mu.Lock()
	if !c.dead {
		o := c.output()
		o.b = encode(o.b)
	}
	c.mu.Unlock()
}

// outputRoom waits until the client has taken enough of what it is sent: replies must not pile up.
func (c *conn) outputRoom() error {
	c.mu.Lock()
	ok := c.pending() <= maxPendingReplies+c.srv.cfg.MaxOutboundBytes
	c.mu.Unlock()
	if ok {
		return nil
	}
	return c.wait(0, func() bool { return c.pending() <= (maxPendingReplies+c.srv.cfg.MaxOutboundBytes)/2 })
}

// fewAckers is the number of connections with something to acknowledge up to which the goroutine that commits writes
// the acknowledgements itself. That saves them the way over another goroutine (15 us where measured), and costs the
// commits one write each. For more connections the next commit had better begin.
const fewAckers = 2

// Committed implements Waiter.
func (c *conn) Committed() {
	if c.srv.ackers.Load() <= fewAckers {
		c.flushSafely()
		return
	}
	c.srv.workers.enqueue(c)
}

// flushSafely is flush for goroutines that serve many connections: a panic costs this one.
func (c *conn) flushSafely() {
	defer func() {
		if p := recover(); p != nil {
			c.broke("output", p)
		}
	}()
	c.flush()
}

// flush acknowledges what has become durable and writes what waits to be written. It does not wait for the client.
func (c *conn) flush() {
	for {
		o := c.claim()
		if o == nil {
			return
		}
		n := 0
		if c.raw != nil {
			var err error
			if n, err = c.raw.write(o.b); err != nil || n == len(o.b) {
				c.wrote(o, err)
				continue
			}
		}
		c.srv.writers.Go(func() { c.writeAll(o, n) })
		return
	}
}

// claim acknowledges what has become durable. If there is output and nobody who writes, it makes the caller the writer
// and hands it over.
func (c *conn) claim() *outBuffer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acknowledge()
	if c.writing || c.out == nil || c.dead {
		return nil
	}
	o := c.out
	c.out = nil
	c.writing = true
	c.sending = len(o.b)
	return o
}

// wrote ends a stretch of writing.
func (c *conn) wrote(o *outBuffer, err error) {
	m := c.srv.metrics
	if o.acks > 0 {
		m.Acknowledged.Add(float64(o.acks))
	}
	for qos, n := range o.sent {
		if n > 0 {
			m.sent[qos].Add(float64(n))
		}
	}
	m.SentBytes.Add(float64(len(o.b)))
	c.srv.outBuffers.put(o)
	if err != nil {
		c.abort(fmt.Errorf("mqtt: writing: %w", err))
	}
	c.mu.Lock()
	c.writing = false
	c.sending = 0
	if err != nil {
		c.dead = true
	}
	c.signal()
	c.mu.Unlock()
	if err == nil && c.ses != nil {
		c.ses.roomAgain()
	}
}

// writeAll writes o from n on, and what comes up meanwhile.
func (c *conn) writeAll(o *outBuffer, n int) {
	defer func() {
		if p := recover(); p != nil {
			c.broke("output", p)
		}
	}()
	for o != nil {
		c.wrote(o, c.writeSlowly(o.b[n:]))
		o, n = c.claim(), 0
	}
}

// writeSlowly writes b as fast as the client takes it. A client that takes nothing at all for WriteTimeout is given up.
func (c *conn) writeSlowly(b []byte) error {
	for len(b) > 0 {
		if err := c.nc.SetWriteDeadline(time.Now().Add(c.srv.cfg.WriteTimeout)); err != nil {
			return err
		}
		n, err := c.nc.Write(b[:min(len(b), writeStep)])
		b = b[n:]
		c.mu.Lock()
		c.sending -= n
		c.mu.Unlock()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if n > 0 {
				continue
			}
			return errWriteTimeout
		}
		if err != nil {
			return err
		}
	}
	return c.nc.SetWriteDeadline(time.Time{})
}

// push hands the burst over to those who acknowledge, and renews the credit.
func (c *conn) push() {
	b := c.burst
	if b == nil {
		return
	}
	c.burst = nil
	var room [4]Commit
	notify := room[:0]
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		c.srv.ackQueues.put(b)
		return
	}
	for i := range b.runs {
		if commit := b.runs[i].commit; commit != c.notified {
			c.notified = commit
			notify = append(notify, commit)
		}
	}
	c.flight.messages += b.waiting()
	c.flight.bytes += b.bytes
	c.srv.inflight.force(b.bytes)
	if c.acks == nil {
		c.acks = b
		c.srv.ackers.Add(1)
	} else {
		c.acks.add(b)
		c.srv.ackQueues.put(b)
	}
	c.renew()
	c.mu.Unlock()
	for _, commit := range notify {
		commit.Notify(c)
	}
}

// renew sets the credit to what the limits leave. mu is held, the reader calls.
func (c *conn) renew() {
	cfg := &c.srv.cfg
	c.credit = credit{cfg.MaxInflight - c.flight.messages, cfg.MaxInflightBytes - c.flight.bytes}
	if c.srv.inflight.full() && c.acks != nil {
		c.credit = credit{}
	}
}

// window waits until a message of size bytes may be appended.
func (c *conn) window(size int) error {
	c.push()
	fits := func() bool {
		c.renew()
		return c.acks == nil || c.credit.messages > 0 && c.credit.bytes >= size
	}
	c.mu.Lock()
	ok := fits()
	c.mu.Unlock()
	if !ok {
		c.flush()
		c.srv.inflightWaiters.add(c)
		defer c.srv.inflightWaiters.remove(c)
		return c.wait(0, fits)
	}
	return nil
}

// acknowledge appends PUBACKs for messages whose commit has ended, in the order in which they were received
// [MQTT-4.6.0-2]. A commit that failed is never acknowledged: it ends the connection. mu is held.
func (c *conn) acknowledge() {
	for c.acks != nil && !c.dead && c.pending() <= maxPendingAcks+c.srv.cfg.MaxOutboundBytes {
		ids, bytes, ok, err := c.acks.pop()
		if err != nil {
			c.fail(fmt.Errorf("%w: %w", errCommitFailed, err))
			return
		}
		if !ok {
			return
		}
		if len(ids) > 0 {
			o := c.output()
			for _, id := range ids {
				o.b = appendAck(o.b, typePuback, id)
			}
			o.acks += len(ids)
		}
		c.flight.messages -= len(ids)
		c.flight.bytes -= bytes
		c.srv.releaseInflight(bytes)
		if c.acks.empty() {
			c.dropAcks()
		}
		c.signal()
	}
}

// dropAcks gives the queue back. mu is held.
func (c *conn) dropAcks() {
	c.srv.ackQueues.put(c.acks)
	c.srv.ackers.Add(-1)
	c.acks, c.notified = nil, nil
}

// fail is abort for somebody who holds mu: from now on nothing is acknowledged.
func (c *conn) fail(err error) {
	c.dead = true
	if c.reason == nil {
		c.reason = err
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
	c.signal()
}

// broke ends the connection after a panic outside of the reader.
func (c *conn) broke(where string, p any) {
	c.srv.caught(where, p, debug.Stack())
	c.mu.Lock()
	c.fail(errPanic)
	c.mu.Unlock()
}

// settle waits, for a connection that ends, until everything received was acknowledged and everything to be sent was
// written, or until it cannot be any more or timeout has passed.
func (c *conn) settle(timeout time.Duration) {
	c.flush()
	t := time.NewTimer(timeout)
	defer t.Stop()
	for {
		c.mu.Lock()
		if c.dead || c.acks == nil && c.out == nil && !c.writing {
			c.mu.Unlock()
			return
		}
		if c.wake == nil {
			c.wake = make(chan struct{}, 1)
		}
		c.waiting = true
		c.mu.Unlock()
		select {
		case <-c.wake:
		case <-t.C:
			return
		case <-c.srv.ctx.Done():
			return
		}
	}
}
