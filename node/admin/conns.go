package admin

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// connections are those that are open, which are so many at most. One more takes the place of another: of the peer that
// has the most, the one that has asked for nothing for the longest time, or is being answered for the longest time where
// all are. So whoever opens connections and asks for nothing, or asks slowly, keeps nobody else from asking.
type connections struct {
	most   int
	logger *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	open   map[*connection]struct{} // guarded by mu
	warned time.Time                // guarded by mu: when taking places was told last
}

// warnEvery is how often it is told that connections are closed to make room for others.
const warnEvery = time.Minute

// connection is one of them.
type connection struct {
	net.Conn
	all  *connections
	peer string // address without the port

	answering bool      // guarded by all.mu
	since     time.Time // guarded by all.mu: it is being answered or not
}

// limit returns a listener whose connections count.
func (cs *connections) limit(l net.Listener) net.Listener { return &limited{l, cs} }

type limited struct {
	net.Listener
	all *connections
}

// Accept waits for a connection, and closes another where there are too many.
func (l *limited) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.all.enter(nc), nil
}

func (cs *connections) enter(nc net.Conn) *connection {
	peer, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil {
		peer = nc.RemoteAddr().String()
	}
	c := &connection{Conn: nc, all: cs, peer: peer}
	cs.mu.Lock()
	c.since = cs.now()
	var out *connection
	if len(cs.open) >= cs.most {
		out = cs.weakest()
		delete(cs.open, out)
	}
	cs.open[c] = struct{}{}
	tell := out != nil && c.since.Sub(cs.warned) >= warnEvery
	if tell {
		cs.warned = c.since
	}
	cs.mu.Unlock()
	if out != nil {
		_ = out.Conn.Close()
	}
	if tell {
		cs.logger.Warn("too many connections: idle and slow ones are closed", "limit", cs.most, "remote", out.RemoteAddr())
	}
	return c
}

// weakest returns the connection that is to go. The caller holds mu.
func (cs *connections) weakest() (weakest *connection) {
	of := make(map[string]int)
	for c := range cs.open {
		of[c.peer]++
	}
	for c := range cs.open {
		switch w := weakest; {
		case w == nil, of[c.peer] > of[w.peer]:
			weakest = c
		case of[c.peer] < of[w.peer]:
		case w.answering && !c.answering, w.answering == c.answering && c.since.Before(w.since):
			weakest = c
		}
	}
	return weakest
}

// closeWaiting closes the connections that are not being answered.
func (cs *connections) closeWaiting() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.open {
		if !c.answering {
			delete(cs.open, c)
			_ = c.Conn.Close()
		}
	}
}

// Close closes the connection.
func (c *connection) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

func (c *connection) turn(answering bool) {
	c.all.mu.Lock()
	c.answering, c.since = answering, c.all.now()
	c.all.mu.Unlock()
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// inContext is http.Server.ConnContext.
func inContext(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// answering notes the time that h takes as that in which a request's connection is being answered.
func answering(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*connection); ok {
			c.turn(true)
			defer c.turn(false)
		}
		h.ServeHTTP(w, r)
	})
}
