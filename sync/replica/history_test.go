package replica

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/sync/meta"
)

// What a partition's ledger must say after a history, reckoned beside it: by offset, what became of every record.
type reckoned struct {
	priority      int32
	start, end    int64
	expired, lost int64
	position      int64 // up to where it is forwarded; -1: it is not to be
}

// goes reckons that the start has moved.
func (w *reckoned) goes(to int64) {
	if to <= w.start {
		return
	}
	lost := int64(0)
	if w.position >= 0 {
		lost = max(0, to-max(w.start, w.position))
	}
	w.lost += lost
	w.expired += to - w.start - lost
	w.start = to
}

// Any order of appends, forwarding, deletions, retention by topic and by limits, changes of priority and restarts leaves
// ledgers that add up and say what happened, and whole partitions.
func TestLedgersAddUpAfterAnyHistory(t *testing.T) {
	for range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { history(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func history(t *testing.T, rng *rand.Rand) {
	r := newRig(t)
	names := []string{"a", "b", "c", "d"}
	want := make(map[string]*reckoned)
	for i, name := range names {
		w := &reckoned{priority: []int32{0, 5, 8, 9}[i], position: -1}
		if rng.IntN(3) > 0 {
			w.position = 0
		}
		want[name] = w
		r.topic(byte(i+1), name, "culvert.priority", fmt.Sprint(w.priority), "retention.ms", "3600000")
	}
	forward := func() {
		r.m.SetForwarded(func(p *Partition) (int64, bool) { w := want[p.Topic()]; return max(0, w.position), w.position >= 0 })
	}
	forward()
	check := func() {
		t.Helper()
		for name, w := range want {
			p := r.partition(name, 0)
			if p.StartOffset() < w.start || p.HighWatermark() != w.end {
				t.Fatalf("%s has %d to %d, want %d to %d", name, p.StartOffset(), p.HighWatermark(), w.start, w.end)
			}
			w.goes(p.StartOffset())
			l := Ledger{Accepted: w.end, Stored: w.end - w.start, Expired: w.expired, Lost: w.lost}
			if w.position >= 0 {
				l.Forwards, l.Forwarded = true, max(w.start, w.position)-w.lost
			}
			r.ledger(p, l)
		}
	}
	for range 60 {
		name := names[rng.IntN(len(names))]
		w, p := want[name], r.partition(name, 0)
		switch rng.IntN(10) {
		case 0, 1, 2, 3:
			n := 1 + rng.IntN(8)
			r.fill(p, n, 1000+rng.IntN(90_000))
			w.end += int64(n)
		case 4:
			if w.position >= 0 {
				w.position = max(w.position, w.start, w.end-rng.Int64N(10))
			}
		case 5:
			if to := rng.Int64N(w.end + 1); rng.IntN(3) == 0 {
				if err := p.DeleteRecords(to); err != nil {
					t.Fatal(err)
				}
			}
		case 6:
			r.keepRoom(Limits{MaxBytes: 9<<20 + rng.Int64N(6<<20), SegmentBytes: rng.Int64N(rigSegment)})
			if w := want["d"]; r.partition("d", 0).StartOffset() > w.start { // of the last to go
				for _, lower := range names[:2] {
					if q := r.partition(lower, 0); len(q.records.SealedRuns()) > 0 && q.records.SealedRuns()[0].Next > q.StartOffset() {
						t.Fatalf("d gave way to %d while %s has records in a sealed segment", r.partition("d", 0).StartOffset(), lower)
					}
				}
			}
		case 7:
			r.now, r.up = r.now.Add(20*time.Minute), r.up+20*time.Minute
			if err := r.m.Clean(t.Context(), Limits{}); err != nil {
				t.Fatal(err)
			}
		case 8:
			r.apply(&meta.AlterTopicConfigs{Name: name, Ops: []meta.ConfigOp{{Key: "retention.bytes", Value: fmt.Sprint(rng.IntN(5_000_000))}}})
		case 9:
			r.reopen()
			forward()
		}
		check()
	}
	for _, name := range names {
		r.whole(r.partition(name, 0))
	}
}
