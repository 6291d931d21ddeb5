package machine

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// A Gate is an address that outlives the machine behind it: whoever connects while it is shut waits until it opens,
// and connections break when it is shut. It is safe for concurrent use.
type Gate struct {
	listener net.Listener
	ctx      context.Context // done when the gate is closed
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu     sync.Mutex
	target string                // where connections lead, "" while the gate is shut; guarded by mu, as all below
	times  int                   // how often it was opened
	opened chan struct{}         // closed while the gate is open
	conns  map[net.Conn]struct{} // of both sides
}

// NewGate listens on a free loopback port. The gate is shut.
func NewGate(ctx context.Context) (*Gate, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &Gate{listener: l, opened: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	g.ctx, g.cancel = context.WithCancel(ctx)
	g.wg.Go(g.accept)
	return g, nil
}

// Addr is the gate's address, host:port.
func (g *Gate) Addr() string { return g.listener.Addr().String() }

// Open lets connections, those that wait included, through to target.
func (g *Gate) Open(target string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.target == "" {
		close(g.opened)
	}
	g.target = target
	g.times++
}

// Shut breaks all connections and lets no more through.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.target != "" {
		g.target, g.opened = "", make(chan struct{})
	}
	for conn := range g.conns {
		conn.Close()
	}
}

// Close gives up the address and returns when nothing goes through any more.
func (g *Gate) Close() error {
	g.cancel()
	err := g.listener.Close()
	g.Shut()
	g.wg.Wait()
	return err
}

func (g *Gate) accept() {
	for {
		conn, err := g.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue // one that went away before it was taken
		}
		g.wg.Go(func() {
			defer conn.Close()
			g.lead(conn)
		})
	}
}

// lead connects conn with the target and moves bytes until either side ends.
func (g *Gate) lead(conn net.Conn) {
	target, times, err := g.wait()
	if err != nil {
		return
	}
	var d net.Dialer
	to, err := d.DialContext(g.ctx, "tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	if !g.enter(times, conn, to) {
		return
	}
	defer g.leave(conn, to)
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, to)
		conn.Close()
	})
	_, _ = io.Copy(to, conn)
	to.Close()
	back.Wait()
}

// wait returns where to connect to as soon as the gate is open, and the how-manieth opening that is.
func (g *Gate) wait() (target string, times int, err error) {
	for {
		g.mu.Lock()
		target, times, opened := g.target, g.times, g.opened
		g.mu.Unlock()
		if target != "" {
			return target, times, g.ctx.Err()
		}
		select {
		case <-g.ctx.Done():
			return "", 0, g.ctx.Err()
		case <-opened:
		}
	}
}

// enter takes note of connections that Shut must break; it is too late for that when the gate was shut meanwhile.
func (g *Gate) enter(times int, conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.target == "" || g.times != times {
		return false
	}
	for _, c := range conns {
		g.conns[c] = struct{}{}
	}
	return true
}

func (g *Gate) leave(conns ...net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range conns {
		delete(g.conns, c)
	}
}
