package mqtt

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a network connection of a client.
//
// One goroutine, the reader, runs run. It alone touches the fields of the first group, and it alone closes the network
// connection; whoever else wants the end of the connection calls abort. Output and acknowledgements are guarded by mu and
// leave in write.go. A session's lock is taken before mu, never after it.
type conn struct {
	srv *Server
	nc  net.Conn
	raw *rawConn // nil where there is no file descriptor to read from without waiting (net.Pipe)

	// Of the reader.
	buf     *buffer   // nil while nothing is unread
	r, w    int       // unread is buf.b[r:w]
	class   int       // size of buffer that the next read asks for
	burst   *ackQueue // messages appended since the last push
	burstAt int64     // time of the burst in ms, 0 before it was asked for
	credit  credit
	targets targets
	will    *will
	ses     *session // nil before CONNECT. Set once, before others know the connection
	count   burstCounts
	deep    bool // the goroutine's stack may have grown
	rests   bool // before this burst there was nothing for a while

	keep    alarm        // keepalive and CONNECT timeout
	active  atomic.Int64 // tick of the last packet
	stalled atomic.Bool  // packets are being served: no keepalive
	queued  atomic.Bool  // waits for a worker

	mu       sync.Mutex
	acks     *ackQueue     // nil while nothing waits for a commit
	notified Commit        // of the commits in acks, the last that was asked to call Committed
	flight   flight        // what is in acks
	out      *outBuffer    // to be written, nil while empty
	sending  int           // bytes that are being written
	writing  bool          // somebody writes; he looks at out again before he ends
	dead     bool          // nothing is acknowledged or written any more
	reason   error         // why the connection ends; nil while it goes on
	wake     chan struct{} // made for the reader's first wait; gets a token when anything changed
	waiting  bool          // the reader waits for wake
}

// flight is what a client has sent and was not acknowledged.
type flight struct {
	messages, bytes int
}

// credit is what the reader may still append before it must look at the flight again.
type credit struct {
	messages, bytes int
}

// burstCounts gathers what goes into the metrics at the end of a burst.
type burstCounts struct {
	received [2]int
	bytes    int
}

// run reads and serves packets until the connection ends. It returns true if it wants to be called again from a fresh
// goroutine: serving packets needs a deeper stack than waiting for them, and stacks of that size do not shrink. So a
// connection that will probably be idle goes on in a new goroutine, with a stack of 2 KiB.
func (c *conn) run() (again bool) {
	err := c.serve()
	if errors.Is(err, errHandover) {
		return true
	}
	c.finish(err)
	return false
}

var errHandover = errors.New("mqtt: go on in another goroutine")

// serve is run without the end.
func (c *conn) serve() (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.srv.caught("connection", p, debug.Stack())
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	if c.w > c.r { // what is left from the previous goroutine
		if err := c.consume(); err != nil {
			return err
		}
	}
	for {
		if err := c.fill(); err != nil {
			return c.readError(err)
		}
		first := c.ses == nil
		if err := c.consume(); err != nil {
			return err
		}
		if c.deep && c.rests || first && c.ses != nil {
			c.deep = false
			return errHandover
		}
	}
}

// restTicks is the silence after which a connection is taken for one that is mostly idle.
const restTicks = 4

// readError translates an error of fill.
func (c *conn) readError(err error) error {
	if reason := c.aborted(); reason != nil {
		return reason
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return errUnexpectedClose
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errUnexpectedClose
	}
	return fmt.Errorf("mqtt: reading: %w", err)
}

// fill waits until there is something to read and reads it. While it waits, the connection has a buffer only if part of
// a packet is in it, and only if it can wait without one.
func (c *conn) fill() error {
	if c.raw != nil {
		return c.raw.read()
	}
	b := c.space()
	n, err := c.nc.Read(b)
	if n > 0 {
		c.took(n)
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// space returns where to read to; there is a buffer from now on.
func (c *conn) space() []byte {
	if c.buf == nil {
		c.buf, c.r, c.w = c.srv.buffers.get(c.class), 0, 0
	} else if c.r == c.w {
		c.r, c.w = 0, 0
	}
	return c.buf.b[c.w:]
}

// took accounts for n bytes read, and learns from them what size of buffer to use.
func (c *conn) took(n int) {
	room := len(c.buf.b) - c.w
	c.w += n
	c.count.bytes += n
	switch {
	case n == room && c.class < largestBuffer:
		c.class++
	case n < bufferSizes[c.class]/8 && c.class > 0:
		c.class--
	}
}

// idle is called before waiting: an empty buffer is given back, the beginning of a packet moved to a smaller one.
func (c *conn) idle() {
	if c.buf == nil {
		return
	}
	if c.r == c.w {
		c.srv.buffers.put(c.buf)
		c.buf, c.r, c.w = nil, 0, 0
		return
	}
	if b := c.srv.buffers.shrink(c.buf, c.buf.b[c.r:c.w]); b != c.buf {
		c.srv.buffers.put(c.buf)
		c.buf, c.r, c.w = b, 0, c.w-c.r
	}
}

// makeRoom sees to it that more of a packet can be read; size is the packet's, as far as it is known.
func (c *conn) makeRoom(size int) error {
	unread := c.buf.b[c.r:c.w]
	if c.w < len(c.buf.b) && size <= len(c.buf.b)-c.r {
		return nil
	}
	if c.r > 0 {
		c.w = copy(c.buf.b, unread)
		c.r = 0
	}
	if c.w < len(c.buf.b) {
		return nil
	}
	b := c.srv.buffers.grow(c.buf, size)
	if b == nil {
		return errNoBuffer
	}
	c.srv.buffers.put(c.buf)
	c.buf = b
	return nil
}

// consume serves all packets that are complete. It may take long: the log may be slow or full, the client may not take
// its answers. Meanwhile the client's silence is of the server's making and does not count.
func (c *conn) consume() error {
	c.burstAt = 0
	c.stalled.Store(true)
	defer c.stalled.Store(false)
	seen, err := c.packets()
	c.push()
	c.flush()
	c.countBurst()
	if err == nil {
		err = c.outputRoom()
	}
	if seen {
		now := c.srv.wheel.now()
		c.rests = now-c.active.Swap(now) >= restTicks
	}
	return err
}

// packets is the loop of consume. seen tells whether there was a whole packet.
func (c *conn) packets() (seen bool, err error) {
	for {
		b := c.buf.b[c.r:c.w]
		h, ok, err := parseHeader(b)
		if err != nil {
			return seen, err
		}
		size := maxFixedHeader
		if ok {
			size = h.size()
			if err := c.admit(h); err != nil {
				return seen, err
			}
		}
		if !ok || len(b) < size {
			if len(b) == 0 {
				return seen, nil
			}
			return seen, c.makeRoom(size)
		}
		seen = true
		c.r += size
		if h.kind == typePublish {
			err = c.publish(h, b[h.head:size])
		} else {
			err = c.control(h, b[h.head:size])
		}
		if err != nil {
			return seen, err
		}
	}
}

// admit refuses a packet by its fixed header, before its body is waited for.
func (c *conn) admit(h fixedHeader) error {
	if c.ses == nil {
		if h.kind != typeConnect {
			return violation(h.kind, "MQTT-3.1.0-1", "the first packet is not CONNECT")
		}
		if h.size() > maxConnectPacketSize {
			return errPacketTooLarge
		}
	}
	if h.size() > c.srv.cfg.MaxPacketBytes {
		return errPacketTooLarge
	}
	return h.checkFlags()
}

// control serves every packet but PUBLISH.
func (c *conn) control(h fixedHeader, body []byte) error {
	switch h.kind {
	case typeConnect:
		if c.ses != nil {
			return violation(typeConnect, "MQTT-3.1.0-2", "a second CONNECT")
		}
		return c.connect(body)
	case typePuback:
		id, err := parseAck(h.kind, body)
		if err == nil {
			c.ses.acknowledged(id)
		}
		return err
	case typeSubscribe:
		return c.subscribe(body)
	case typeUnsubscribe:
		return c.unsubscribe(body)
	case typePingreq:
		if err := checkEmpty(h.kind, body); err != nil {
			return err
		}
		c.reply(appendPingresp)
		return nil
	case typeDisconnect:
		if err := checkEmpty(h.kind, body); err != nil {
			return err
		}
		c.dropWill()
		return errDisconnected
	case typePubrec, typePubrel, typePubcomp:
		if _, err := parseAck(h.kind, body); err != nil {
			return err
		}
		return violation(h.kind, "MQTT-4.8.0-1", "nothing with QoS 2 is under way")
	}
	return violation(h.kind, "MQTT-4.8.0-1", "no packet that a client may send") // admit has refused it
}

// countBurst adds what the burst was to the metrics.
func (c *conn) countBurst() {
	m := c.srv.metrics
	for qos, n := range c.count.received {
		if n > 0 {
			m.received[qos].Add(float64(n))
		}
	}
	if c.count.bytes > 0 {
		m.ReceivedBytes.Add(float64(c.count.bytes))
	}
	c.count = burstCounts{}
}

// abort ends the connection for a reason; the first one counts. It may be called from any goroutine and does not wait.
func (c *conn) abort(reason error) {
	c.mu.Lock()
	first := c.reason == nil
	if first {
		c.reason = reason
	}
	c.signal()
	c.mu.Unlock()
	if first {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	}
}

// aborted returns why the connection is to end, or nil.
func (c *conn) aborted() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// signal wakes the reader if it waits. mu is held.
func (c *conn) signal() {
	if c.waiting {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// wait waits until ready returns true or the connection is to end; ready is called with mu held. timeout, unless 0, bounds
// the wait; running out of it is no error.
func (c *conn) wait(timeout time.Duration, ready func() bool) error {
	var expired <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	for {
		c.mu.Lock()
		if c.reason != nil || ready() {
			err := c.reason
			c.waiting = false
			c.mu.Unlock()
			return err
		}
		if c.wake == nil {
			c.wake = make(chan struct{}, 1)
		}
		c.waiting = true
		c.mu.Unlock()
		select {
		case <-c.wake:
		case <-expired:
			return c.aborted()
		}
	}
}
