package admin

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// dial opens a connection from an address of this machine's own network, and says something.
func dial(t *testing.T, from, to, say string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask asks for a path, and gives up soon.
func ask(t *testing.T, addr, path string) (code int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func TestHealthIsToldWhileManyConnectionsAreIdleOrSlow(t *testing.T) {
	addr := serve(t, newServer(&node{}, false))
	for _, say := range []string{"", "G", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"} {
		for range 2 * maxConnections {
			dial(t, "127.0.0.1", addr, say)
		}
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			if code, err := ask(t, addr, path); code != http.StatusOK {
				t.Errorf("beside connections that say %q: %s answers %d, %v", say, path, code, err)
			}
		}
	}
}

func TestWhoeverHasTheMostConnectionsMakesRoom(t *testing.T) {
	addr := serve(t, newServer(&node{}, false))
	other := dial(t, "127.0.0.2", addr, "GET /healthz HTTP/1.1\r\n") // the oldest, and slow
	for range 3 * maxConnections {
		dial(t, "127.0.0.1", addr, "")
	}
	if code, err := ask(t, addr, "/healthz"); code != http.StatusOK { // all of them have been accepted
		t.Fatal(code, err)
	}
	if _, err := io.WriteString(other, "Host: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(other).ReadString('\n')
	if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 200") {
		t.Errorf("the only connection of its peer got %q, %v", answer, err)
	}
}

// patient is a node whose status takes as long as the test likes.
type patient struct {
	node
	asked, tell chan struct{}
}

func (p *patient) Status() Status {
	close(p.asked)
	<-p.tell
	return p.status
}

func TestWhatIsBeingAnsweredIsNotCutOff(t *testing.T) {
	p := &patient{node: node{status: example}, asked: make(chan struct{}), tell: make(chan struct{})}
	s := newServer(&p.node, false)
	s.opt.Status = p
	addr := serve(t, s)
	c := dial(t, "127.0.0.1", addr, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
	<-p.asked
	for range 3 * maxConnections {
		dial(t, "127.0.0.1", addr, "GET /")
	}
	if code, err := ask(t, addr, "/healthz"); code != http.StatusOK {
		t.Error(code, err)
	}
	close(p.tell)
	if answer, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(answer, "HTTP/1.1 200") {
		t.Errorf("answered %q, %v", answer, err)
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	s := newServer(&node{}, false)
	addr := serve(t, s)
	var readers sync.WaitGroup
	ended := make(chan struct{}, 3*maxConnections)
	for range 3 * maxConnections {
		c := dial(t, "127.0.0.1", addr, "")
		readers.Go(func() {
			_, _ = io.Copy(io.Discard, c)
			ended <- struct{}{}
		})
	}
	for range 2 * maxConnections { // the others go on
		<-ended
	}
	s.conns.mu.Lock()
	n := len(s.conns.open)
	s.conns.mu.Unlock()
	if n != maxConnections {
		t.Errorf("%d connections are open, %d may be", n, maxConnections)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	readers.Wait()
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	if len(s.conns.open) > 0 {
		t.Errorf("%d connections are counted after the end", len(s.conns.open))
	}
}

func TestStoppingDoesNotWaitForWhoAsksForNothing(t *testing.T) {
	s := newServer(&node{}, false)
	addr := serve(t, s)
	for _, say := range []string{"", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"} {
		dial(t, "127.0.0.1", addr, say)
	}
	if code, err := ask(t, addr, "/healthz"); code != http.StatusOK {
		t.Fatal(code, err)
	}
	start := time.Now()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}
