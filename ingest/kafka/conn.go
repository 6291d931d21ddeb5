package kafka

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	readBuffer = 4 << 10
	// pipeline is how many answers may be outstanding on a connection before no more of its requests are read.
	pipeline = 32
	// pipelinedFetches is how many requests to Fetch may be outstanding on a connection.
	pipelinedFetches = 4
	// quickFrame is the largest frame that is read while a Fetch is outstanding. What is larger waits: a Fetch may take
	// minutes, and the memory of what comes behind it would be missing elsewhere.
	quickFrame = 2 << 10
	// largeFrame is the largest frame of an API that carries no records.
	largeFrame = 2 << 20
)

// conn is one connection of a client. The goroutine of read owns the reading side, that of a writer the writing side; they
// share the channel of answers, whose end read closes.
type conn struct {
	srv *Server
	nc  net.Conn
	log *slog.Logger

	ctx    context.Context // ends when the connection is given up
	abort  context.CancelFunc
	poll   context.Context // of ctx; ends also when nothing more is to be waited for: the client went away, or a shutdown
	unpoll context.CancelFunc

	answers     chan queued
	fetches     *semaphore.Weighted // how many more requests to Fetch may be outstanding
	outstanding atomic.Int32
	draining    atomic.Bool
}

type queued struct {
	call   *call
	answer answer
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		srv: s, nc: nc, log: s.log.With("remote", nc.RemoteAddr().String()),
		answers: make(chan queued, pipeline), fetches: semaphore.NewWeighted(pipelinedFetches),
	}
	c.ctx, c.abort = context.WithCancel(s.ctx)
	c.poll, c.unpoll = context.WithCancel(c.ctx)
	return c
}

// serve runs the connection until both its goroutines are done.
func (c *conn) serve() {
	written := make(chan struct{})
	go func() {
		defer close(written)
		newWriter(c).run()
	}()
	err := c.read()
	c.unpoll()
	close(c.answers)
	<-written
	c.abort()
	_ = c.nc.Close()
	c.report(err)
}

// drain makes the connection read nothing more, answer what is outstanding, and end.
func (c *conn) drain() {
	c.draining.Store(true)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	c.unpoll()
}

// kill ends the connection at once.
func (c *conn) kill() {
	c.abort()
	_ = c.nc.Close()
}

func (c *conn) report(err error) {
	var bad *frameError
	switch {
	case errors.As(err, &bad):
		c.srv.metrics.badFrames.WithLabelValues(bad.reason).Inc()
		c.log.Log(c.ctx, c.srv.noise.level(time.Now()), "native connection closed: bad request", "reason", bad.reason, "error", err)
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		c.log.Debug("native connection closed")
	default:
		c.log.Debug("native connection closed", "error", err)
	}
}

var (
	errDraining = errors.New("kafka: shutting down")
	errIdle     = errors.New("kafka: connection was idle")
	errStalled  = errors.New("kafka: the rest of a request did not arrive")
	errPanic    = errors.New("kafka: request ended in a panic")
)

// read takes requests until the connection ends, and queues their answers.
func (c *conn) read() error {
	br := bufio.NewReaderSize(c.nc, readBuffer)
	for {
		size, a, err := c.next(br)
		if err != nil {
			return err
		}
		slot := c.pass(a, size)
		q, ans, err := c.request(br, a, size)
		if q == nil { // nobody is waited for any more, so that the place is not missed
			return err
		}
		q.slot = slot
		c.outstanding.Add(1)
		c.answers <- queued{q, ans} // the writer reads until the end of the channel, whatever happens to the connection
		if err != nil {
			return err
		}
	}
}

// pass waits until the frame may be read behind the requests to Fetch that are outstanding, and tells whether it holds one
// of their places. Nobody waits any more once the client went away: they are all answered then.
func (c *conn) pass(a *api, size int64) bool {
	if size > quickFrame && c.fetches.Acquire(c.poll, pipelinedFetches) == nil {
		c.fetches.Release(pipelinedFetches)
	}
	return a.waits && c.fetches.Acquire(c.poll, 1) == nil
}

// next waits for the beginning of a frame and returns its size and which API it is for. The frame's beginning stays in br,
// only its length is consumed.
func (c *conn) next(br *bufio.Reader) (size int64, a *api, err error) {
	var head []byte
	for {
		if err := c.deadline(c.srv.cfg.IdleTimeout); err != nil {
			return 0, nil, err
		}
		if head, err = br.Peek(4); err == nil {
			break
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, nil, err
		}
		if c.draining.Load() {
			return 0, nil, errDraining
		}
		if c.outstanding.Load() == 0 || br.Buffered() > 0 {
			return 0, nil, errIdle
		}
	}
	if err := c.deadline(stall); err != nil {
		return 0, nil, err
	}
	size = int64(int32(binary.BigEndian.Uint32(head)))
	if size < fixedHeader || size > int64(c.srv.cfg.MaxRequestBytes) {
		return 0, nil, &frameError{"size", fmt.Errorf("kafka: frame of %d bytes, allowed are %d to %d", size, fixedHeader, c.srv.cfg.MaxRequestBytes)}
	}
	if head, err = br.Peek(4 + fixedHeader); err != nil {
		return 0, nil, err
	}
	head = head[4:]
	a = c.srv.lookup(requestKey(head))
	switch {
	case a == nil:
		return 0, nil, &frameError{"key", fmt.Errorf("kafka: key %d is not served", requestKey(head))}
	case !a.serves(requestVersion(head)) && a.key != keyApiVersions:
		return 0, nil, &frameError{"version", fmt.Errorf("kafka: %s version %d is not served, %d to %d are", a.name(), requestVersion(head), a.min, a.max)}
	case size > largeFrame && !a.records:
		return 0, nil, &frameError{"size", fmt.Errorf("kafka: %s request of %d bytes, allowed are %d", a.name(), size, largeFrame)}
	}
	_, err = br.Discard(4)
	return size, a, err
}

// deadline sets when reading ends; in a shutdown it already has.
func (c *conn) deadline(d time.Duration) error {
	if err := c.nc.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	if c.draining.Load() {
		return errDraining
	}
	return nil
}

// request reads one frame and runs its handler. The call is nil when there is nothing to answer: the connection ends then,
// but what came before is still answered.
func (c *conn) request(br *bufio.Reader, a *api, size int64) (q *call, ans answer, err error) {
	f := &frameReader{c: c, br: br, left: size}
	q = &call{conn: c, api: a, frame: f}
	q.header(f)
	if f.err == nil && !a.records {
		n := f.left
		if q.body, f.err = c.fill(br, n); f.err == nil {
			q.size, f.left = n, 0
		}
	}
	q.arrived = time.Now()
	if err = f.err; err == nil {
		ans, err = c.run(q)
	}
	if err == nil && f.left > 0 {
		f.skip(f.left)
		err = f.err
	}
	c.srv.metrics.bytesIn.Add(float64(size + 4 - f.left))
	if ans == nil && err != nil {
		c.srv.budget.give(q.size)
		return nil, nil, err
	}
	return q, ans, err
}

// run calls the handler. A panic is a bug of ours; it costs this connection and no other.
func (c *conn) run(q *call) (a answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			a, err = nil, c.panicked(q, p)
		}
	}()
	return q.api.handle(c.srv, c.ctx, q)
}

func (c *conn) panicked(q *call, p any) error {
	c.srv.metrics.panics.Inc()
	c.log.Error("panic in a native request", "api", q.api.name(), "version", q.version, "panic", p, "stack", string(debug.Stack()))
	return errPanic
}

// noise keeps what strangers can cause from filling the node's log: once a second it is worth telling, else it is for
// debugging. All of it is counted.
type noise struct{ last atomic.Int64 }

func (n *noise) level(now time.Time) slog.Level {
	second, last := now.Unix(), n.last.Load()
	if second != last && n.last.CompareAndSwap(last, second) {
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
