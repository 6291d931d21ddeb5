package rig

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrPuback means that a broker acknowledged what it should not have, or not in order.
var ErrPuback = errors.New("wrong PUBACK")

// A Device publishes numbered messages at QoS 1 with a window of unacknowledged ones. When its connection
// breaks it connects again and begins with the first message that is not acknowledged, so that the log may
// have a message twice but none too few.
type Device struct {
	Name   string
	Topic  string
	Window int64   // messages in flight at most, below 65,535
	Rate   float64 // messages per second, 0 for as many as go
	Limit  int64   // messages in all, 0 for no end
	// Payload appends message seq of the conn-th connection (from 1) to dst.
	Payload func(dst []byte, conn, seq int64) []byte

	acked atomic.Int64
	sent  atomic.Int64
	mu    sync.Mutex
	first []int64 // first[i] is the sequence with which connection i+1 began; guarded by mu
}

// Acked returns how many messages were acknowledged: every one with a lower sequence.
func (d *Device) Acked() int64 { return d.acked.Load() }

// Sent returns one past the highest sequence that was ever written to a connection.
func (d *Device) Sent() int64 { return d.sent.Load() }

// First returns the sequence with which the conn-th connection began.
func (d *Device) First(conn int64) (int64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if conn < 1 || conn > int64(len(d.first)) {
		return 0, false
	}
	return d.first[conn-1], true
}

// Connections returns how many connections there were.
func (d *Device) Connections() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.first)
}

// Run publishes to the broker at addr until ctx is done or Limit is acknowledged, across any number of
// connections. Once stop is closed nothing new is sent and Run returns when all that was sent is
// acknowledged. Errors: ErrPuback, the context's.
func (d *Device) Run(ctx context.Context, addr string, stop <-chan struct{}) error {
	for ctx.Err() == nil {
		done, err := d.connection(ctx, addr, stop)
		if done || errors.Is(err, ErrPuback) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(3 * time.Millisecond):
		}
	}
	return ctx.Err()
}

// connection publishes over one connection; done tells that there is nothing left to do.
func (d *Device) connection(ctx context.Context, addr string, stop <-chan struct{}) (done bool, err error) {
	c, err := dialMQTT(ctx, addr, d.Name)
	if err != nil {
		return false, err
	}
	ctx, broken := context.WithCancel(ctx)
	defer broken()
	context.AfterFunc(ctx, func() { c.Close() })

	from := d.acked.Load()
	d.mu.Lock()
	d.first = append(d.first, from)
	conn := int64(len(d.first))
	d.mu.Unlock()

	written := make(chan error, 1)
	var last atomic.Int64 // one past the last message of this connection, once it is known; else 0
	go func() {
		n, err := d.write(ctx, c, conn, from, stop)
		last.Store(n)
		if err != nil || d.acked.Load() >= n {
			broken() // the reader waits for nothing more
		}
		written <- err
	}()
	readErr := d.readAcks(c, &last)
	if readErr != nil {
		broken()
	}
	writeErr := <-written
	if n := last.Load(); writeErr == nil && d.acked.Load() >= n && n >= d.sent.Load() {
		return true, nil
	}
	return false, errors.Join(readErr, writeErr)
}

// readAcks reads acknowledgements until the last message's, or until the connection ends.
func (d *Device) readAcks(c *mqttConn, last *atomic.Int64) error {
	for {
		id, err := c.readAck()
		if err != nil {
			return err
		}
		seq := d.acked.Load()
		if id != packetID(seq) {
			return fmt.Errorf("%w: %s: packet id %d, message %d with id %d is the oldest in flight", ErrPuback, d.Name, id, seq, packetID(seq))
		}
		if seq >= d.sent.Load() {
			return fmt.Errorf("%w: %s: message %d was never sent", ErrPuback, d.Name, seq)
		}
		d.acked.Store(seq + 1)
		if n := last.Load(); n > 0 && seq+1 >= n {
			return nil
		}
	}
}

// write sends messages from the given one on, at most Window ahead of what is acknowledged and no faster
// than Rate, and returns one past the last.
func (d *Device) write(ctx context.Context, c *mqttConn, conn, from int64, stop <-chan struct{}) (int64, error) {
	topic, payload := appendString(nil, d.Topic), []byte(nil)
	begin := time.Now()
	seq := from
	for {
		limit := d.acked.Load() + d.Window
		if d.Rate > 0 {
			limit = min(limit, from+int64(d.Rate*time.Since(begin).Seconds())+1)
		}
		select {
		case <-stop:
			limit = min(limit, d.sent.Load())
			if seq >= d.sent.Load() {
				return seq, c.w.Flush()
			}
		default:
		}
		if d.Limit > 0 {
			if limit = min(limit, d.Limit); seq >= d.Limit {
				return seq, c.w.Flush()
			}
		}
		if seq >= limit {
			if err := c.w.Flush(); err != nil {
				return seq, err
			}
			if err := ctx.Err(); err != nil {
				return seq, err
			}
			time.Sleep(time.Millisecond)
			continue
		}
		for ; seq < limit; seq++ {
			payload = d.Payload(payload[:0], conn, seq)
			d.sent.Store(max(d.sent.Load(), seq+1))
			if err := c.publish(topic, packetID(seq), payload); err != nil {
				return seq, err
			}
		}
	}
}

// packetID is the packet identifier of a message; 0 is none.
func packetID(seq int64) uint16 { return uint16(seq%65535) + 1 }
