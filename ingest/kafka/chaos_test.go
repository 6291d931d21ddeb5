package kafka

import (
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Clients that vanish in the middle of everything leave nothing behind: no memory that is held, no connection, no waiter.
func TestClientsThatVanishLeaveNothingBehind(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.MaxInflightBytes = 2 << 20; c.MaxFetchSessions = 4 })
	r.topic("t", 4)
	r.fill(1, sized(50_000), sized(50_000))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	end := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	for i := range uint64(8) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, i))
			for time.Now().Before(end) {
				vanish(t, r, rnd)
			}
		})
	}
	wg.Wait()
	eventually(t, "no connection is left", func() bool { return r.srv.Connections() == 0 })
	s := r.srv
	if !idleBudget(s.budget.small, s.budget.smallSize) || !idleBudget(s.budget.large, s.budget.largeSize) || !idleBudget(s.parked, s.cfg.MaxInflightBytes/4) {
		t.Error("memory is still held")
	}
	if n := testutil.ToFloat64(s.metrics.panics); n > 0 {
		t.Errorf("%v panics", n)
	}
	part, _ := r.mgr.Partition("t", 0)
	before := part.HighWatermark()
	if p := produce(r.wire(), 9, "t", batchOf("a")); p.ErrorCode != 0 || p.BaseOffset < before {
		t.Errorf("%+v", p)
	}
}

// vanish sends some requests, reads some of the answers, perhaps breaks off inside a request, and goes away.
func vanish(t *testing.T, r *rig, rnd *rand.Rand) {
	nc := dial(t, r.addr)
	defer func() { _ = nc.Close() }()
	var out []byte
	for i := range int32(1 + rnd.IntN(8)) {
		var req kmsg.Request
		switch rnd.IntN(5) {
		case 0, 1:
			req = produceRequest("t", int16(rnd.IntN(3)-1), sized(rnd.IntN(100_000)))
			req.SetVersion(9)
		case 2, 3:
			f := fetchRequest("t", rnd.Int32N(5), int64(rnd.IntN(3)))
			f.SessionEpoch, f.MaxWaitMillis = rnd.Int32N(2)-1, rnd.Int32N(300)
			req = f
			req.SetVersion(12)
		default:
			req = kmsg.NewPtrMetadataRequest()
			req.SetVersion(9)
		}
		out = append(out, kmsg.NewRequestFormatter().AppendRequest(nil, req, i)...)
	}
	if rnd.IntN(2) == 0 {
		out = out[:rnd.IntN(len(out))]
	}
	_ = nc.SetDeadline(time.Now().Add(time.Duration(rnd.IntN(100)) * time.Millisecond))
	_, _ = nc.Write(out)
	if rnd.IntN(2) == 0 {
		_, _ = io.CopyN(io.Discard, nc, int64(rnd.IntN(200_000)))
	}
}
