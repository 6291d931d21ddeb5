package replica

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/log/compact"
	"github.com/culvert-mq/culvert/log/store"
)

func TestMaintainCompactsByItself(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(nil)
	for i := range 3000 {
		r.put(p, "a", fmt.Sprint(i))
	}
	r.settle(r.put(p, "b", "1"))
	r.seal(other)
	ctx, stop := context.WithCancel(t.Context())
	var maintained sync.WaitGroup
	maintained.Go(func() { r.m.Maintain(ctx, 10*time.Millisecond, Limits{}) })
	defer maintained.Wait()
	defer stop()
	r.shed(other)
	waitFor(t, "the topic to be compacted", func() bool { return p.Ledger().Superseded > 0 })
	r.wantContents(p, "2999:a=2999", "3000:b=1")
}

func TestReadersAndWritersGoOnWhileTopicsAreCompacted(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(nil)
	r.eager()
	ctx, stop := context.WithCancel(t.Context())
	var writing, beside sync.WaitGroup
	latest := make([]map[string]string, 3)
	for w := range latest {
		latest[w] = make(map[string]string)
		writing.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 7))
			for i := range 150 {
				var last *store.Group
				for range 10 {
					key, value := fmt.Sprint("w", w, "-", rnd.IntN(30)), fmt.Sprint(i, strings.Repeat("+", rnd.IntN(300)))
					latest[w][key] = value
					last = r.put(p, key, value)
				}
				<-last.Done()
				if i%10 == 0 {
					r.fill(other, 2, 60<<10)
				}
			}
		})
	}
	beside.Go(func() {
		for ctx.Err() == nil {
			if err := r.m.Compact(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	beside.Go(func() {
		for ctx.Err() == nil {
			if err := r.m.Clean(ctx, Limits{MaxBytes: 5 << 20, SegmentBytes: 1 << 20}); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		beside.Go(func() {
			for ctx.Err() == nil {
				before := int64(-1)
				for _, rec := range r.contents(p) {
					text, _, _ := strings.Cut(rec, ":")
					at, err := strconv.ParseInt(text, 10, 64)
					if err != nil || at <= before {
						t.Errorf("offset %s behind %d", text, before)
						return
					}
					before = at
				}
			}
		})
	}
	writing.Wait()
	stop()
	beside.Wait()
	r.compact()
	got := make(map[string]string)
	for _, rec := range r.contents(p) {
		_, rec, _ = strings.Cut(rec, ":")
		k, v, _ := strings.Cut(rec, "=")
		got[k] = v
	}
	want := make(map[string]string)
	for _, l := range latest {
		maps.Copy(want, l)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("%d keys, want %d", len(got), len(want))
	}
	if l := p.Ledger(); l.Accepted != 4500 || l.Superseded < 2000 || l.Stored != int64(len(r.contents(p))) {
		t.Fatalf("%+v with %d records", l, len(r.contents(p)))
	}
}

func TestRetentionDoesNotWaitForCompactionThatGivesWay(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(nil)
	for i := range 20_000 {
		r.put(p, "a", fmt.Sprint(i, strings.Repeat("x", 100)))
	}
	r.settle(r.put(p, "b", "1"))
	r.seal(other)
	r.eager()
	hurry := r.m.compactor.pacer.Hurry
	r.m.compactor.pacer.Hurry = func() bool {
		if r.m.compactor.log.copying.Load() {
			r.m.compactor.pacer.Rate = 1 // from now on it would take days
		}
		return hurry()
	}
	done := make(chan error)
	go func() { done <- r.m.Compact(t.Context()) }()
	waitFor(t, "a segment to be written anew", r.m.compactor.log.copying.Load)
	st := r.st.Stats()
	begin := time.Now()
	if err := r.m.KeepRoom(t.Context(), Limits{MaxBytes: (st.SegmentBytes + st.JournalBytes) / 2, SegmentBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("room took %v", took)
	}
	r.m.hurry.Add(1) // so that it comes to its end
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A copy of the directory, made while compaction is at work, is what a killed process leaves behind: it reads right, and
// compaction comes to its end on it.
func TestKillDuringCompactionLosesNothing(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(nil)
	rnd := rand.New(rand.NewPCG(1, 2))
	latest := make(map[string]string)
	for round := range 6 {
		var g *store.Group
		for i := range 400 {
			key := fmt.Sprint("k", rnd.IntN(100))
			g = r.put(p, key, fmt.Sprint(round, "/", i))
			latest[key] = fmt.Sprint(round, "/", i)
		}
		r.settle(g)
		r.seal(other)
	}
	want := slices.Sorted(maps.Keys(latest))
	check := func(r *rig, p *Partition) {
		t.Helper()
		got := make(map[string]string)
		for _, rec := range r.contents(p) {
			_, rec, _ = strings.Cut(rec, ":")
			k, v, _ := strings.Cut(rec, "=")
			got[k] = v
		}
		if !slices.Equal(slices.Sorted(maps.Keys(got)), want) || !maps.Equal(got, latest) {
			t.Fatalf("%d keys, want %d", len(got), len(want))
		}
		if l := p.Ledger(); l.Stored != int64(len(r.contents(p))) || l.Stored+l.Superseded != l.Accepted || l.Accepted != 2400 {
			t.Fatalf("ledger %+v with %d records", l, len(r.contents(p)))
		}
	}
	var copies []string
	r.shed(other)
	in := r.m.compactor.partitions()
	_, err := r.m.compactor.cleaner.Pass(t.Context(), in, compact.Conditions{Now: r.now, Timed: true, Pace: func(int64) error {
		if r.m.compactor.log.copying.Load() || len(copies)%7 == 0 {
			dir := filepath.Join(t.TempDir(), fmt.Sprint(len(copies)))
			copies = append(copies, dir)
			return os.CopyFS(dir, os.DirFS(r.dir))
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	check(r, p)
	if len(copies) < 6 {
		t.Fatalf("killed %d times", len(copies))
	}
	for _, dir := range copies {
		k := &rig{t: t, dir: dir, state: r.state, now: r.now}
		k.open()
		k.apply()
		p := k.partition("compacted", 0)
		check(k, p)
		k.compact()
		check(k, p)
		if n := len(k.contents(p)); n != len(latest) {
			t.Fatalf("%d records, want %d", n, len(latest))
		}
		k.reopen()
		check(k, k.partition("compacted", 0))
		k.close()
	}
}
