package upstream

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"pgregory.net/rapid"

	"github.com/culvert-mq/culvert/log/record"
)

// modelCentre is what the flow's records go to in the property test: partitions that take records in order, and a
// producer that fails everything it has for a partition when one record of it fails, as the library does.
type modelCentre struct {
	queues  [][]sent // with the producer, per central partition
	arrived [][]int64
}

type sent struct {
	c *chunk
	i int
}

func (m *modelCentre) send(c *chunk) {
	for i := range c.items {
		it := &c.items[i]
		p := int(it.rec.Key[0]) % len(m.queues)
		it.rec.Partition = int32(p)
		m.queues[p] = append(m.queues[p], sent{c, i})
	}
}

// Whatever fails and however answers come: the position never passes a record that has not arrived; in the end all have;
// and per central partition the last copies are in order.
func TestFlowLosesNothingAndKeepsOrderWhateverFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newSource().topic("air", 1)[0]
		var offsets []int64
		for i := range rapid.IntRange(1, 6).Draw(t, "batches") {
			if i > 0 && rapid.IntRange(0, 4).Draw(t, "gap") == 0 {
				p.end += 3 // offsets that are gone
			}
			var batch []rec
			for range rapid.IntRange(1, 12).Draw(t, "records") {
				offsets = append(offsets, p.end+int64(len(batch)))
				batch = append(batch, rec{key: string(rune('a' + rapid.IntRange(0, 5).Draw(t, "key"))), value: "v"})
			}
			p.append(record.LZ4, batch...)
		}
		central := make(map[int64]int32) // where a record belongs
		m := &modelCentre{queues: make([][]sent, 3), arrived: make([][]int64, 3)}
		b := budget{total: 1 << 20}
		f := newFlow(p, &centralTopic{name: "x"}, 0, -1)
		d := newDecoder(100_000)
		now := time.UnixMilli(t0)
		done := map[int64]bool{}

		settle := func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			freed, _ := f.rewind()
			b.give(freed)
			f.mode = running
		}
		check := func() {
			for _, o := range offsets {
				if o < f.position && !done[o] {
					t.Fatalf("position %d has passed %d, which has not arrived", f.position, o)
				}
			}
		}
		read := func(count int) {
			c, err := d.read(p, f.next, f.skip, 4096, count)
			if err != nil {
				t.Fatal(err)
			}
			if c == nil || f.mode != running {
				return
			}
			for i := range c.items {
				central[c.items[i].offset] = int32(c.items[i].rec.Key[0]) % 3
			}
			b.take(c.bytes)
			held := f.held + c.bytes
			if !f.add(c, running) {
				t.Fatal("not added")
			}
			b.give(held - f.held)
			m.send(c)
		}
		answer := func(q int, n int, err error) {
			for range min(n, len(m.queues[q])) {
				s := m.queues[q][0]
				m.queues[q] = m.queues[q][1:]
				if err == nil {
					o := s.c.items[s.i].offset
					m.arrived[q] = append(m.arrived[q], o)
					done[o] = true
				}
				freed, drained := f.done(s.c, s.i, err, now)
				b.give(freed)
				if drained {
					settle()
				}
				check()
			}
		}

		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			q := rapid.IntRange(0, 2).Draw(t, "partition")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				read(rapid.IntRange(1, 10).Draw(t, "count"))
			case 2, 3:
				answer(q, rapid.IntRange(1, 5).Draw(t, "n"), nil)
			case 4:
				answer(q, len(m.queues[q]), kerr.InvalidRecord) // all of the partition
			case 5:
				if rapid.Bool().Draw(t, "all") {
					for q := range m.queues {
						answer(q, len(m.queues[q]), errors.New("closed"))
					}
				}
			}
		}
		for round := 0; f.position < p.end; round++ {
			for q := range m.queues {
				answer(q, len(m.queues[q]), nil)
			}
			read(100)
			if round > 200 {
				t.Fatalf("the position stays at %d of %d", f.position, p.end)
			}
		}
		for q, got := range m.arrived {
			var last []int64
			for _, o := range slices.Backward(got) {
				if !slices.Contains(last, o) {
					last = append(last, o)
				}
				if int(central[o]) != q {
					t.Fatalf("%d has arrived in partition %d", o, q)
				}
			}
			slices.Reverse(last)
			if !slices.IsSorted(last) {
				t.Fatalf("partition %d: last copies in the order %v of %v", q, last, got)
			}
		}
		if len(done) != len(offsets) || b.used.Load() != 0 || f.held != 0 || f.pending != 0 || len(f.chunks) != 0 {
			t.Fatalf("%d of %d records, %d bytes used, %d held, %d pending", len(done), len(offsets), b.used.Load(), f.held, f.pending)
		}
		if want := p.end - int64(len(offsets)); f.total.lost != want {
			t.Fatalf("%d lost, want %d", f.total.lost, want)
		}
	})
}

func TestRecordsThatArrivedInOrderAreNotSentTwiceAfterAFailure(t *testing.T) {
	p := newSource().topic("air", 1)[0]
	p.append(record.None, rec{key: "a", value: "0"}, rec{key: "b", value: "1"}, rec{key: "a", value: "2"}, rec{key: "b", value: "3"},
		rec{key: "a", value: "4"})
	d := newDecoder(100_000)
	f := newFlow(p, &centralTopic{}, 0, -1)
	c, err := d.read(p, 0, nil, 4096, 100)
	if err != nil || !f.add(c, running) {
		t.Fatal(err)
	}
	for i := range c.items {
		c.items[i].rec.Partition = int32(c.items[i].rec.Key[0])
	}
	for i, err := range []error{nil, nil, kerr.InvalidRecord, nil, nil} { // 4 overtakes 2
		f.done(c, i, err, time.Now())
	}
	if _, again := f.rewind(); again != 2 || f.position != 2 || fmt.Sprint(f.skip) != "[3]" {
		t.Fatalf("position %d, skip %v, again %d", f.position, f.skip, again)
	}
	c, err = d.read(p, f.next, f.skip, 4096, 100)
	if err != nil || len(c.items) != 2 || c.items[0].offset != 2 || c.items[1].offset != 4 || c.next != 5 {
		t.Fatalf("%+v, %v", c, err)
	}
}
