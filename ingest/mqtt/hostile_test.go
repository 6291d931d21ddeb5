package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestPacketsBeyondTheMaximumAreRefusedByTheirHeader(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxPacketBytes = 1000 })
	c := s.connect("a")
	c.send(appendLength([]byte{0x32}, maxRemainingLength)) // and nothing else
	c.expectClosed()
	c = s.connect("a")
	body := strings.Repeat("x", 1000-3-3-2) // header, topic, identifier
	c.send(publishBytes("t", body, 1, false, 1))
	c.expect(puback(1))
	c.send(publishBytes("t", body+"x", 1, false, 2))
	c.expectClosed()
	s.expectLogged("larger than the configured maximum")
}

func TestConnectIsBoundedBeforeItIsRead(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxPacketBytes = 10 << 20 })
	c := s.dial()
	c.send(appendLength([]byte{0x10}, maxConnectPacketSize)) // at most this less the header can be needed
	c.expectClosed()
}

func TestLargeMessagesArriveWhole(t *testing.T) {
	s := start(t)
	c := s.connect("a")
	r := rand.New(rand.NewPCG(3, 4))
	var want [][]byte
	for i := range 60 {
		n := r.IntN(3 << r.IntN(18))
		payload := bytes.Repeat([]byte{byte('a' + i%26)}, n)
		want = append(want, payload)
		c.send(publishBytes("t", string(payload), 1, false, uint16(i+1)))
	}
	most := bytes.Repeat([]byte{'z'}, s.cfg.MaxPacketBytes-4-3-2)
	want = append(want, most)
	c.send(publishBytes("t", string(most), 1, false, 61))
	for i := range want {
		c.expect(puback(uint16(i + 1)))
	}
	for i, rec := range s.log.all("mqtt") {
		if !bytes.Equal(rec.Value, want[i]) {
			t.Fatalf("message %d has %d bytes, want %d", i, len(rec.Value), len(want[i]))
		}
	}
	eventually(t, "buffers to be given back", func() bool { return s.held.used.Load() == 0 })
}

func TestPartsOfPacketsAreBounded(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxHeldBytes = 1 << 20 })
	var clients []*client
	for i := range 10 {
		c := s.connect(fmt.Sprint("c", i))
		b := publishBytes("t", strings.Repeat("x", 900<<10), 1, false, 1)
		_ = c.trySend(b[:300<<10]) // the server may close before it took all
		clients = append(clients, c)
	}
	eventually(t, "refusals", func() bool { return strings.Contains(s.logged.String(), "no buffer memory left") })
	if n := s.held.used.Load(); n > 1<<20 {
		t.Errorf("%d bytes held", n)
	}
	fresh := s.connect("fresh")
	fresh.publish("t", "small", 1, false)
	for _, c := range clients {
		c.nc.Close()
	}
	eventually(t, "buffers to be given back", func() bool { return s.held.used.Load() == 0 })
}

func TestLengthsAnnouncedAreNotAllocated(t *testing.T) {
	s := start(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 300 {
		c := s.connect(fmt.Sprint("c", i))
		c.send(appendLength([]byte{0x30}, 1<<20-10), []byte{0, 1, 't'})
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 20<<20 {
		t.Errorf("%d bytes were allocated for 300 packets of which 7 bytes came", n)
	}
}

func TestWillsAreBounded(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxHeldBytes = 20_000 })
	refused := 0
	for i := range 10 {
		c := s.dial()
		c.send(connectWith(connectClean|connectWill, 0, str(fmt.Sprint("c", i)), str("w"), str(strings.Repeat("x", 3000))))
		p, err := c.packet()
		if err != nil {
			t.Fatal(err)
		}
		if p[3] == connUnavailable {
			refused++
			c.expectClosed()
		} else {
			defer c.send([]byte{0xe0, 0})
		}
	}
	if refused != 4 {
		t.Errorf("%d of 10 wills of 3,000 bytes were refused with 20,000 allowed", refused)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxConnections = 3 })
	for i := range 3 {
		s.connect(fmt.Sprint("c", i)).expectNothing()
	}
	c := s.dial()
	c.expectClosed()
	if n := testutil.ToFloat64(s.metrics.ConnectionsRefused.WithLabelValues("full")); n != 1 {
		t.Errorf("%v refused", n)
	}
}

// bombLog panics where it is told to.
type bombLog struct {
	*memLog
	topic string
}

func (l *bombLog) Bind(ctx context.Context, topic string, key []byte, headers []Header) (Appender, error) {
	if topic == l.topic {
		panic("a bug in the log")
	}
	return l.memLog.Bind(ctx, topic, key, headers)
}

func TestPanicCostsOneConnection(t *testing.T) {
	log := &bombLog{newMemLog(), "telemetry"}
	log.auto(t, nil)
	logged := &lockedBuffer{}
	metrics := NewMetrics(nil)
	srv, err := NewServer(DefaultConfig(), log, testTable(t), slog.New(slog.NewTextHandler(logged, nil)), metrics)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "127.0.0.1:0")
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	eventually(t, "the listener", func() bool { return srv.Addr() != nil })
	s := &testServer{Server: srv, t: t, log: log.memLog, logged: logged}
	bystander := s.connect("bystander")
	c := s.connect("a")
	c.send(publishBytes("city/a/b/c", "x", 1, false, 1))
	c.expectClosed()
	bystander.publish("t", "x", 1, false)
	if n := testutil.ToFloat64(metrics.Panics); n != 1 || !strings.Contains(logged.String(), "a bug in the log") || !strings.Contains(logged.String(), "hostile_test.go") {
		t.Errorf("%v panics counted; log: %s", n, logged)
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// bombCommit panics when it is asked whether it is done.
type bombCommit struct{ *memCommit }

func (bombCommit) Err() error { panic("a bug in the commit") }

func TestPanicWhileAcknowledgingCostsOneConnection(t *testing.T) {
	s := startByHand(t)
	c := s.connect("a")
	bystander := s.connect("b")
	s.log.mu.Lock()
	s.log.wrap = func(c Commit) Commit { return bombCommit{c.(*memCommit)} }
	s.log.mu.Unlock()
	c.send(publishBytes("t", "x", 1, false, 1))
	s.stored("mqtt", 1)
	s.log.mu.Lock()
	s.log.wrap = nil
	s.log.mu.Unlock()
	s.log.commit()
	c.expectClosed()
	bystander.send(publishBytes("t", "x", 1, false, 1))
	s.stored("mqtt", 2)
	s.log.commit()
	bystander.expect(puback(1))
	if n := testutil.ToFloat64(s.metrics.Panics); n != 1 {
		t.Errorf("%v panics counted", n)
	}
}

// Whatever comes, the server goes on, and gives everything back (the end of the test looks).
func TestRandomBytes(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxPacketBytes = 4096 })
	r := rand.New(rand.NewPCG(5, 6))
	good := [][]byte{
		connectBytes("x", 1), publishBytes("a/b", "payload", 1, true, 5), publishBytes("city/a/b/c", "p", 0, false, 0),
		subscribeBytes(1, 1, "#"), unsubscribeBytes(2, "#"), {0xc0, 0}, puback(1), {0xe0, 0},
		connectWith(connectClean|connectWill|connectRetain, 0, str("w"), str("will"), str("x")),
	}
	for range 400 {
		var b []byte
		if r.IntN(4) > 0 {
			b = append(b, connectBytes(fmt.Sprint("r", r.IntN(5)), 0)...)
		}
		for range r.IntN(20) {
			p := bytes.Clone(good[r.IntN(len(good))])
			if r.IntN(3) == 0 {
				p[r.IntN(len(p))] ^= 1 << r.IntN(8)
			}
			b = append(b, p...)
		}
		nc := s.dial().nc
		_, _ = nc.Write(b[:r.IntN(len(b)+1)])
		if r.IntN(2) == 0 {
			_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, _ = io.Copy(io.Discard, nc)
		}
		nc.Close()
	}
	s.connect("after").publish("t", "x", 1, false)
	if n := testutil.ToFloat64(s.metrics.Panics); n != 0 {
		t.Errorf("%v panics", n)
	}
	eventually(t, "all to be closed", func() bool { return s.Stats().Connections == 1 })
}

func TestConfigIsChecked(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxInflight = 65536
	_, err := NewServer(cfg, newMemLog(), testTable(t), slog.New(slog.DiscardHandler), NewMetrics(nil))
	if err == nil || !strings.Contains(err.Error(), "MaxInflight is 65536") {
		t.Errorf("%v", err)
	}
	if err := (Config{}).Validate(); err == nil {
		t.Error("an empty configuration is accepted")
	}
}

func TestServeAfterShutdownIsRefused(t *testing.T) {
	s, err := NewServer(DefaultConfig(), newMemLog(), testTable(t), slog.New(slog.DiscardHandler), NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	if s.Addr() != nil {
		t.Error("an address before Serve")
	}
	for range 2 {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	l := listen(t, "127.0.0.1:0")
	if err := s.Serve(l); !errors.Is(err, errServerClosed) {
		t.Errorf("%v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the listener is open")
	}
}
