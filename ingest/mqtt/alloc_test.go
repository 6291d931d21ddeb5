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
