package partition

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

func TestTruncationTakesTheEndOffAndItsProducersWithIt(t *testing.T) {
	st := openStore(t, store.Options{Dir: t.TempDir(), AbsorbInterval: time.Hour})
	p := newPartitions(t, st, 1)[0]
	for i := range int32(4) {
		a, err := p.AppendBatch(batch(7, 0, i*2, 2))
		if err != nil {
			t.Fatal(err)
		}
		wait(t, a.Commit)
	}
	p.SetEpoch(3)
	if err := p.BeginEpoch(3); err != nil {
		t.Fatal(err)
	}
	if err := p.Truncate(5); err != nil { // in the batch of offsets 4 and 5
		t.Fatal(err)
	}
	if p.End() != 4 {
		t.Fatalf("end %d, want 4", p.End())
	}
	if e, end := p.EpochEnd(3); e != -1 || end != -1 {
		t.Errorf("epoch 3 is still known: %d ends at %d", e, end)
	}
	if a, err := p.AppendBatch(batch(7, 0, 2, 2)); err != nil || !a.Duplicate || a.BaseOffset != 2 {
		t.Fatalf("batch that is still there: %+v, %v", a, err)
	}
	a, err := p.AppendBatch(batch(7, 0, 4, 2))
	if err != nil || a.Duplicate || a.BaseOffset != 4 {
		t.Fatalf("batch that was truncated: %+v, %v", a, err)
	}
	wait(t, a.Commit)
	want := make([]string, 6)
	for i := range want {
		want[i] = fmt.Sprintf("7/%d", i)
	}
	if got := records(t, p, func(r *record.Record) string { return string(r.Value) }); !slices.Equal(got, want) {
		t.Fatalf("read %v, want %v", got, want)
	}
}

func TestReadersOfCommittedRecordsLearnWhatIsOpenAndWhatWasAborted(t *testing.T) {
	st := openStore(t, store.Options{Dir: t.TempDir()})
	p := newPartitions(t, st, 1)[0]
	add := func(b record.Batch) {
		t.Helper()
		a, err := p.AppendBatch(b)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, a.Commit)
	}
	transactional := func(producer int64, seq int32) record.Batch {
		b := batch(producer, 0, seq, 2)
		b[22] |= 0x10
		b.SetProducer(producer, 0, seq)
		return b
	}
	add(batch(-1, -1, -1, 2))
	add(transactional(7, 0))
	add(transactional(8, 0))
	if p.FirstUnstable() != 2 {
		t.Errorf("first unstable offset %d, want 2", p.FirstUnstable())
	}
	add(record.NewMarker(7, 0, record.Marker{Commit: false}, 1))
	if p.FirstUnstable() != 4 {
		t.Errorf("first unstable offset %d, want 4", p.FirstUnstable())
	}
	add(record.NewMarker(8, 0, record.Marker{Commit: true}, 1))
	if p.FirstUnstable() != p.End() {
		t.Errorf("first unstable offset %d, want the end %d", p.FirstUnstable(), p.End())
	}
	if got, want := p.Aborted(0, 100), []store.Aborted{{Producer: 7, First: 2, Last: 6}}; !slices.Equal(got, want) {
		t.Errorf("aborted %v, want %v", got, want)
	}
	if got := p.Aborted(7, 100); len(got) != 0 {
		t.Errorf("aborted behind the marker: %v", got)
	}
}
