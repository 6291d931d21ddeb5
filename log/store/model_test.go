package store

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/culvert-mq/culvert/log/record"
)

// naive is what a partition should be: its batches in memory, and its state by applying them one by one.
type naive struct {
	src     *source
	batches []record.Batch // in force, in order, also before the start
	state   *PartitionState
	blurred bool // producers were forgotten, or their batches are gone: a truncation cannot tell what they had written
}

func (n *naive) next() int64 { return n.state.Next }

// records returns the offsets that can be read.
func (n *naive) records() []int64 {
	var all []int64
	for _, b := range n.batches {
		var r record.Reader
		for _ = r.Reset(b, 1<<20); r.Next(); {
			if r.Record().Offset >= n.state.Start {
				all = append(all, r.Record().Offset)
			}
		}
		r.Close()
	}
	return all
}

// truncate takes the end off: the batch that holds the offset, and all behind it. What is left is applied anew.
func (n *naive) truncate(offset int64) {
	old, all := n.state, offset <= n.state.Start
	if !all {
		i := slices.IndexFunc(n.batches, func(b record.Batch) bool { return b.NextOffset() > offset })
		if i >= 0 {
			offset = min(offset, n.batches[i].BaseOffset())
		}
	}
	n.batches = slices.DeleteFunc(n.batches, func(b record.Batch) bool { return all || b.BaseOffset() >= offset })
	n.state = &PartitionState{PartitionInfo: old.PartitionInfo}
	for _, b := range n.batches {
		n.state.Apply(b)
	}
	n.state.Next, n.state.Start, n.state.Cleaned = offset, min(old.Start, offset), min(old.Cleaned, offset)
	n.state.Epochs = slices.DeleteFunc(old.Epochs, func(e EpochStart) bool { return e.Start >= offset })
	n.state.Aborted = slices.DeleteFunc(old.Aborted, func(a Aborted) bool { return a.Last >= offset })
	n.state.Gone = old.Gone
	n.state.Truncated, n.state.Truncations = old.Truncated, old.Truncations
	n.state.truncate(offset)
}

// model is a store beside what it should hold: values are a function of partition and offset.
type model struct {
	opt  Options
	st   *Store
	live []*naive
	dead []uint32
	num  int32
}

func (m *model) open(rt *rapid.T) {
	m.opt.Metrics = NewMetrics(prometheus.NewRegistry())
	st, err := Open(m.opt)
	if err != nil {
		rt.Fatal(err)
	}
	m.st = st
	for _, d := range st.Damage() {
		rt.Fatalf("damage: %+v", d)
	}
	for _, p := range m.live {
		p.src.st, p.src.next, p.src.group, p.src.queue = st, p.src.durable, nil, nil
	}
}

func (m *model) close(rt *rapid.T) {
	if err := m.st.Close(); err != nil {
		rt.Fatal(err)
	}
}

func (m *model) find(id uint32) *naive {
	if i := slices.IndexFunc(m.live, func(n *naive) bool { return n.src.id == id }); i >= 0 {
		return m.live[i]
	}
	return nil
}

func (m *model) pick(rt *rapid.T) *naive {
	if len(m.live) == 0 {
		rt.Skip("no partition")
	}
	return rapid.SampledFrom(m.live).Draw(rt, "partition")
}

// add appends a batch to both.
func (m *model) add(rt *rapid.T, n *naive, change func(b record.Batch)) *Group {
	g, b, err := n.src.appendBatch(rapid.IntRange(1, 5).Draw(rt, "records"), rapid.SampledFrom([]int{1, 100, 3000, 20_000}).Draw(rt, "size"), change)
	if err != nil {
		rt.Fatal(err)
	}
	n.batches = append(n.batches, b)
	n.state.Apply(b)
	return g
}

func await(rt *rapid.T, groups ...*Group) {
	for _, g := range groups {
		<-g.Done()
		if g.Err() != nil {
			rt.Fatal(g.Err())
		}
	}
}

// check compares everything that can be asked.
func (m *model) check(rt *rapid.T) {
	for _, id := range m.dead {
		if m.st.Log(id) != nil {
			rt.Fatalf("partition %d is back", id)
		}
	}
	states := m.st.States()
	if len(states) != len(m.live) {
		rt.Fatalf("%d partitions, want %d", len(states), len(m.live))
	}
	for _, s := range states {
		n := m.find(s.ID)
		if n == nil {
			rt.Fatalf("partition %d is back", s.ID)
		}
		if !bytes.Equal(s.append(nil), n.state.append(nil)) {
			rt.Fatalf("partition %d:\n%s, want\n%s", s.ID, describe(s), describe(n.state))
		}
		m.checkRecords(rt, n)
	}
}

func (m *model) checkRecords(rt *rapid.T, n *naive) {
	l, want := m.st.Log(n.src.id), n.records()
	var got []int64
	for at := n.state.Start; at < n.next(); {
		sp, err := l.Read(at, n.next(), 32<<10)
		if err != nil {
			rt.Fatalf("partition %d at %d: %v", n.src.id, at, err)
		}
		if len(sp.Batches) == 0 {
			sp.Release()
			break
		}
		for _, b := range sp.Batches {
			if b.NextOffset() <= at {
				rt.Fatalf("partition %d at %d: batch of offsets %d to %d", n.src.id, at, b.BaseOffset(), b.LastOffset())
			}
			var r record.Reader
			for _ = r.Reset(b, 1<<20); r.Next(); {
				rec := r.Record()
				if rec.Offset >= at {
					got = append(got, rec.Offset)
				}
				if v := value(n.src.id, rec.Offset, len(rec.Value)); !b.Attributes().Control() && !bytes.Equal(rec.Value, v) {
					rt.Fatalf("partition %d offset %d: %.20q, want %.20q", n.src.id, rec.Offset, rec.Value, v)
				}
			}
			r.Close()
			at = b.NextOffset()
		}
		sp.Release()
	}
	if !slices.Equal(got, want) {
		rt.Fatalf("partition %d from %d: records %v, want %v", n.src.id, n.state.Start, got, want)
	}
	if sp, err := l.Read(n.next(), math.MaxInt64, 1<<20); err != nil || len(sp.Batches) != 0 {
		rt.Fatalf("partition %d has something behind its end %d: %v", n.src.id, n.next(), err)
	}
	m.checkCounts(rt, n, l, want)
}

func (m *model) checkCounts(rt *rapid.T, n *naive, l *Log, want []int64) {
	from := rapid.Int64Range(n.state.Start, n.next()).Draw(rt, "count from")
	to := rapid.Int64Range(from, n.next()).Draw(rt, "count to")
	count := int64(0)
	for _, off := range want {
		if off >= from && off < to {
			count++
		}
	}
	if c, err := l.Count(from, to); err != nil || c != count {
		rt.Fatalf("partition %d has %d records at %d to %d, want %d, %v", n.src.id, c, from, to, count, err)
	}
	sum, err := l.Ledger()
	if err != nil || sum.Accepted != n.next() || sum.Stored != int64(len(want)) || sum.Expired != n.state.Expired || sum.Lost != n.state.Lost ||
		sum.Accepted != sum.Stored+sum.Expired+sum.Lost+sum.Superseded+sum.Damaged || sum.Superseded < 0 {
		rt.Fatalf("partition %d: %+v, %v; %d to %d, %d records, %+v", n.src.id, sum, err, n.state.Start, n.next(), len(want), n.state.Gone)
	}
}

func describe(p *PartitionState) string {
	s := fmt.Sprintf("%d to %d, cleaned %d, epochs %v, aborted %v, holes %v, %+v, damaged %d", p.Start, p.Next, p.Cleaned, p.Epochs, p.Aborted, p.Holes, p.Gone, p.Damaged)
	for id, pr := range p.Producers {
		s += fmt.Sprintf("; producer %d: %+v", id, *pr)
	}
	return s
}

func TestStoreIsWhatANaiveLogWouldBe(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{opt: testOptions(t.TempDir())}
		m.opt.SegmentBytes, m.opt.JournalBytes, m.opt.DirectBytes, m.opt.AbsorbBytes = 128<<10, 96<<10, 16<<10, 24<<10
		m.open(rt)
		must := func(err error) {
			if err != nil {
				rt.Fatal(err)
			}
		}
		steps := map[string]func(*rapid.T){
			"drop": func(rt *rapid.T) {
				n := m.pick(rt)
				must(m.st.DropPartitions(n.src.id))
				m.dead = append(m.dead, n.src.id)
				m.live = slices.DeleteFunc(m.live, func(o *naive) bool { return o == n })
			},
			"reclaim": func(*rapid.T) {
				_, err := m.st.Reclaim()
				must(err)
			},
			"restart": func(rt *rapid.T) {
				m.close(rt)
				m.open(rt)
			},
			"crash": func(rt *rapid.T) {
				old := m.st
				m.opt.Dir = copyDir(t, m.opt.Dir)
				m.open(rt)
				must(old.Close())
			},
			"": m.check,
		}
		m.appends(steps, must)
		m.changes(steps, must)
		rt.Repeat(steps)
		m.close(rt)
	})
}

// appends are the steps that add to partitions.
func (m *model) appends(steps map[string]func(*rapid.T), must func(error)) {
	steps["create"] = func(rt *rapid.T) {
		if len(m.live) >= 5 {
			rt.Skip("enough partitions")
		}
		src := newSource(rt, m.st, fmt.Sprint("t", m.num), m.num)
		info := PartitionInfo{ID: src.id, Topic: fmt.Sprint("t", m.num), TopicID: [16]byte{byte(m.num), 1}, Index: m.num}
		m.live = append(m.live, &naive{src: src, state: &PartitionState{PartitionInfo: info}})
		m.num++
	}
	steps["append"] = func(rt *rapid.T) { await(rt, m.add(rt, m.pick(rt), nil)) }
	steps["append to several"] = func(rt *rapid.T) {
		var groups []*Group
		for _, n := range m.live {
			groups = append(groups, m.add(rt, n, nil))
		}
		await(rt, groups...)
	}
	steps["append of a producer"] = func(rt *rapid.T) {
		n, id := m.pick(rt), rapid.Int64Range(1, 3).Draw(rt, "producer")
		epoch, seq := int16(0), int32(0)
		pr := n.state.Producers[id]
		if pr != nil {
			epoch = pr.Epoch
			if len(pr.Batches) > 0 {
				seq = pr.Batches[len(pr.Batches)-1].LastSequence + 1
			}
		}
		transactional := pr != nil && pr.TxnStart >= 0 || rapid.Bool().Draw(rt, "transactional")
		await(rt, m.add(rt, n, func(b record.Batch) {
			if transactional {
				b[22] |= 0x10
			}
			b.SetProducer(id, epoch, seq)
		}))
	}
	steps["end a transaction"] = func(rt *rapid.T) {
		n := m.pick(rt)
		for _, id := range []int64{1, 2, 3} {
			pr := n.state.Producers[id]
			if pr == nil || pr.TxnStart < 0 {
				continue
			}
			n.src.mu.Lock()
			g, b, err := n.src.appendReady(record.NewMarker(id, pr.Epoch, record.Marker{Commit: id == 2, CoordinatorEpoch: 1}, 1000))
			n.src.mu.Unlock()
			must(err)
			n.batches = append(n.batches, b)
			n.state.Apply(b)
			await(rt, g)
			return
		}
	}
}

// changes are the steps that change what is there.
func (m *model) changes(steps map[string]func(*rapid.T), must func(error)) {
	steps["epoch"] = func(rt *rapid.T) {
		n, e := m.pick(rt), rapid.Int32Range(1, 50).Draw(rt, "epoch")
		must(m.st.BeginEpoch(n.src.id, e, n.next()))
		n.state.BeginEpoch(e, n.next())
	}
	steps["expire producers"] = func(rt *rapid.T) {
		n, before := m.pick(rt), rapid.Int64Range(1000, 1200).Draw(rt, "before")
		must(m.st.ExpireProducers(before, n.src.id))
		n.state.expireProducers(before)
		n.blurred = true
	}
	steps["start"] = func(rt *rapid.T) {
		n := m.pick(rt)
		to := rapid.Int64Range(n.state.Start, n.next()).Draw(rt, "start")
		count, err := m.st.Log(n.src.id).Count(n.state.Start, to)
		must(err)
		lost := rapid.Int64Range(0, count).Draw(rt, "lost")
		must(m.st.SetStart(n.src.id, to, Gone{count - lost, lost}))
		n.state.moveStart(to, Gone{count - lost, lost})
		n.blurred = n.blurred || to > 0
	}
	steps["truncate"] = func(rt *rapid.T) {
		n := m.pick(rt)
		to := rapid.Int64Range(n.state.Start, n.next()).Draw(rt, "end")
		then, err := m.st.Truncate(n.src.id, to)
		must(err)
		if to < n.next() {
			n.truncate(to)
		}
		n.src.next, n.src.durable = n.next(), n.next()
		if n.blurred {
			n.state.Producers = then.Clone().Producers
		}
		n.state.Gone = then.Gone // where more had left than there is now
	}
	steps["compact"] = func(rt *rapid.T) {
		all := m.st.Segments()
		if len(all) < 2 {
			rt.Skip("nothing is sealed")
		}
		odd := rapid.Int64Range(0, 1).Draw(rt, "which go")
		info := all[rapid.IntRange(0, len(all)-2).Draw(rt, "segment")]
		filter := func(id uint32, b record.Batch) (record.Batch, error) {
			if id%2 != 0 {
				return b, nil
			}
			out, _, err := record.Filter(b, func(r *record.Record) bool { return r.Offset%2 != odd }, -1, 1<<20)
			return out, err
		}
		_, err := m.st.Rewrite(info.Number, filter, nil)
		must(err)
		for id, run := range info.Runs {
			n := m.find(id)
			if n == nil || id%2 != 0 {
				continue
			}
			n.blurred = true
			var kept []record.Batch
			for _, b := range n.batches {
				if b.BaseOffset() >= run.Base && b.NextOffset() <= run.Next {
					b, err = filter(id, b)
					must(err)
				}
				if b != nil {
					kept = append(kept, b)
				}
			}
			n.batches = kept
		}
	}
	steps["cleaned"] = func(rt *rapid.T) {
		n := m.pick(rt)
		to := rapid.Int64Range(0, n.next()).Draw(rt, "cleaned")
		must(m.st.SetCleaned(n.src.id, to))
		n.state.Cleaned = max(n.state.Cleaned, to)
	}
}
