package mqtt

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-mq/culvert/ingest/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testServer is a server with a log in memory.
type testServer struct {
	*Server
	t       testing.TB
	log     *memLog
	pipes   bool // connections are net.Pipe, not TCP
	network *pipeListener
	logged  *lockedBuffer
}

// listen opens a listener.
func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// lockedBuffer keeps what is logged.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// testTable sends everything to the log topic mqtt, keyed by MQTT topic, but city/# to telemetry.
func testTable(t testing.TB) *route.Table {
	t.Helper()
	table, err := route.New([]route.Route{
		{Filter: "city/{district}/{device}/#", Topic: "telemetry", Key: "{device}", Headers: []route.HeaderTemplate{{Name: "district", Value: "{district}"}}},
		{Filter: "bad/{name}", Topic: "x-{name}"},
	}, route.Route{Topic: "mqtt"})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// defaultTable sends everything to one log topic.
func defaultTable(t testing.TB, topic string) *route.Table {
	t.Helper()
	table, err := route.New(nil, route.Route{Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// start starts a server on loopback. The log commits by itself.
func start(t testing.TB, change ...func(*Config)) *testServer {
	t.Helper()
	s := startByHand(t, change...)
	s.log.auto(t, nil)
	return s
}

// startByHand starts a server on loopback. The test completes the commits.
func startByHand(t testing.TB, change ...func(*Config)) *testServer {
	t.Helper()
	return startServer(t, newMemLog(), false, change...)
}

func startServer(t testing.TB, log *memLog, pipes bool, change ...func(*Config)) *testServer {
	t.Helper()
	cfg := DefaultConfig()
	for _, f := range change {
		f(&cfg)
	}
	logged := &lockedBuffer{}
	srv, err := NewServer(cfg, log, testTable(t), slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})), NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	srv.limited.perSecond, srv.trouble.perSecond = 1<<30, 1<<30
	s := &testServer{Server: srv, t: t, log: log, pipes: pipes, logged: logged}
	var l net.Listener
	if pipes {
		s.network = newPipeListener()
		l = s.network
	} else {
		l = listen(t, "127.0.0.1:0")
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	eventually(t, "the listener", func() bool { return srv.Addr() != nil })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		go func() { // what nobody completed would be waited for
			for ctx.Err() == nil {
				log.commit()
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			}
		}()
		if err := srv.Shutdown(ctx); err != nil && !t.Failed() {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := srv.inflight.used.Load(); n != 0 {
			t.Errorf("%d bytes in flight are not given back", n)
		}
		if n := srv.held.used.Load(); n != 0 {
			t.Errorf("%d held bytes are not given back", n)
		}
		if n := srv.outbound.used.Load(); n != 0 {
			t.Errorf("%d outbound bytes are not given back", n)
		}
		if n := srv.targetCount.Load(); n != 0 {
			t.Errorf("%d targets are not given back", n)
		}
	})
	return s
}

// live waits until a client's session is at the live end.
func (s *testServer) live(client string) {
	s.t.Helper()
	eventually(s.t, "the live end", func() bool {
		s.sessions.mu.Lock()
		ses := s.sessions.byID[client]
		s.sessions.mu.Unlock()
		return !ses.behind.Load()
	})
}

// expectLogged waits for a text in the log.
func (s *testServer) expectLogged(text string) {
	s.t.Helper()
	eventually(s.t, "the log to say "+text, func() bool { return strings.Contains(s.logged.String(), text) })
}

// pipeListener makes connections with net.Pipe, for tests in a bubble.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// client is the other end of a connection, which speaks in bytes.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

// dial opens a connection, without CONNECT.
func (s *testServer) dial() *client {
	s.t.Helper()
	var nc net.Conn
	if s.pipes {
		ours, theirs := net.Pipe()
		s.network.conns <- theirs
		nc = ours
	} else {
		var err error
		if nc, err = (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.Addr().String()); err != nil {
			s.t.Fatal(err)
		}
	}
	s.t.Cleanup(func() { nc.Close() })
	return &client{t: s.t, nc: nc, r: bufio.NewReader(nc)}
}

// connect opens a connection and sends CONNECT, which must be accepted.
func (s *testServer) connect(id string) *client {
	s.t.Helper()
	c := s.dial()
	c.send(connectBytes(id, 0))
	c.expect(connackOK)
	return c
}

var connackOK = []byte{0x20, 2, 0, 0}

func str(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }

// pack makes a packet of a first byte and a body.
func pack(first byte, body ...[]byte) []byte {
	b := bytes.Join(body, nil)
	return append(appendLength([]byte{first}, len(b)), b...)
}

// connectBytes is a CONNECT with a clean session.
func connectBytes(id string, keepAlive uint16) []byte {
	return connectWith(connectClean, keepAlive, str(id))
}

func connectWith(flags byte, keepAlive uint16, payload ...[]byte) []byte {
	return pack(0x10, append([][]byte{str("MQTT"), {4, flags, byte(keepAlive >> 8), byte(keepAlive)}}, payload...)...)
}

// publishBytes is a PUBLISH; the id is left out with QoS 0.
func publishBytes(topic, payload string, qos byte, retain bool, id uint16) []byte {
	b, at := appendPublish(nil, topic, []byte(payload), qos, retain)
	if at >= 0 {
		putID(b, at, id)
	}
	return b
}

func puback(id uint16) []byte { return []byte{0x40, 2, byte(id >> 8), byte(id)} }

// subscribeBytes is a SUBSCRIBE of filters with one QoS.
func subscribeBytes(id uint16, qos byte, filters ...string) []byte {
	body := [][]byte{{byte(id >> 8), byte(id)}}
	for _, f := range filters {
		body = append(body, str(f), []byte{qos})
	}
	return pack(0x82, body...)
}

func unsubscribeBytes(id uint16, filters ...string) []byte {
	body := [][]byte{{byte(id >> 8), byte(id)}}
	for _, f := range filters {
		body = append(body, str(f))
	}
	return pack(0xa2, body...)
}

func (c *client) send(packets ...[]byte) {
	c.t.Helper()
	if err := c.trySend(packets...); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

func (c *client) trySend(packets ...[]byte) error {
	if err := c.nc.SetWriteDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	_, err := c.nc.Write(bytes.Join(packets, nil))
	return err
}

// packet reads the next packet.
func (c *client) packet() ([]byte, error) {
	if err := c.nc.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, err
	}
	return readPacket(c.r)
}

func readPacket(r *bufio.Reader) ([]byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	b := appendLength([]byte{first}, int(n))
	head := len(b)
	b = append(b, make([]byte, n)...)
	_, err = io.ReadFull(r, b[head:])
	return b, err
}

// expect reads packets, which must be these.
func (c *client) expect(packets ...[]byte) {
	c.t.Helper()
	for _, want := range packets {
		got, err := c.packet()
		if err != nil {
			c.t.Fatalf("waiting for % x: %v", want, err)
		}
		if !bytes.Equal(got, want) {
			c.t.Fatalf("got % x (%q)\nwant % x (%q)", got, got, want, want)
		}
	}
}

// expectClosed waits for the server to close the connection, and takes no packet.
func (c *client) expectClosed() {
	c.t.Helper()
	got, err := c.packet()
	if err == nil {
		c.t.Fatalf("got % x (%q), want the connection closed", got, got)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection is not closed")
	}
}

// expectNothing sends PINGREQ and wants its answer next.
func (c *client) expectNothing() {
	c.t.Helper()
	c.send([]byte{0xc0, 0})
	c.expect([]byte{0xd0, 0})
}

// message is a PUBLISH read.
type received struct {
	topic, payload string
	qos            byte
	retain, dup    bool
	id             uint16
}

func (r received) String() string {
	return fmt.Sprintf("%s=%s qos%d retain=%v", r.topic, r.payload, r.qos, r.retain)
}

// message reads a PUBLISH, and acknowledges it if it is of QoS 1.
func (c *client) message() received {
	c.t.Helper()
	m := c.unacked()
	if m.qos == 1 {
		c.send(puback(m.id))
	}
	return m
}

// unacked reads a PUBLISH.
func (c *client) unacked() received {
	c.t.Helper()
	b, err := c.packet()
	if err != nil {
		c.t.Fatalf("waiting for a message: %v", err)
	}
	h, ok, err := parseHeader(b)
	if err != nil || !ok || h.kind != typePublish {
		c.t.Fatalf("not a PUBLISH: % x %v", b, err)
	}
	p, err := parsePublish(h.flags, b[h.head:])
	if err != nil {
		c.t.Fatalf("% x: %v", b, err)
	}
	return received{string(p.topic), string(p.payload), p.qos, p.retain, h.flags&flagDup != 0, p.id}
}

// expectMessages reads as many messages as are given as "topic=payload qosN retain=bool".
func (c *client) expectMessages(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.message().String(); got != w {
			c.t.Fatalf("got %s, want %s", got, w)
		}
	}
}
