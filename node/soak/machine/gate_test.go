package machine

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// house answers each line with its own name and the line.
func house(t *testing.T, name string) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if _, err := io.WriteString(c, name+" "+line); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

type guestOf struct {
	net.Conn
	r *bufio.Reader
}

func knock(t *testing.T, g *Gate) guestOf {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", g.Addr())
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	t.Cleanup(func() { c.Close() })
	return guestOf{c, bufio.NewReader(c)}
}

func (g guestOf) say(t *testing.T, text, want string) {
	t.Helper()
	_, err := io.WriteString(g, text+"\n")
	must(t, err)
	answer, err := g.r.ReadString('\n')
	must(t, err)
	if strings.TrimSpace(answer) != want {
		t.Errorf("%s is answered %q, want %q", text, answer, want)
	}
}

func TestGateLetsThoseWhoWaitThroughAndBreaksWithTheMachine(t *testing.T) {
	g, err := NewGate(t.Context())
	must(t, err)
	early := knock(t, g)
	_, err = io.WriteString(early, "early\n")
	must(t, err)
	must(t, early.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	if _, err := early.r.ReadByte(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a shut gate answers: %v", err)
	}
	must(t, early.SetReadDeadline(time.Now().Add(20*time.Second)))

	g.Open(house(t, "first"))
	if answer, err := early.r.ReadString('\n'); err != nil || answer != "first early\n" {
		t.Errorf("whoever waited gets %q, %v", answer, err)
	}
	second := knock(t, g)
	second.say(t, "hello", "first hello")

	g.Shut()
	for _, c := range []guestOf{early, second} {
		if _, err := c.r.ReadByte(); err == nil {
			t.Error("a connection outlives the machine")
		}
	}
	third := knock(t, g)
	g.Open(house(t, "second"))
	third.say(t, "hello", "second hello")

	must(t, g.Close())
	if _, err := third.r.ReadByte(); err == nil {
		t.Error("a connection outlives the gate")
	}
}

func TestClosedGateLetsNobodyWait(t *testing.T) {
	g, err := NewGate(t.Context())
	must(t, err)
	c := knock(t, g)
	must(t, g.Close())
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("the connection goes on")
	}
}

func TestGateEndsAConnectionThatLeadsNowhere(t *testing.T) {
	g, err := NewGate(t.Context())
	must(t, err)
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	nowhere := l.Addr().String()
	must(t, l.Close())
	g.Open(nowhere)
	if _, err := knock(t, g).r.ReadByte(); err == nil {
		t.Error("the connection goes on")
	}
	must(t, g.Close())
}
