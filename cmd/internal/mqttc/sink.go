package mqttc

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// Sink is a broker that acknowledges every PUBLISH at once and forgets it: the far end of a tool's own tests, and the
// yardstick for what a load generator costs. It knows no subscriptions.
type Sink struct {
	// OnMessage, when set before the first connection, sees every message; false cuts the connection instead of an
	// acknowledgement. It is called from the goroutine of the connection.
	OnMessage func(conn int64, m Message) bool

	ln       net.Listener
	wg       sync.WaitGroup
	messages atomic.Int64
	accepted atomic.Int64

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// NewSink listens on addr; Serve begins to accept.
func NewSink(ctx context.Context, addr string) (*Sink, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Sink{ln: ln, conns: make(map[net.Conn]struct{})}, nil
}

// Serve accepts until Close.
func (s *Sink) Serve() {
	s.wg.Go(func() {
		for {
			c, err := s.ln.Accept()
			if err != nil {
				return
			}
			id := s.accepted.Add(1)
			s.mu.Lock()
			if s.closed {
				s.mu.Unlock()
				c.Close()
				return
			}
			s.conns[c] = struct{}{}
			s.mu.Unlock()
			s.wg.Go(func() {
				s.serve(id, c)
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				c.Close()
			})
		}
	})
}

// Addr is the address it listens on.
func (s *Sink) Addr() string { return s.ln.Addr().String() }

// Messages is how many PUBLISH packets arrived.
func (s *Sink) Messages() int64 { return s.messages.Load() }

// Cut closes every connection; new ones are accepted.
func (s *Sink) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Close ends everything and waits for it.
func (s *Sink) Close() error {
	err := s.ln.Close()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.Cut()
	s.wg.Wait()
	return err
}

func (s *Sink) serve(id int64, nc net.Conn) {
	c := &Conn{Conn: nc, limit: 1 << 20, buf: make([]byte, 64<<10)}
	var out []byte
	for {
		p, n, err := Split(c.Buffered(), c.limit)
		if err != nil {
			return
		}
		if n == 0 {
			if len(out) > 0 {
				if _, err := c.Write(out); err != nil {
					return
				}
				out = out[:0]
			}
			if c.fill() != nil {
				return
			}
			continue
		}
		c.start += n
		switch p.Type {
		case TypeConnect:
			out = append(out, TypeConnack<<4, 2, 0, 0)
		case TypePingreq:
			out = AppendEmpty(out, TypePingresp)
		case TypeDisconnect:
			return
		case TypePublish:
			m, err := ParsePublish(p)
			if err != nil {
				return
			}
			s.messages.Add(1)
			if s.OnMessage != nil && !s.OnMessage(id, m) {
				return
			}
			if m.QoS == 1 {
				out = AppendPuback(out, m.PacketID)
			}
		}
	}
}
