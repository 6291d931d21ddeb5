package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/node/config"
)

// cutter passes connections on to a node until it is cut: answers are then lost, and nobody can connect any more.
type cutter struct {
	l        net.Listener
	to       atomic.Pointer[string]
	cut      atomic.Bool
	answered atomic.Int64 // bytes
	wg       sync.WaitGroup
}

func newCutter(t *testing.T) *cutter {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{l: l}
	c.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			node, err := new(net.Dialer).DialContext(t.Context(), "tcp", *c.to.Load())
			if err != nil {
				_ = client.Close()
				continue
			}
			c.wg.Go(func() { _, _ = io.Copy(node, client); _ = node.Close() })
			c.wg.Go(func() { c.answers(client, node) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // it may be cut
		c.cut.Store(true)
		c.wg.Wait()
	})
	return c
}

func (c *cutter) answers(client, node net.Conn) {
	defer func() { _ = client.Close(); _ = node.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := node.Read(buf)
		if err != nil || c.cut.Load() {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
		c.answered.Add(int64(n))
	}
}

// cutAt cuts when so many bytes have been answered.
func (c *cutter) cutAt(ctx context.Context, answered int64) {
	for c.answered.Load() < answered && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
	c.cut.Store(true)
	_ = c.l.Close() // nobody else closes it before the test ends
}

// endless is an input without end.
type endless struct{ done <-chan struct{} }

func (e endless) Read(p []byte) (int, error) {
	select {
	case <-e.done:
		return 0, io.EOF
	default:
	}
	return copy(p, strings.Repeat("line\n", len(p)/5)), nil
}

func TestProducingEndsWhenTheNodeGoesAway(t *testing.T) {
	for name, interrupt := range map[string]bool{"by itself": false, "on a signal": true} {
		t.Run(name, func(t *testing.T) {
			c := newCutter(t)
			n := startNode(t, func(cfg *config.Config) { cfg.Kafka.Advertise = c.l.Addr().String() })
			to := n.Addr("kafka")
			c.to.Store(&to)
			ctx, signal := context.WithCancelCause(t.Context())
			defer signal(nil)
			var cutting sync.WaitGroup
			cutting.Go(func() {
				c.cutAt(ctx, 4<<10)
				if interrupt {
					signal(interrupted{syscall.SIGTERM})
				}
			})
			started := time.Now()
			code, stdout, stderr := cliContext(t, ctx, endless{t.Context().Done()}, "produce", "telemetry", "--broker", c.l.Addr().String(), "--timeout", "200ms")
			if took := time.Since(started); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			signal(nil)
			cutting.Wait()
			if code != exitUnreachable || !strings.Contains(stdout, "acknowledged in") || !strings.Contains(stdout, " not\n") ||
				!strings.Contains(stderr, "has acknowledged nothing for") {
				t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
			}
		})
	}
}

func TestManyRecordsFillNoBatchBeyondWhatTheTopicTakes(t *testing.T) {
	startNode(t, func(*config.Config) {})
	must(t, "", "topic", "create", "small", "--config", "max.message.bytes=3000")
	lines := strings.Repeat("a line of forty bytes, with its line end\n", 200_000)
	for _, args := range []string{"produce new", "produce small", "produce new --max-record 10MiB"} {
		if code, stdout, stderr := cli(t, lines[:len(lines)/(1+strings.Count(args, "small")*9)], strings.Fields(args)...); code != exitOK {
			t.Errorf("culvert %s: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	code, _, stderr := cli(t, strings.Repeat("x", 4000), "produce", "small")
	if code != exitFailure || !strings.Contains(stderr, "MESSAGE_TOO_LARGE") {
		t.Errorf("a record that the topic does not take: exit code %d, %q", code, stderr)
	}
}
