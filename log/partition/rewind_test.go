package partition

import (
	"errors"
	"testing"

	"github.com/culvert-mq/culvert/log/store"
)

func TestPipelinedBatchBehindAFailedOneIsNotTakenBeforeIt(t *testing.T) {
	disk := &fullDisk{}
	st := openStore(t, store.Options{Dir: t.TempDir(), DirectBytes: 16 << 10, Faults: disk})
	p := newPartitions(t, st, 1)[0]
	disk.set(true)
	a, err := p.AppendBatch(batch(7, 0, 0, 5000))
	if err != nil {
		t.Fatal(err)
	}
	if <-a.Commit.Done(); !errors.Is(a.Commit.Err(), store.ErrFull) {
		t.Fatal(a.Commit.Err())
	}
	disk.set(false)
	waitFor(t, "the store to recover", func() bool { return st.Refused() == nil })
	if _, err := p.AppendBatch(batch(7, 0, 5000, 10)); !errors.Is(err, store.ErrOutOfOrderSequence) {
		t.Fatalf("the second batch in the place of the first: %v", err)
	}
	for _, c := range []struct {
		seq int32
		n   int
	}{{0, 5000}, {5000, 10}} {
		a, err := p.AppendBatch(batch(7, 0, c.seq, c.n))
		if err != nil || a.Duplicate || a.BaseOffset != int64(c.seq) {
			t.Fatalf("%+v, %v", a, err)
		}
		wait(t, a.Commit)
	}
}
