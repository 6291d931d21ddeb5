package rig

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A pond is a broker that acknowledges what it gets and breaks each connection after a while.
type pond struct {
	mu    sync.Mutex
	got   []string // payloads in order; guarded by mu
	cut   int      // publishes after which a connection breaks without an acknowledgement, 0 for never
	ackID func(id uint16) uint16
}

func (p *pond) serve(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				if err := p.connection(conn); err != nil && !errors.Is(err, io.EOF) {
					t.Log(err)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func (p *pond) connection(conn net.Conn) error {
	r := bufio.NewReader(conn)
	for n := 0; ; n++ {
		first, err := r.ReadByte()
		if err != nil {
			return err
		}
		size, err := binary.ReadUvarint(r) // the two varints agree below 2^28
		if err != nil {
			return err
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		switch first {
		case 0x10:
			_, err = conn.Write([]byte{0x20, 2, 0, 0})
		case 0x32:
			at := 2 + int(binary.BigEndian.Uint16(body))
			id := binary.BigEndian.Uint16(body[at:])
			p.mu.Lock()
			p.got = append(p.got, string(body[at+2:]))
			p.mu.Unlock()
			if p.cut > 0 && n >= p.cut {
				return nil
			}
			_, err = conn.Write(binary.BigEndian.AppendUint16([]byte{0x40, 2}, p.ackID(id)))
		default:
			return fmt.Errorf("packet %x", first)
		}
		if err != nil {
			return err
		}
	}
}

func device(limit int64) *Device {
	return &Device{Name: "d", Topic: "a/b", Window: 10, Limit: limit, Payload: func(dst []byte, conn, seq int64) []byte {
		return fmt.Appendf(dst, "%d %d", conn, seq)
	}}
}

func TestDeviceBeginsAgainWithWhatIsNotAcknowledged(t *testing.T) {
	p := &pond{cut: 7, ackID: func(id uint16) uint16 { return id }}
	addr := p.serve(t)
	d := device(50)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := d.Run(ctx, addr, nil); err != nil {
		t.Fatal(err)
	}
	if d.Acked() != 50 || d.Connections() < 5 {
		t.Fatalf("acknowledged %d over %d connections", d.Acked(), d.Connections())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	highest, conn := int64(-1), int64(0)
	for _, payload := range p.got {
		var c, seq int64
		if _, err := fmt.Sscan(payload, &c, &seq); err != nil {
			t.Fatal(err)
		}
		if first, ok := d.First(c); c != conn && (!ok || seq != first) {
			t.Errorf("connection %d began with %d, not with %d", c, seq, first)
		}
		if seq > highest+1 {
			t.Errorf("%d follows %d", seq, highest)
		}
		highest, conn = max(highest, seq), c
	}
	if highest != 49 {
		t.Errorf("the last message is %d", highest)
	}
}

func TestDeviceStopsWhenAllIsAcknowledged(t *testing.T) {
	p := &pond{ackID: func(id uint16) uint16 { return id }}
	addr := p.serve(t)
	d, stop, ended := device(0), make(chan struct{}), make(chan error, 1)
	go func() { ended <- d.Run(t.Context(), addr, stop) }()
	waitUntil(t, func() bool { return d.Acked() > 100 })
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if d.Acked() != d.Sent() {
		t.Errorf("sent %d, acknowledged %d", d.Sent(), d.Acked())
	}
}

func TestDeviceNoticesAcknowledgementsOutOfOrder(t *testing.T) {
	p := &pond{ackID: func(id uint16) uint16 { return id ^ 1 }}
	if err := device(50).Run(t.Context(), p.serve(t), nil); !errors.Is(err, ErrPuback) {
		t.Fatalf("got %v", err)
	}
}

func waitUntil(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for too long")
		}
	}
}
