package partition

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/log/store"
)

func TestReadersOfADeletedPartitionAreTold(t *testing.T) {
	st := openStore(t, store.Options{Dir: t.TempDir(), SegmentBytes: 1 << 20, DirectBytes: 16 << 10})
	ps := newPartitions(t, st, 2)
	for range 40 {
		for _, p := range ps {
			_, g, err := p.Append(1, nil, noise(60<<10), nil)
			if err != nil {
				t.Fatal(err)
			}
			wait(t, g)
		}
	}
	p := ps[0]
	p.Close()
	if err := st.DropPartitions(p.ID()); err != nil {
		t.Fatal(err)
	}
	if err := st.SetStart(ps[1].ID(), ps[1].End(), store.Gone{}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Reclaim(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := p.Read(0, math.MaxInt64, 1); !errors.Is(err, ErrGone) {
			t.Errorf("read: %v, want ErrGone", err)
		}
		if _, _, _, err := p.OffsetForTime(0); !errors.Is(err, ErrGone) {
			t.Errorf("by time: %v, want ErrGone", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the reader does not come back")
	}
}
