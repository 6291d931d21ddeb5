package mqttc

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// server accepts one connection, answers CONNECT and hands it to fn.
func server(t *testing.T, fn func(*Conn)) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		c := &Conn{Conn: nc, limit: 1 << 20, buf: make([]byte, 1024)}
		if _, err := c.ReadPacket(); err == nil {
			fn(c)
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func TestSubscriberReceivesPacketsLargerThanItsBufferAndAcknowledgesThem(t *testing.T) {
	big, ids := strings.Repeat("x", 10_000), make(chan uint16, 2)
	addr := server(t, func(c *Conn) {
		_, _ = c.Write([]byte{0x20, 2, 0, 0})
		_, _ = c.ReadPacket()
		_, _ = c.Write([]byte{0x90, 3, 0, 1, 1})
		out := AppendPublish(nil, []byte("a"), []byte(big), 1, 7)
		out = AppendPublish(out, []byte("b"), []byte("small"), 1, 8)
		out = AppendPublish(out, []byte("c"), nil, 0, 0)
		_, _ = c.Write(out)
		for range 2 {
			p, err := c.ReadPacket()
			if err != nil {
				return
			}
			ids <- binary.BigEndian.Uint16(p.Body)
		}
	})
	c, err := Dial(t.Context(), addr, Options{ReadBuffer: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Subscribe("#", 1, time.Second); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = c.Receive(func(m Message) error {
		got = append(got, string(m.Topic)+" "+string(m.Payload))
		return nil
	})
	if !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if want := "a " + big + "|b small|c "; strings.Join(got, "|") != want {
		t.Errorf("got %d messages", len(got))
	}
	if a, b := <-ids, <-ids; a != 7 || b != 8 {
		t.Errorf("acknowledged %d and %d", a, b)
	}
}

func TestDialAndSubscribeTellARefusal(t *testing.T) {
	addr := server(t, func(c *Conn) { _, _ = c.Write([]byte{0x20, 2, 0, 5}) })
	var refused *RefusedError
	if _, err := Dial(t.Context(), addr, Options{}); !errors.As(err, &refused) || refused.Code != 5 {
		t.Error(err)
	}
	addr = server(t, func(c *Conn) {
		_, _ = c.Write([]byte{0x20, 2, 0, 0})
		_, _ = c.ReadPacket()
		_, _ = c.Write([]byte{0x90, 3, 0, 1, 0x80})
		_, _ = c.ReadPacket()
	})
	c, err := Dial(t.Context(), addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Subscribe("#", 1, time.Second); !errors.Is(err, ErrNoSubscription) {
		t.Error(err)
	}
}
