package replica

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

const (
	low, mid, alarms, kept, unknown, gone = 1, 2, 3, 4, 5, 6 // partitions
)

var housing = map[uint32]tenant{
	low: {0, 0, true}, mid: {0, 5, true}, alarms: {0, 9, true}, kept: {0, 5, false},
}

// row makes five shelves of 1000 bytes, all of the same contents: bytes by partition, one byte an offset.
func row(contents map[uint32]int64) []shelf {
	var out []shelf
	for i := range 5 {
		s := shelf{number: uint64(i + 1), bytes: 1000, batches: 1000}
		for _, id := range slices.Sorted(maps.Keys(contents)) {
			b := contents[id]
			if id == gone {
				continue
			}
			s.runs = append(s.runs, run{id, int64(i) * b, int64(i+1) * b, b})
		}
		out = append(out, s)
	}
	return out
}

func room(n int64) need { return need{n, n, math.MaxInt64} }

func TestTopicsGiveWayByPriorityAndTheOldestFirst(t *testing.T) {
	mixed := map[uint32]int64{low: 400, mid: 400, alarms: 200}
	for _, c := range []struct {
		name    string
		shelves []shelf
		need    need
		starts  map[uint32]int64
		rewrite []uint64
		frees   int64
	}{
		{"enough room", row(mixed), room(0), map[uint32]int64{}, nil, 0},
		{"a little", row(mixed), room(1), map[uint32]int64{low: 400}, []uint64{1}, 400},
		{"more than the oldest segment has", row(mixed), room(900), map[uint32]int64{low: 1200}, []uint64{1, 2, 3}, 1200},
		{"all of the lowest priority and some of the next", row(mixed), room(2100), map[uint32]int64{low: 2000, mid: 400}, []uint64{1, 2, 3, 4, 5}, 2400},
		{"alarms, when nothing else is left", row(mixed), room(4100), map[uint32]int64{low: 2000, mid: 2000, alarms: 200}, []uint64{2, 3, 4, 5}, 4200},
		{"everything", row(mixed), room(1e6), map[uint32]int64{low: 2000, mid: 2000, alarms: 1000}, nil, 5000},
		{"alarms do not give way for what is only to spare", row(mixed), need{1e6, 4000, 1000}, map[uint32]int64{low: 2000, mid: 2000}, []uint64{1, 2, 3, 4, 5}, 4000},
		{"alarms give way to a limit", row(mixed), need{1e6, 4001, 1000}, map[uint32]int64{low: 2000, mid: 2000, alarms: 200}, []uint64{2, 3, 4, 5}, 4200},
		{"whole segments need no rewriting", row(map[uint32]int64{mid: 1000}), need{1500, 1500, 0}, map[uint32]int64{mid: 2000}, nil, 2000},
		{"what has no policy delete stays", row(map[uint32]int64{kept: 900, mid: 100}), room(1e6), map[uint32]int64{mid: 500}, []uint64{1, 2, 3, 4, 5}, 500},
		{"what is not known stays", row(map[uint32]int64{unknown: 900, mid: 100}), room(1e6), map[uint32]int64{mid: 500}, []uint64{1, 2, 3, 4, 5}, 500},
		{"deleted topics are dead", row(map[uint32]int64{gone: 500, mid: 500}), room(2000), map[uint32]int64{}, []uint64{1, 2, 3, 4, 5}, 2500},
		{"too little to be worth rewriting", row(map[uint32]int64{low: 50, mid: 950}), room(900), map[uint32]int64{low: 250, mid: 950}, nil, 1000},
		{"before alarms go, it is", row(map[uint32]int64{low: 50, alarms: 950}), room(240), map[uint32]int64{low: 250}, []uint64{1, 2, 3, 4, 5}, 250},
		{"no space for a copy", row(mixed), need{900, 900, 500}, map[uint32]int64{low: 2000, mid: 800}, []uint64{1, 2}, 1600},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := planRoom(c.shelves, housing, c.need)
			if !maps.Equal(p.starts, c.starts) || !slices.Equal(p.rewrite, c.rewrite) || p.frees != c.frees {
				t.Errorf("%+v, want %v, %v, %d", p, c.starts, c.rewrite, c.frees)
			}
		})
	}
}

// The plan of any store keeps the order of priorities: nothing goes of a topic while one of a lower priority has
// something left in a sealed segment, no alarm goes beyond the hard need, and what it claims to free is what it frees.
func TestPlansKeepTheOrderOfPriorities(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for history := range 5000 {
		tenants := make(map[uint32]tenant)
		next := make(map[uint32]int64)
		for id := range uint32(1 + rng.IntN(8)) {
			tenants[id] = tenant{rng.Int64N(300), int32(rng.IntN(10)), rng.IntN(5) > 0}
		}
		var shelves []shelf
		for i := range rng.IntN(10) {
			s := shelf{number: uint64(i)}
			for id := range uint32(9) { // the last is not known
				if n := rng.Int64N(200); rng.IntN(2) == 0 && n > 0 {
					s.batches += n * 10
					s.runs = append(s.runs, run{id, next[id], next[id] + n, n * 10})
					s.bytes += n * 11
					next[id] += n
				}
			}
			if rng.IntN(4) == 0 { // of a partition that was deleted
				s.batches, s.bytes = s.batches+100, s.bytes+110
			}
			shelves = append(shelves, s)
		}
		n := need{room: rng.Int64N(40_000), copy: rng.Int64N(20_000)}
		n.hard = rng.Int64N(n.room + 1)
		p := planRoom(shelves, tenants, n)
		if why := wrong(shelves, tenants, n, p); why != "" {
			t.Fatalf("seed %d, history %d: %s\nshelves %+v\ntenants %+v\nneed %+v\nplan %+v", seed, history, why, shelves, tenants, n, p)
		}
	}
}

func wrong(shelves []shelf, tenants map[uint32]tenant, n need, p plan) string {
	highest := int32(-1)
	for id, to := range p.starts {
		t := tenants[id]
		if !t.deletes || to <= t.start {
			return fmt.Sprintf("partition %d goes to %d", id, to)
		}
		highest = max(highest, t.priority)
	}
	alarmsGo := int64(0)
	for _, s := range shelves {
		for _, r := range s.runs {
			t, ok := tenants[r.id]
			if !ok || !t.deletes {
				continue
			}
			to := max(t.start, p.starts[r.id])
			if t.priority < highest && to < r.next {
				return fmt.Sprintf("priority %d goes while partition %d of %d has offset %d", highest, r.id, t.priority, to)
			}
			if t.priority >= 8 && p.starts[r.id] >= r.next && t.start < r.next {
				alarmsGo++
			}
		}
	}
	all := planRoom(shelves, tenants, need{n.room, 0, n.copy})
	if alarmsGo > 0 && all.frees >= n.hard {
		return "alarms go though the others would be enough"
	}
	if p.frees < min(n.room, n.hard) {
		for _, s := range shelves {
			for _, r := range s.runs {
				if t := tenants[r.id]; t.deletes && max(t.start, p.starts[r.id]) < r.next {
					return "it is not enough, and something is left"
				}
			}
		}
	}
	return ""
}

// A full card of 10 GB: 160 segments with a thousand partitions in each.
func BenchmarkPlanRoom(b *testing.B) {
	tenants := make(map[uint32]tenant)
	for id := range uint32(1000) {
		tenants[id] = tenant{0, 5, true}
	}
	var shelves []shelf
	for i := range int64(160) {
		s := shelf{number: uint64(i), bytes: 64 << 20, batches: 60 << 20}
		for id := range uint32(1000) {
			s.runs = append(s.runs, run{id, i * 1000, (i + 1) * 1000, 60 << 10})
		}
		shelves = append(shelves, s)
	}
	for b.Loop() {
		if p := planRoom(shelves, tenants, room(64<<20)); len(p.starts) != 1000 {
			b.Fatal(len(p.starts))
		}
	}
}
