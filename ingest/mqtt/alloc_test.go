package mqtt

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// sinkConn is a connection that takes everything and gives nothing.
type sinkConn struct{ net.Conn }

func (sinkConn) Read([]byte) (int, error)         { return 0, io.EOF }
func (sinkConn) Write(b []byte) (int, error)      { return len(b), nil }
func (sinkConn) Close() error                     { return nil }
func (sinkConn) SetReadDeadline(time.Time) error  { return nil }
func (sinkConn) SetWriteDeadline(time.Time) error { return nil }
func (sinkConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// publishPath is a connected client whose packets are put into its read buffer, on a log that takes everything.
type publishPath struct {
	c     *conn
	burst []byte
}

func newPublishPath(t testing.TB, messages, topics int) *publishPath {
	t.Helper()
	srv, err := NewServer(DefaultConfig(), newNullLog(), testTable(t), slog.New(slog.DiscardHandler), NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{srv: srv, nc: sinkConn{}}
	p := &publishPath{c: c}
	p.feed(t, connectBytes("a", 0))
	for i := range messages {
		p.burst = append(p.burst, publishBytes(fmt.Sprintf("city/north/lamp-%d/temp", i%topics), strings.Repeat("x", 150), 1, false, uint16(i+1))...)
	}
	t.Cleanup(func() {
		c.finish(errDisconnected)
		if err := srv.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return p
}

// feed serves b as if it had been read, and acknowledges without writing: the output is thrown away.
func (p *publishPath) feed(t testing.TB, b []byte) {
	c := p.c
	c.class = largestBuffer
	n := copy(c.space(), b)
	c.took(n)
	c.writing = true // nobody writes
	if err := c.consume(); err != nil {
		t.Fatal(err)
	}
	if c.out != nil {
		c.srv.outBuffers.put(c.out)
		c.out = nil
	}
	c.writing = false
	c.idle()
}

func TestPublishingAllocatesNothing(t *testing.T) {
	if testing.CoverMode() != "" || raceEnabled {
		t.Skip("instrumented")
	}
	for _, topics := range []int{1, 10} {
		p := newPublishPath(t, 100, topics)
		for range 100 {
			p.feed(t, p.burst)
		}
		const runs = 1000
		if n := testing.AllocsPerRun(runs, func() { p.feed(t, p.burst) }); n >= 1 { // a GC may empty the pools once
			t.Errorf("%d topics: %v allocations for 100 messages", topics, n)
		}
	}
}

// deliveryPath is a hub with sessions whose connections take everything. It is driven by the test, not by its goroutine.
type deliveryPath struct {
	hub   *hub
	conns []*conn
	feed  *feed
	r     Record
}

func newDeliveryPath(t testing.TB, subscribers int) *deliveryPath {
	t.Helper()
	srv := &Server{
		cfg: DefaultConfig(), metrics: NewMetrics(nil), log: newNullLog(),
		outbound: budget{limit: 1 << 40}, held: budget{limit: 1 << 40},
	}
	srv.outBuffers.spent = &srv.outbound
	d := &deliveryPath{hub: &hub{srv: srv, cache: map[string]*matched{}}, feed: &feed{src: &memPartition{}}}
	for i := range subscribers {
		c := &conn{srv: srv, nc: sinkConn{}, writing: true}
		s := newSession(fmt.Sprint("s", i), c)
		c.ses = s
		d.conns = append(d.conns, c)
		s.put("a/#", byte(i%2))
		d.hub.trie.add("a/#", s, byte(i%2))
	}
	h := func(k, v string) Header { return Header{[]byte(k), []byte(v)} }
	d.r = Record{Value: make([]byte, 150), Headers: []Header{h(headerTopic, "a/b/c"), h(headerQoS, "1"), h(headerClient, "dev")}}
	return d
}

// run delivers n records and throws the output away.
func (d *deliveryPath) run(n int) {
	for range n {
		d.r.Offset++
		d.hub.deliver(d.feed, &d.r)
	}
	for i, s := range d.hub.dirty {
		s.dirty = false
		d.hub.dirty[i] = nil
	}
	d.hub.dirty = d.hub.dirty[:0]
	for _, c := range d.conns {
		if c.out != nil {
			c.srv.outBuffers.put(c.out)
			c.out = nil
		}
		for c.ses.window.span() > 0 {
			c.ses.window.acknowledge(c.ses.window.id(c.ses.window.first))
		}
	}
}

func TestDeliveringAllocatesNothing(t *testing.T) {
	if testing.CoverMode() != "" || raceEnabled {
		t.Skip("instrumented")
	}
	d := newDeliveryPath(t, 4)
	for range 100 {
		d.run(50)
	}
	if n := testing.AllocsPerRun(1000, func() { d.run(50) }); n >= 1 {
		t.Errorf("%v allocations for 50 messages to 4 subscribers", n)
	}
	if n := d.conns[0].srv.outbound.used.Load(); n != 0 {
		t.Errorf("%d outbound bytes are not given back", n)
	}
}

func BenchmarkDelivery(b *testing.B) {
	for _, subscribers := range []int{1, 100} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			d := newDeliveryPath(b, subscribers)
			b.ReportAllocs()
			for b.Loop() {
				d.run(50)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50/float64(subscribers), "ns/delivery")
		})
	}
}

func BenchmarkPublishPath(b *testing.B) {
	for _, topics := range []int{1, 10} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			p := newPublishPath(b, 100, topics)
			b.SetBytes(int64(len(p.burst)))
			b.ReportAllocs()
			for b.Loop() {
				p.feed(b, p.burst)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/message")
		})
	}
}

func TestIdleConnectionHoldsNothing(t *testing.T) {
	s := start(t)
	c := s.connect("a")
	for i := range 10 {
		c.publish("t", strings.Repeat("x", 30_000), byte(i%2), false)
	}
	s.mu.Lock()
	var sc *conn
	for sc = range s.conns {
	}
	s.mu.Unlock()
	eventually(t, "buffers to be given back", func() bool {
		sc.mu.Lock()
		defer sc.mu.Unlock()
		return sc.acks == nil && sc.out == nil && !sc.writing && s.held.used.Load() == 0
	})
}
