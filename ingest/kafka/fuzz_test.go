package kafka

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Whatever bytes come: no panic, no hang, and every answer is a frame.
func FuzzConnection(f *testing.F) {
	rnd := rand.New(rand.NewPCG(7, 7))
	for i := range apis {
		for _, v := range []int16{apis[i].min, apis[i].max} {
			req := kmsg.RequestForKey(apis[i].key)
			fillRandom(reflect.ValueOf(req).Elem(), rnd)
			if _, ok := req.(*kmsg.ProduceRequest); ok {
				req = produceRequest("t", -1, batchOf("a", "b"))
			}
			req.SetVersion(v)
			f.Add(kmsg.NewRequestFormatter(kmsg.FormatterClientID("f")).AppendRequest(nil, req, 1)[4:])
		}
	}
	f.Add([]byte{0, 18, 0, 99, 0, 0, 0, 1})
	f.Add([]byte{0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	r := newRig(f, func(c *rigConfig) { c.IdleTimeout = 200 * time.Millisecond })
	r.topic("t", 2)
	f.Fuzz(func(t *testing.T, body []byte) {
		if key := lookupFuzzed(r.srv, body); key != nil && key.waits {
			return // a wait of its own choice is not a hang
		}
		nc := dial(t, r.addr)
		defer func() { _ = nc.Close() }()
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = nc.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
		_ = nc.(*net.TCPConn).CloseWrite()
		for {
			var size [4]byte
			if _, err := io.ReadFull(nc, size[:]); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				break
			}
			if _, err := io.CopyN(io.Discard, nc, int64(binary.BigEndian.Uint32(size[:]))); err != nil {
				t.Fatalf("half an answer: %v", err)
			}
		}
		if n := testutil.ToFloat64(r.srv.metrics.panics); n > 0 {
			t.Fatal("panic")
		}
	})
}

func lookupFuzzed(s *Server, body []byte) *api {
	if len(body) < 2 {
		return nil
	}
	return s.lookup(requestKey(body))
}

// Fetch has a target of its own, without the wait.
func FuzzFetch(f *testing.F) {
	rnd := rand.New(rand.NewPCG(8, 8))
	a := (&Server{apis: apis}).lookup(1)
	for v := a.min; v <= a.max; v++ {
		req := kmsg.RequestForKey(1)
		fillRandom(reflect.ValueOf(req).Elem(), rnd)
		req.SetVersion(v)
		f.Add(v, req.AppendTo(nil))
		one := fetchRequest("t", 0, 0)
		one.SetVersion(v)
		f.Add(v, one.AppendTo(nil))
	}
	r := newRig(f)
	r.topic("t", 2)
	r.fill(0, batchOf("a", "b"), batchOf("c"))
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if !a.serves(version) {
			return
		}
		here, there := net.Pipe()
		defer func() { _, _ = here.Close(), there.Close() }()
		c := newConn(r.srv, here)
		defer c.abort()
		w := newWriter(c)
		q := &call{conn: c, api: a, version: version, body: body, correlation: 5}
		ans, err := r.srv.fetch(t.Context(), q)
		if err != nil {
			return
		}
		ans.(*fetching).req.MaxWaitMillis = 0
		go func() {
			_ = ans.write(w, q)
			_ = here.Close()
		}()
		all, err := io.ReadAll(there)
		if err != nil || len(all) < 8 || int(binary.BigEndian.Uint32(all)) != len(all)-4 {
			t.Fatalf("%d bytes of an answer: %v", len(all), err)
		}
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = version
		if version >= 12 {
			all = all[1:]
		}
		if err := resp.ReadFrom(all[8:]); err != nil {
			t.Fatal(err)
		}
	})
}
