package partition

import (
	"testing"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

func TestCompactionLearnsOfProducersTransactionsAndWhatIsStable(t *testing.T) {
	opt := store.Options{Dir: t.TempDir()}
	st := openStore(t, opt)
	p := newPartitions(t, st, 1)[0]
	add := func(b record.Batch) {
		t.Helper()
		a, err := p.AppendBatch(b)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, a.Commit)
	}
	txn := func(producer int64, n int) record.Batch {
		b := batch(producer, 0, 0, n)
		b[22] |= 1 << 4 // transactional
		b.SetProducer(producer, 0, 0)
		return b
	}
	add(batch(7, 2, 0, 3))                              // 0 to 2
	add(txn(8, 2))                                      // 3, 4
	add(record.NewMarker(8, 0, record.Marker{}, 1000))  // 5
	add(txn(9, 4))                                      // 6 to 9, left open
	add(batch(-1, -1, -1, 1))                           // 10
	add(record.NewMarker(11, 5, record.Marker{}, 1000)) // 11: nothing but a marker
	if err := p.SetCleaned(4); err != nil {
		t.Fatal(err)
	}
	c := p.Compaction()
	if c.Cleaned != 4 || c.Stable != 6 {
		t.Errorf("cleaned %d, stable %d", c.Cleaned, c.Stable)
	}
	if len(c.Aborted) != 1 || c.Aborted[0] != (store.Aborted{Producer: 8, First: 3, Last: 5}) {
		t.Errorf("aborted %+v", c.Aborted)
	}
	want := map[int64]LastBatch{7: {2, 2}, 8: {0, 4}, 9: {0, 9}, 11: {5, -1}}
	for id, w := range want {
		if c.Producers[id] != w {
			t.Errorf("producer %d: %+v, want %+v", id, c.Producers[id], w)
		}
	}
	if len(c.Producers) != len(want) {
		t.Errorf("%d producers", len(c.Producers))
	}
	delete(c.Producers, 7)
	c.Aborted[0].First = 0
	if again := p.Compaction(); len(again.Producers) != 4 || again.Aborted[0].First != 3 {
		t.Errorf("what was handed out is the partition's own: %+v", again)
	}
	if err := p.SetCleaned(2); err != nil || p.Compaction().Cleaned != 4 {
		t.Errorf("cleaned %d, %v", p.Compaction().Cleaned, err)
	}
	if got := st.States()[0].Cleaned; got != 4 {
		t.Errorf("the store says %d", got)
	}
}
