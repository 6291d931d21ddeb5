package upstream

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/culvert-mq/culvert/log/record"
)

func TestMemoryStaysWithinTheBudgetWhileTheCentreIsAway(t *testing.T) {
	g := newGate()
	r := newRig(t, newCentre(t, g.option()))
	r.cfg.MaxInflightBytes = 1 << 20
	parts := r.source.topic("air", 8)
	f := newFiller(parts, 8, 0)
	f.add(80)
	r.start()
	r.caughtUp()
	g.set(true)
	f.add(80_000)
	eventually(t, func() string {
		if used := r.w.budget.used.Load(); used < 1<<17 {
			return fmt.Sprintf("%d bytes are on their way", used)
		}
		return ""
	})
	for range 100 {
		if used := r.w.budget.used.Load(); used > 1<<20+overrun {
			t.Fatalf("%d bytes are on their way", used)
		}
		runtime.Gosched()
	}
	eventually(t, func() string { // fair: everybody has something on its way
		for _, p := range r.w.Status().Partitions {
			if p.Sent == p.Position {
				return fmt.Sprintf("nothing on its way: %+v", p)
			}
		}
		return ""
	})
	g.set(false)
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 8, 10_010, true)
}

func TestPartitionThatDoesNotMoveLeavesRoomForOthers(t *testing.T) {
	r := newRig(t, newCentre(t))
	r.cfg.MaxInflightBytes = 256 << 10
	r.centre.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "north.air", Err: kerr.NotLeaderForPartition, Count: -1})
	newFiller(r.source.topic("air", 3), 3, 0).add(60_000)
	r.start()
	eventually(t, func() string {
		if s := r.w.Status(); s.InflightBytes < 32<<10 {
			return fmt.Sprintf("%d bytes are on their way", s.InflightBytes)
		}
		return ""
	})
	newFiller(r.source.topic("noise", 1), 4, 0).add(4000)
	eventually(t, func() string {
		s := r.w.Status()
		if len(s.Partitions) != 4 || s.Partitions[3].Lag != 0 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	checkOrder(t, r.consume("north.noise"), 4, 1000, true)
	r.cfg.DrainTimeout = 0
}

func TestPartitionsAtRestCostNoGoroutines(t *testing.T) {
	r := newRig(t, newCentre(t))
	p := r.source.topic("air", 1)
	newFiller(p, 4, 0).add(40)
	r.start()
	r.caughtUp()
	before := runtime.NumGoroutine()
	idle := r.source.topic("idle", 3000)
	r.caughtUp()
	if n := runtime.NumGoroutine(); n > before+20 {
		t.Errorf("%d goroutines, %d before 3000 partitions came", n, before)
	}
	for _, p := range idle {
		p.mu.Lock()
		if p.reads != 0 {
			t.Fatalf("partition %d is read", p.index)
		}
		p.mu.Unlock()
	}
	idle[2999].append(record.None, rec{key: "a", value: "0"})
	r.caughtUp()
}

// Whatever is granted and given back: one that does not move never takes the last of it.
func TestGrantsLeaveSomethingFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := budget{total: rapid.Int64Range(minInflightBytes, 64<<20).Draw(t, "total")}
		held := make([]int64, rapid.IntRange(1, 20).Draw(t, "flows"))
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			i := rapid.IntRange(0, len(held)-1).Draw(t, "flow")
			n := b.grant(held[i])
			if n != 0 && (n < minGrant || n > maxGrant || 4*(held[i]+n) > b.total-b.used.Load()-n) {
				t.Fatalf("%d granted to one with %d of %d, %d used", n, held[i], b.total, b.used.Load())
			}
			b.take(n)
			held[i] += n
		}
		if b.used.Load() > b.total {
			t.Fatalf("%d used of %d", b.used.Load(), b.total)
		}
		// A newcomer still gets something, unless the budget is minute for so many.
		if free := b.total - b.used.Load(); free >= 5*minGrant && b.grant(0) == 0 {
			t.Fatalf("nothing granted of %d", free)
		}
	})
}

func TestChunkTakesWholeBatchesUpToItsGrant(t *testing.T) {
	p := newSource().topic("air", 1)[0]
	value := strings.Repeat("x", 1000)
	for range 20 {
		p.append(record.LZ4, rec{key: "a", value: value}, rec{key: "a", value: value})
	}
	huge := make([]rec, 3000) // decompresses to 3 MB
	for i := range huge {
		huge[i] = rec{key: "a", value: value}
	}
	p.append(record.Zstd, huge...)
	d := newDecoder(1000012)
	var at int64
	for n := 0; ; n++ {
		c, err := d.read(p, at, nil, 64<<10, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			break
		}
		if c.bytes > 64<<10+overrun+2000 {
			t.Fatalf("a chunk of %d bytes", c.bytes)
		}
		if len(c.items) == 0 || c.items[0].offset != at || c.next != at+int64(len(c.items)) {
			t.Fatalf("chunk %d: %d items, next %d", n, len(c.items), c.next)
		}
		if at = c.next; at <= 40 && at%2 != 0 {
			t.Fatalf("a small batch is torn at %d", at)
		}
	}
	if at != 3040 {
		t.Fatalf("the end is %d", at)
	}
}

func TestBackoffDoublesToItsBoundWithJitter(t *testing.T) {
	for n, want := range []time.Duration{1, 1, 2, 4, 8, 10, 10} {
		low, high := time.Hour, time.Duration(0)
		for range 1000 {
			d := backoff(n, time.Second, 10*time.Second)
			low, high = min(low, d), max(high, d)
		}
		if want *= time.Second; high > want || high < want*9/10 || low < want/2 || low > want*6/10 {
			t.Errorf("after %d failures between %v and %v, want %v and half of it", n, low, high, want)
		}
	}
}
