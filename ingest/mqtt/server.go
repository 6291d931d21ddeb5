package mqtt

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-mq/culvert/ingest/route"
)

// Server is an MQTT server. It is made by NewServer, serves the listeners that are given to Serve, and must be ended by
// Shutdown. All methods may be called from any goroutine.
type Server struct {
	cfg     Config
	log     Log
	logger  *slog.Logger
	metrics *Metrics
	limited logLimit // lines about single clients
	trouble logLimit // lines about what the log did to them
	routes  atomic.Pointer[route.Table]

	ctx    context.Context // done when waiting is over: Shutdown ran out of time, or is at its end
	cancel context.CancelFunc

	buffers    buffers
	outBuffers outBuffers
	ackQueues  ackQueues

	held            budget // bytes that idle connections make us keep
	inflight        budget // bytes of messages not acknowledged
	outbound        budget // bytes that wait to be written to subscribers
	inflightWaiters waiters
	targetCount     atomic.Int64 // in the caches of all connections
	ackers          atomic.Int32 // connections with something to acknowledge

	sessions sessions
	wheel    wheel
	workers  *workers
	hub      *hub
	catchUps catchUps
	retained *retainedIndex

	readers sync.WaitGroup // readers of connections
	writers sync.WaitGroup // writers of connections
	helpers sync.WaitGroup // the ticker and what it starts
	quit    chan struct{}  // ends the ticker
	open    atomic.Int64   // connections

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	conns     map[*conn]struct{}
}

// Stats are counts for a status page.
type Stats struct {
	Connections   int   `json:"connections"`
	Sessions      int   `json:"sessions"`
	Subscriptions int   `json:"subscriptions"`
	Retained      int   `json:"retained"`
	InflightBytes int64 `json:"inflight_bytes"` // of messages received and not acknowledged
}

// NewServer makes a server that appends to log by routes. It reads the retained messages in the background.
func NewServer(cfg Config, log Log, routes *route.Table, logger *slog.Logger, metrics *Metrics) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		log:      log,
		logger:   logger,
		metrics:  metrics,
		limited:  logLimit{perSecond: maxLinesPerSecond},
		trouble:  logLimit{perSecond: maxTroublePerSecond},
		held:     budget{limit: cfg.MaxHeldBytes},
		inflight: budget{limit: cfg.MaxTotalInflightBytes},
		outbound: budget{limit: cfg.MaxTotalOutboundBytes},
		sessions: sessions{byID: map[string]*session{}},
		catchUps: catchUps{most: max(2, runtime.GOMAXPROCS(0))},
		conns:    map[*conn]struct{}{},
		quit:     make(chan struct{}),
	}
	s.routes.Store(routes)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.buffers.held = &s.held
	s.outBuffers.spent = &s.outbound
	s.retained = &retainedIndex{srv: s}
	s.workers = newWorkers(min(runtime.GOMAXPROCS(0), 4))
	s.hub = newHub(s)
	s.helpers.Go(s.tick)
	return s, nil
}

// SetRoutes puts another table in force, for messages received from now on.
func (s *Server) SetRoutes(t *route.Table) {
	s.routes.Store(t)
	s.hub.poke()
}

// Addr returns the address of the first listener, or nil before Serve.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.listeners) == 0 {
		return nil
	}
	return s.listeners[0].Addr()
}

// Stats returns the present counts.
func (s *Server) Stats() Stats {
	return Stats{
		Connections:   int(s.open.Load()),
		Sessions:      s.sessions.count(),
		Subscriptions: int(s.hub.count.Load()),
		Retained:      int(s.retained.count.Load()),
		InflightBytes: s.inflight.used.Load(),
	}
}

// Bounds of the wait after an error of accept.
const (
	firstAcceptWait = 5 * time.Millisecond
	mostAcceptWait  = time.Second
)

// Serve accepts connections until Shutdown, after which it returns nil. It closes l. Errors of accept (out of file
// descriptors, above all) are waited out. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		l.Close()
		return errServerClosed
	}
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	wait := firstAcceptWait
	for {
		nc, err := l.Accept()
		if err == nil {
			wait = firstAcceptWait
			s.accept(nc)
			continue
		}
		if s.isClosed() {
			return nil
		}
		s.limited.warn(s.logger, "mqtt: accepting a connection", "error", err, "wait", wait)
		if errors.Is(err, net.ErrClosed) {
			return err // somebody else closed it: nothing will ever come
		}
		select {
		case <-time.After(wait):
		case <-s.quit:
		}
		wait = min(2*wait, mostAcceptWait)
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// accept starts to serve a connection, if there is room for one more.
func (s *Server) accept(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= s.cfg.MaxConnections {
		if !s.closed { // counted first: who sees the connection closed finds it counted
			s.metrics.ConnectionsRefused.WithLabelValues("full").Inc()
			s.limited.warn(s.logger, "mqtt: too many connections", "limit", s.cfg.MaxConnections, "remote", nc.RemoteAddr())
		}
		nc.Close()
		return
	}
	c := &conn{srv: s, nc: nc}
	c.raw = newRawConn(c, nc)
	s.conns[c] = struct{}{}
	s.open.Add(1)
	s.metrics.ConnectionsTotal.Inc()
	s.metrics.Connections.Inc()
	s.wheel.watch(c, s.cfg.ConnectTimeout, errConnectTimeout)
	s.readers.Go(func() { s.serve(c) })
}

// serve runs a connection; a panic of its end, where nothing catches it any more, is caught here.
func (s *Server) serve(c *conn) {
	defer func() {
		if p := recover(); p != nil {
			s.caught("end of a connection", p, debug.Stack())
			c.nc.Close()
		}
	}()
	if c.run() {
		s.readers.Go(func() { s.serve(c) })
	}
}

// ended accounts for the end of a connection.
func (s *Server) ended(c *conn, err error) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.open.Add(-1)
	s.metrics.Connections.Dec()
	reason := endReason(err)
	s.metrics.Disconnects.WithLabelValues(reason).Inc()
	client := ""
	if c.ses != nil {
		client = c.ses.id
	}
	switch reason {
	case "disconnect", "closed", "network", "shutdown":
		s.logger.Debug("mqtt: connection ended", "client", client, "remote", c.nc.RemoteAddr(), "reason", err)
	default:
		s.limitFor(err).warn(s.logger, "mqtt: connection ended", "client", client, "remote", c.nc.RemoteAddr(), "reason", err)
	}
}

// caught reports a panic.
func (s *Server) caught(where string, p any, stack []byte) {
	s.metrics.Panics.Inc()
	s.logger.Error("mqtt: panic", "where", where, "panic", p, "stack", string(stack))
}

// releaseInflight gives bytes in flight back, and lets readers go on that wait for that.
func (s *Server) releaseInflight(n int) {
	s.inflight.release(n)
	s.inflightWaiters.released(&s.inflight)
}

// tick drives the wheel, and keeps the index of retained messages from falling far behind.
func (s *Server) tick() {
	t := time.NewTicker(tickTime)
	defer t.Stop()
	var following atomic.Bool
	for n := 0; ; n++ {
		if n%4 == 0 && s.retained.stale() && !following.Swap(true) {
			s.helpers.Go(func() {
				defer following.Store(false)
				s.retained.follow()
			})
		}
		select {
		case <-t.C:
			s.wheel.advance(func(c *conn, reason error) { c.abort(reason) })
			s.catchUps.tick()
		case <-s.quit:
			return
		}
	}
}

// Shutdown stops accepting and reading, acknowledges what becomes durable, publishes the wills, and closes the
// connections. When ctx is done it waits for nothing any more, and returns ctx's error. The server is gone afterwards.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	listeners, conns := slices.Clone(s.listeners), make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	for _, c := range conns {
		c.abort(errShutdown)
	}
	stop := context.AfterFunc(ctx, func() {
		s.cancel()
		for _, c := range conns {
			c.nc.Close()
		}
	})
	s.readers.Wait()
	var err error
	if !stop() {
		err = ctx.Err()
	}
	s.cancel()
	close(s.quit)
	s.helpers.Wait()
	s.hub.close()
	s.catchUps.close()
	s.workers.close()
	s.writers.Wait()
	return err
}
