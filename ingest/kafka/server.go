package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/quorum"
)

// Config is what a Server is told. Zero values stand for the defaults named.
type Config struct {
	// Defaults are the node's id and the broker configuration of its file.
	Defaults meta.Defaults
	// Advertise is host:port that clients are told to connect to. Empty: the address by which they reached the node, so
	// that forwarded ports and port 0 work.
	Advertise string
	// MaxRequestBytes is the largest request; 100 MiB, as clients expect. What is that large carries records, and is never
	// in memory as a whole.
	MaxRequestBytes int32
	// MaxInflightBytes bounds what is in memory of requests at a time, over all connections; 32 MiB. What is appended counts
	// against the log's own bound.
	MaxInflightBytes int64
	// MaxConnections is how many connections there may be at a time; 1000. More are closed as they come.
	MaxConnections int
	// IdleTimeout closes a connection that sends nothing for so long and waits for nothing; 10 minutes.
	IdleTimeout time.Duration
	// WriteTimeout is how long a client may take to receive one MiB; 30 seconds.
	WriteTimeout time.Duration
	// MaxFetchSessions is how many incremental fetch sessions are held; 1000. Others fetch without.
	MaxFetchSessions int
	// DataDir is where the log lies, as DescribeLogDirs tells it.
	DataDir string
	// Space returns the bytes of the file system of DataDir in all and still free; nil: unknown.
	Space func() (total, free int64, err error)
	// Now is the clock that records' timestamps are checked against; nil: time.Now.
	Now func() time.Time
}

func (c *Config) fill() error {
	orInt(&c.MaxRequestBytes, 100<<20)
	orInt(&c.MaxInflightBytes, 32<<20)
	orInt(&c.MaxConnections, 1000)
	orInt(&c.IdleTimeout, 10*time.Minute)
	orInt(&c.WriteTimeout, 30*time.Second)
	orInt(&c.MaxFetchSessions, 1000)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Advertise == "" {
		return nil
	}
	_, err := parseEndpoint(c.Advertise)
	return err
}

func orInt[T ~int | ~int32 | ~int64](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// endpoint is an address as the protocol has it.
type endpoint struct {
	host string
	port int32
}

func parseEndpoint(addr string) (endpoint, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return endpoint{}, fmt.Errorf("kafka: advertised address %q: %w", addr, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return endpoint{}, fmt.Errorf("kafka: advertised address %q is not host:port", addr)
	}
	return endpoint{host, int32(n)}, nil
}

// Server serves the native protocol. Serve may be called for several listeners; Shutdown ends all.
type Server struct {
	apis     []api // the table; its handlers cannot name it themselves
	cfg      Config
	meta     Metadata
	logs     Log
	offsets  Offsets
	log      *slog.Logger
	metrics  *Metrics
	budget   *budget
	noise    noise
	parked   *semaphore.Weighted // bytes of the requests whose answers wait for records
	sessions *sessions
	ids      *quorum.ProducerIDs
	configs  atomic.Pointer[inForce]

	nodeDefaults atomic.Pointer[meta.Defaults]

	ctx  context.Context // ends when connections are given up
	stop context.CancelFunc
	wg   sync.WaitGroup // connections

	mu        sync.Mutex
	listeners map[net.Listener]struct{} // guarded by mu
	conns     map[*conn]struct{}        // guarded by mu
	closing   bool                      // guarded by mu
	count     atomic.Int64              // of conns
}

// Deps are what a Server serves.
type Deps struct {
	Metadata Metadata
	Log      Log
	Offsets  Offsets
}

// NewServer makes a server that listens nowhere yet.
func NewServer(cfg Config, deps Deps, log *slog.Logger, m *Metrics) (*Server, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	s := &Server{
		apis: apis, cfg: cfg, meta: deps.Metadata, logs: deps.Log, offsets: deps.Offsets, log: log, metrics: m,
		ids:       quorum.NewProducerIDs(deps.Metadata),
		budget:    newBudget(cfg.MaxInflightBytes),
		parked:    semaphore.NewWeighted(max(cfg.MaxInflightBytes/4, 1)),
		sessions:  newSessions(cfg.MaxFetchSessions, m.fetchSessions),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
	}
	s.nodeDefaults.Store(&cfg.Defaults)
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("kafka: server is closed")

// Serve accepts connections until Shutdown or until the listener fails. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	defer func() { _ = l.Close() }()
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	s.log.Info("native listener is up", "address", l.Addr().String())
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.metrics.accepted.Inc()
			s.start(nc)
		case s.isClosing() || errors.Is(err, net.ErrClosed):
			return ErrServerClosed
		default:
			// Out of descriptors, or a client that was gone before it was accepted: others may succeed.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Warn("native listener cannot accept", "error", err, "again_in", pause)
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
				return ErrServerClosed
			}
		}
	}
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// start serves a connection, or closes it when there are too many.
func (s *Server) start(nc net.Conn) {
	s.mu.Lock()
	if s.closing || len(s.conns) >= s.cfg.MaxConnections {
		closing := s.closing
		s.mu.Unlock()
		if !closing {
			s.metrics.refused.WithLabelValues("max_connections").Inc()
			s.log.Debug("native connection refused: too many", "remote", nc.RemoteAddr().String(), "max", s.cfg.MaxConnections)
		}
		_ = nc.Close()
		return
	}
	c := newConn(s, nc)
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	s.count.Add(1)
	s.metrics.connections.Inc()
	c.log.Debug("native connection accepted")
	go func() {
		defer s.wg.Done()
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.count.Add(-1)
		s.metrics.connections.Dec()
	}()
}

// Connections returns how many clients are connected.
func (s *Server) Connections() int64 { return s.count.Load() }

// Shutdown stops accepting, has every request that was read answered, and closes all connections. What is not answered
// when ctx ends is given up; the error is then that of ctx. It returns when no goroutine of the server's connections is
// left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		defer close(done)
		s.wg.Wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.mu.Lock()
		for c := range s.conns {
			c.kill()
		}
		s.mu.Unlock()
		<-done
	}
	s.stop()
	return err
}

// advertised returns the address that the client of c is to connect to.
func (s *Server) advertised(c *conn) endpoint {
	if s.cfg.Advertise != "" {
		ep, _ := parseEndpoint(s.cfg.Advertise) // was checked by NewServer
		return ep
	}
	if a, ok := c.nc.LocalAddr().(*net.TCPAddr); ok {
		return endpoint{a.IP.String(), int32(a.Port)} //nolint:gosec // a port has 16 bits
	}
	return endpoint{"localhost", 0}
}
