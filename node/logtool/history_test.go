package logtool

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/node/logtool/logtest"
)

// history does to a log whatever can be done to one, at random.
type history struct {
	t   *testing.T
	rnd *rand.Rand
	w   *logtest.Writer
	dir string
	did []string
}

func (h *history) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%v\nafter %v", err, h.did)
	}
}

func (h *history) reopen() {
	var err error
	h.w, err = logtest.Reopen(logtest.Options(h.dir))
	h.must(err)
}

func (h *history) step() {
	n := h.w.Partitions()
	i := h.rnd.IntN(n)
	p := h.w.Partition(i)
	do := func(format string, args ...any) { h.did = append(h.did, fmt.Sprintf(format, args...)) }
	switch h.rnd.IntN(14) {
	case 0:
		to := p.Start() + h.rnd.Int64N(p.End()-p.Start()+1)
		count, err := h.w.Store.Log(p.ID()).Count(p.Start(), to)
		h.must(err)
		do("start of %d to %d", p.ID(), to)
		h.must(h.w.Store.SetStart(p.ID(), to, store.Gone{Expired: count}))
		h.restart()
	case 1:
		to := p.Start() + h.rnd.Int64N(p.End()-p.Start()+1)
		do("truncate %d to %d", p.ID(), to)
		_, err := h.w.Store.Truncate(p.ID(), to)
		h.must(err)
		h.restart()
	case 2:
		if n > 2 {
			do("drop %d", p.ID())
			h.must(h.w.Store.DropPartitions(p.ID()))
			h.restart()
		}
	case 3:
		do("reclaim")
		_, err := h.w.Store.Reclaim()
		h.must(err)
	case 4, 5:
		all := h.w.Store.Segments()
		if len(all) < 2 {
			return
		}
		s := all[h.rnd.IntN(len(all)-1)]
		odd := h.rnd.Int64N(2)
		do("compact segment %d", s.Number)
		_, err := h.w.Store.Rewrite(s.Number, func(id uint32, b record.Batch) (record.Batch, error) {
			if id%2 != 0 {
				return b, nil
			}
			out, _, err := record.Filter(b, func(r *record.Record) bool { return r.Offset%2 != odd }, -1, 1<<20)
			return out, err
		}, nil)
		h.must(err)
		for id, run := range s.Runs {
			if id%2 == 0 {
				h.must(h.w.Store.SetCleaned(id, run.Next))
			}
		}
	case 6:
		do("restart")
		h.restart()
	default:
		records, size := 1+h.rnd.IntN(3), []int{20, 500, 3000, 9000}[h.rnd.IntN(4)]
		do("append to %d: %d of %d", p.ID(), records, size)
		h.must(h.w.Append(i, records, size))
	}
}

func (h *history) restart() {
	h.must(h.w.Store.Close())
	h.reopen()
}

// TestNoHistoryOfALogIsTakenForDamage verifies logs after random histories, closed and killed.
func TestNoHistoryOfALogIsTakenForDamage(t *testing.T) {
	const histories, steps = 12, 60
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range histories {
		dir := filepath.Join(t.TempDir(), "log")
		w, err := logtest.New(logtest.Options(dir))
		if err != nil {
			t.Fatal(err)
		}
		h := &history{t: t, rnd: rnd, w: w, dir: dir}
		for i := range steps {
			h.step()
			if i%6 != 0 {
				continue
			}
			killed := copyOf(t, dir)
			target := find(t, killed)
			v := verified(t, target)
			if !v.Whole() || v.Notes > 0 {
				t.Fatalf("seed %d: %v\nafter %v", seed, v.Problems, h.did)
			}
			in, err := target.Inspect(t.Context())
			h.must(err)
			for _, p := range in.Partitions {
				ledger, err := h.w.Store.Log(p.ID).Ledger()
				h.must(err)
				if p.Stored != ledger.Stored || p.Superseded != ledger.Superseded || p.Next != ledger.Accepted {
					t.Fatalf("seed %d: %+v, the store says %+v\nafter %v", seed, p, ledger, h.did)
				}
			}
			got, _ := dumped(t, target, everything)
			if want := stored(t, killed); len(without(got, want))+len(without(want, got)) > 0 {
				t.Fatalf("seed %d: dumped %d records, the store serves %d\nafter %v", seed, len(got), len(want), h.did)
			}
		}
		h.must(h.w.Store.Close())
		if v := verified(t, find(t, dir)); !v.Whole() || v.Notes > 0 {
			t.Fatalf("seed %d: %v\nafter %v", seed, v.Problems, h.did)
		}
	}
}
