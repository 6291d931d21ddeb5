package upstream

import (
	"context"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// gate is the line to a fake centre: while it is shut, connections are cut and new ones closed at once.
type gate struct {
	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]bool
}

func newGate() *gate { return &gate{conns: map[net.Conn]bool{}} }

func (g *gate) option() kfake.Opt {
	return kfake.ListenFn(func(network, address string) (net.Listener, error) {
		var lc net.ListenConfig
		l, err := lc.Listen(context.Background(), network, address)
		if err != nil {
			return nil, err
		}
		return gatedListener{l, g}, nil
	})
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		g.cut()
	}
}

// cut ends all connections, once.
func (g *gate) cut() {
	for c := range g.conns {
		_ = c.Close()
		delete(g.conns, c)
	}
}

func (g *gate) cutOnce() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut()
}

type gatedListener struct {
	net.Listener
	g *gate
}

func (l gatedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.g.mu.Lock()
		if !l.g.shut {
			l.g.conns[c] = true
			l.g.mu.Unlock()
			return c, nil
		}
		l.g.mu.Unlock()
		_ = c.Close()
	}
}
