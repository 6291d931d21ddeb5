package mqttc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// PublisherOptions say how a Publisher behaves.
type PublisherOptions struct {
	Conn     Options
	Window   int           // messages in flight, 1 to MaxPacketID, default 100
	RetryFor time.Duration // how long the broker may be away before the publisher gives up; 0: as long as its context lives
}

// ErrClosed is returned by a publisher that was closed.
var ErrClosed = errors.New("publisher closed")

// Publisher publishes at QoS 1 over one connection and keeps what is in flight until it is acknowledged. When the
// connection breaks it connects again, with backoff and jitter, and sends everything unacknowledged again in its old order
// under its old packet ids with DUP set, as a device does that must not lose a reading: at least once.
//
// Publish, Flush and Drain belong to one goroutine; Offline, Online, Counts and Close may be called from any. The publisher
// runs one goroutine of its own, ended by Close or by the context.
type Publisher struct {
	addr   string
	opts   PublisherOptions
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended
	space  chan struct{} // capacity 1: acknowledgements came in

	writing sync.Mutex // held over taking the output and writing it, so that packets keep their order; before mu
	spare   []byte     // guarded by writing

	mu      sync.Mutex
	conn    *Conn // nil while there is none
	err     error // why it ended
	held    chan struct{}
	ring    []slot // message n lies in ring[n % len]
	head    int64  // the oldest message that is not acknowledged
	next    int64  // the message to come
	written int64  // messages below were given to a connection
	out     []byte // packets from written to next, encoded

	acked, resent, reconnects atomic.Int64
}

type slot struct {
	packet []byte
	acked  bool
}

// Counts of a publisher so far.
type Counts struct {
	Published  int64 // messages handed in
	Acked      int64 // messages acknowledged
	Resent     int64 // messages sent again with DUP
	Reconnects int64
}

// NewPublisher connects. An error here is that of the first attempt: a wrong address shows at once.
func NewPublisher(ctx context.Context, addr string, o PublisherOptions) (*Publisher, error) {
	if o.Window == 0 {
		o.Window = 100
	}
	if o.Window < 1 || o.Window > MaxPacketID {
		return nil, fmt.Errorf("a window of %d messages: 1 to %d are possible", o.Window, MaxPacketID)
	}
	if o.Conn.ReadBuffer == 0 {
		o.Conn.ReadBuffer = 512
	}
	conn, err := Dial(ctx, addr, o.Conn)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &Publisher{addr: addr, opts: o, cancel: cancel, conn: conn, ring: make([]slot, o.Window),
		done: make(chan struct{}), space: make(chan struct{}, 1)}
	go p.run(ctx, conn)
	return p, nil
}

// Publish takes one message, waiting while the window is full. It is sent with the next Flush, which Publish does itself
// when half a window or a full window has gathered.
func (p *Publisher) Publish(ctx context.Context, topic, payload []byte) error {
	if len(topic) == 0 || len(topic) > MaxString || len(payload) > MaxRemainingLength-MaxString-4 {
		return fmt.Errorf("%w: topic of %d bytes, payload of %d bytes", ErrTooLarge, len(topic), len(payload))
	}
	for {
		p.mu.Lock()
		if p.err != nil {
			defer p.mu.Unlock()
			return p.err
		}
		if p.next-p.head < int64(len(p.ring)) {
			s := &p.ring[p.next%int64(len(p.ring))]
			s.acked = false
			s.packet = AppendPublish(s.packet[:0], topic, payload, 1, packetID(p.next))
			if p.conn != nil {
				p.out = append(p.out, s.packet...)
			}
			p.next++
			gathered := p.next - p.written
			p.mu.Unlock()
			if 2*gathered >= int64(len(p.ring)) {
				p.Flush()
			}
			return nil
		}
		p.mu.Unlock()
		p.Flush()
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// Flush sends what has gathered. An error shows as a reconnect, or in the next Publish.
func (p *Publisher) Flush() {
	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.Lock()
	conn, out := p.conn, p.out
	if conn == nil || len(out) == 0 {
		p.mu.Unlock()
		return
	}
	p.out, p.written = p.spare[:0], p.next
	p.mu.Unlock()
	if _, err := conn.Write(out); err != nil {
		conn.Close() // the reading goroutine notices and connects again
	}
	p.spare = out[:0]
}

// Drain sends what has gathered and waits until everything is acknowledged.
func (p *Publisher) Drain(ctx context.Context) error {
	for {
		p.Flush()
		p.mu.Lock()
		empty, err := p.head == p.next, p.err
		p.mu.Unlock()
		if empty {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// wait returns when acknowledgements came in, or the publisher ended.
func (p *Publisher) wait(ctx context.Context) error {
	select {
	case <-p.space:
		return nil
	case <-p.done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Offline cuts the connection as a device does that loses its network: nothing is said to the broker. Messages gather, as
// far as the window reaches, until Online.
func (p *Publisher) Offline() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = make(chan struct{})
	}
	if p.conn != nil {
		p.conn.Close()
	}
}

// Online lets the publisher connect again.
func (p *Publisher) Online() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// Counts returns what happened so far.
func (p *Publisher) Counts() Counts {
	p.mu.Lock()
	published := p.next
	p.mu.Unlock()
	return Counts{Published: published, Acked: p.acked.Load(), Resent: p.resent.Load(), Reconnects: p.reconnects.Load()}
}

// Close says goodbye to the broker and ends. What is not acknowledged is given up: Drain comes first.
func (p *Publisher) Close() {
	p.mu.Lock()
	conn := p.conn
	if p.err == nil {
		p.err = ErrClosed
	}
	p.mu.Unlock()
	if conn != nil {
		_ = conn.Disconnect()
	}
	p.cancel()
	<-p.done
}

// run reads acknowledgements, and connects again when that fails.
func (p *Publisher) run(ctx context.Context, conn *Conn) {
	defer close(p.done)
	defer p.cancel()
	for {
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		err := p.read(conn)
		stop()
		conn.Close()
		p.mu.Lock()
		p.conn, p.out = nil, p.out[:0]
		closed := p.err != nil
		p.mu.Unlock()
		if closed {
			return
		}
		if ctx.Err() == nil {
			conn, err = p.reconnect(ctx, err)
		}
		if ctx.Err() != nil || err != nil {
			p.mu.Lock()
			if p.err == nil {
				p.err = errors.Join(ctx.Err(), err)
			}
			p.mu.Unlock()
			return
		}
		p.resume(conn)
	}
}

// read takes acknowledgements until the connection fails, and pings when nothing was heard for half the keepalive.
func (p *Publisher) read(conn *Conn) error {
	quiet, pinged := p.opts.Conn.KeepAlive/2, false
	for {
		if quiet > 0 {
			if err := conn.SetReadDeadline(time.Now().Add(quiet)); err != nil {
				return err
			}
		}
		pkt, err := conn.ReadPacket()
		if timeout := interface{ Timeout() bool }(nil); errors.As(err, &timeout) && timeout.Timeout() && !pinged {
			pinged = true
			if err := p.ping(conn); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		pinged = false
		if pkt.Type == TypePuback && len(pkt.Body) == 2 {
			p.ack(binary.BigEndian.Uint16(pkt.Body))
		}
	}
}

func (p *Publisher) ping(conn *Conn) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	_, err := conn.Write(AppendEmpty(nil, TypePingreq))
	return err
}

// ack notes one acknowledgement. A broker acknowledges in the order of sending (section 4.6), but nothing here breaks when
// one does not. An id that is not in flight is ignored.
func (p *Publisher) ack(id uint16) {
	p.mu.Lock()
	n := p.head + (int64(id)-int64(packetID(p.head))+MaxPacketID)%MaxPacketID
	if n >= p.next || p.ring[n%int64(len(p.ring))].acked {
		p.mu.Unlock()
		return
	}
	p.ring[n%int64(len(p.ring))].acked = true
	for p.head < p.next && p.ring[p.head%int64(len(p.ring))].acked {
		p.head++
	}
	p.mu.Unlock()
	p.acked.Add(1)
	select {
	case p.space <- struct{}{}:
	default:
	}
}

// reconnect dials until it works, backing off from 50 ms to 5 s with jitter.
func (p *Publisher) reconnect(ctx context.Context, cause error) (*Conn, error) {
	since, pause := time.Now(), 50*time.Millisecond
	for {
		p.mu.Lock()
		held := p.held
		p.mu.Unlock()
		if held != nil {
			select {
			case <-held:
				since = time.Now()
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		conn, err := Dial(ctx, p.addr, p.opts.Conn)
		if err == nil {
			p.reconnects.Add(1)
			return conn, nil
		}
		if p.opts.RetryFor > 0 && time.Since(since) > p.opts.RetryFor {
			return nil, fmt.Errorf("the broker is away for %s (%w), first: %w", p.opts.RetryFor, err, cause)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// resume makes conn the connection and sends everything again that is not acknowledged.
func (p *Publisher) resume(conn *Conn) {
	p.mu.Lock()
	p.conn, p.out = conn, p.out[:0]
	if p.held != nil {
		conn.Close() // went offline while dialling
	}
	for n := p.head; n < p.next; n++ {
		s := &p.ring[n%int64(len(p.ring))]
		if s.acked {
			continue
		}
		if n < p.written {
			SetDup(s.packet)
			p.resent.Add(1)
		}
		p.out = append(p.out, s.packet...)
	}
	p.mu.Unlock()
	p.Flush()
}

// packetID is the id of message n: 1 to MaxPacketID, in turn.
func packetID(n int64) uint16 { return uint16(n%MaxPacketID) + 1 }
