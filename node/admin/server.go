package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// StatusSource tells how the node is. It is called for every request for /status, from several goroutines at once, and
// must not wait for anything slower than a lock.
type StatusSource interface {
	Status() Status
}

// ReadinessSource tells what keeps the node from serving, one reason each, or nothing when it serves. It is called for
// every request for /readyz, from several goroutines at once, and must not wait.
type ReadinessSource interface {
	NotReady() []string
}

// HealthSource tells what is wrong with the process that nothing but a restart can mend, one reason each, or nothing. It is
// called for every request for /healthz, from several goroutines at once, and must not wait.
type HealthSource interface {
	Unhealthy() []string
}

// Options are what a [Server] is made of. All fields but Pprof are needed.
type Options struct {
	Logger    *slog.Logger
	Metrics   prometheus.Gatherer
	Status    StatusSource
	Readiness ReadinessSource
	Health    HealthSource
	Pprof     bool // serve Go's profiles
}

const (
	maxHeaderBytes    = 16 << 10
	maxConnections    = 64
	maxScrapes        = 4
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	writeTimeoutPprof = 5 * time.Minute // a profile collects for as long as it is asked to
	idleTimeout       = time.Minute
	stopGrace         = 200 * time.Millisecond // for requests that are on their way when the server stops
)

// Server answers HTTP requests. Serve may be called for several listeners; Shutdown ends them all.
type Server struct {
	opt   Options
	http  *http.Server
	conns *connections
}

// New makes a server that listens nowhere yet.
func New(opt Options) *Server {
	s := &Server{opt: opt, conns: &connections{most: maxConnections, logger: opt.Logger, now: time.Now, open: map[*connection]struct{}{}}}
	s.http = &http.Server{
		Handler:           answering(s.Handler()),
		ConnContext:       inContext,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(opt.Logger.Handler(), slog.LevelWarn),
	}
	if opt.Pprof {
		s.http.WriteTimeout = writeTimeoutPprof
	}
	return s
}

// Serve answers requests on l until Shutdown, and then returns nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(s.conns.limit(l)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// Shutdown closes the listeners, waits for requests being answered until ctx ends, and then cuts them off. Who has asked
// for nothing is cut off soon.
func (s *Server) Shutdown(ctx context.Context) error {
	defer time.AfterFunc(stopGrace, s.conns.closeWaiting).Stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	return err
}

// Handler returns what answers the requests, for tests and for other servers.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /status", s.status)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opt.Metrics, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(s.opt.Logger.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	}))
	if s.opt.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) text(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	if _, err := w.Write([]byte(text)); err != nil {
		s.opt.Logger.Debug("http client went away", "error", err)
	}
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	text := "culvert\n\n/healthz\n/readyz\n/metrics\n/status\n"
	if s.opt.Pprof {
		text += "/debug/pprof/\n"
	}
	s.text(w, http.StatusOK, text)
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if reasons := s.opt.Health.Unhealthy(); len(reasons) > 0 {
		s.text(w, http.StatusServiceUnavailable, "a restart is needed\n"+strings.Join(reasons, "\n")+"\n")
		return
	}
	s.text(w, http.StatusOK, "ok\n")
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if reasons := s.opt.Readiness.NotReady(); len(reasons) > 0 {
		s.text(w, http.StatusServiceUnavailable, "not ready\n"+strings.Join(reasons, "\n")+"\n")
		return
	}
	s.text(w, http.StatusOK, "ready\n")
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	body, err := json.MarshalIndent(s.opt.Status.Status(), "", "  ")
	if err != nil {
		s.opt.Logger.Error("status cannot be encoded", "error", err)
		s.text(w, http.StatusInternalServerError, "status cannot be encoded\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(append(body, '\n')); err != nil {
		s.opt.Logger.Debug("http client went away", "error", err)
	}
}
