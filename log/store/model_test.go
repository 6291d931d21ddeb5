package store

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"
)

// modelPartition is what a partition should be.
type modelPartition struct {
	src   *source
	start int64
}

// model is a store beside what it should hold: values are a function of partition and offset.
type model struct {
	t    *testing.T
	opt  Options
	st   *Store
	live []*modelPartition
	dead []uint32
	next int32
}

func (m *model) open(rt *rapid.T) {
	m.opt.Metrics = NewMetrics(prometheus.NewRegistry())
	st, err := Open(m.opt)
	if err != nil {
		rt.Fatal(err)
	}
	m.st = st
	for _, p := range m.live {
		p.src.st, p.src.next, p.src.group, p.src.queue = st, p.src.durable, nil, nil
	}
}

func (m *model) close(rt *rapid.T) {
	if err := m.st.Close(); err != nil {
		rt.Fatal(err)
	}
}

func (m *model) check(rt *rapid.T) {
	for _, id := range m.dead {
		if m.st.Log(id) != nil {
			rt.Fatalf("partition %d is back", id)
		}
	}
	states := make(map[uint32]*PartitionState)
	for _, s := range m.st.States() {
		states[s.ID] = s
	}
	for _, p := range m.live {
		verify(rt, m.st, p.src.id, p.start, p.src.durable)
		if l := m.st.Log(p.src.id); l != nil {
			sp, err := l.Read(p.src.durable, p.src.durable+1000, 1<<20)
			if err != nil || len(sp.Batches) != 0 {
				rt.Fatalf("partition %d has something behind its end %d: %v", p.src.id, p.src.durable, err)
			}
		}
	}
}

// checkStates holds after everything pending was absorbed.
func (m *model) checkStates(rt *rapid.T) {
	states := m.st.States()
	if len(states) != len(m.live) {
		rt.Fatalf("%d partitions, want %d", len(states), len(m.live))
	}
	for _, s := range states {
		for _, p := range m.live {
			if p.src.id == s.ID && (s.Start != p.start || s.Next != p.src.durable) {
				rt.Fatalf("partition %d: %d to %d, want %d to %d", s.ID, s.Start, s.Next, p.start, p.src.durable)
			}
		}
	}
}

func TestStoreIsWhatANaiveLogWouldBe(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{t: t, opt: testOptions(t.TempDir())}
		m.opt.SegmentBytes, m.opt.JournalBytes, m.opt.DirectBytes, m.opt.AbsorbBytes = 128<<10, 96<<10, 16<<10, 24<<10
		m.open(rt)
		pick := func() *modelPartition {
			if len(m.live) == 0 {
				rt.Skip("no partition")
			}
			return rapid.SampledFrom(m.live).Draw(rt, "partition")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"create": func(rt *rapid.T) {
				if len(m.live) >= 5 {
					rt.Skip("enough partitions")
				}
				m.live = append(m.live, &modelPartition{src: newSource(rt, m.st, fmt.Sprint("t", m.next), m.next)})
				m.next++
			},
			"append": func(rt *rapid.T) {
				pick().src.mustAppend(rt, rapid.IntRange(1, 5).Draw(rt, "records"), rapid.SampledFrom([]int{1, 100, 3000, 20_000}).Draw(rt, "size"))
			},
			"append to several": func(rt *rapid.T) {
				var groups []*Group
				for _, p := range m.live {
					g, err := p.src.append(1, rapid.SampledFrom([]int{1, 2000}).Draw(rt, "size"))
					if err != nil {
						rt.Fatal(err)
					}
					groups = append(groups, g)
				}
				for _, g := range groups {
					<-g.Done()
				}
			},
			"start": func(rt *rapid.T) {
				p := pick()
				p.start = rapid.Int64Range(p.start, p.src.durable).Draw(rt, "start")
				if err := m.st.SetStart(p.src.id, p.start, Gone{}); err != nil {
					rt.Fatal(err)
				}
			},
			"drop": func(rt *rapid.T) {
				p := pick()
				if err := m.st.DropPartitions(p.src.id); err != nil {
					rt.Fatal(err)
				}
				m.dead = append(m.dead, p.src.id)
				for i, q := range m.live {
					if q == p {
						m.live = append(m.live[:i], m.live[i+1:]...)
						break
					}
				}
			},
			"reclaim": func(rt *rapid.T) {
				if _, err := m.st.Reclaim(); err != nil {
					rt.Fatal(err)
				}
				m.checkStates(rt)
			},
			"restart": func(rt *rapid.T) {
				m.close(rt)
				m.open(rt)
				m.checkStates(rt)
			},
			"crash": func(rt *rapid.T) {
				old := m.st
				m.opt.Dir = copyDir(t, m.opt.Dir)
				m.open(rt)
				if err := old.Close(); err != nil {
					rt.Fatal(err)
				}
				m.checkStates(rt)
			},
			"": m.check,
		})
		m.close(rt)
	})
}
