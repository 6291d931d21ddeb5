package store

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// reopen opens a copy of a store's directory: what the next start finds after SIGKILL.
func reopen(t *testing.T, opt Options) *Store {
	t.Helper()
	opt.Dir, opt.Metrics, opt.Faults = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry()), nil
	return openTest(t, opt)
}

func TestNothingIsReplayedTwiceBehindAnEmptySegment(t *testing.T) {
	opt := testOptions(t.TempDir())
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	for range 5 {
		p.mustAppend(t, 2, 100)
	}
	if err := s.absorb(nil); err != nil {
		t.Fatal(err)
	}
	s.absorbMu.Lock()
	err := s.roll(0)
	want, seq, size := s.state.encode(), s.active.Load().last, s.Log(p.id).Size()
	s.absorbMu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	s2 := reopen(t, opt)
	if s2.seq != seq {
		t.Errorf("newest group %d, want %d", s2.seq, seq)
	}
	if got := s2.Log(p.id).Size(); got != size {
		t.Errorf("%d bytes, want %d: groups were absorbed twice", got, size)
	}
	if !bytes.Equal(s2.state.encode(), want) {
		t.Error("another state")
	}
	verify(t, s2, p.id, 0, p.durable)
}

func TestNothingIsCommittedToASegmentThatIsSealed(t *testing.T) {
	opt := testOptions(t.TempDir())
	f := &faults{fail: map[string]error{}}
	opt.Faults = f
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	for s.Stats().SegmentBytes < opt.SegmentBytes*8/10 {
		p.mustAppend(t, 4, 20<<10)
	}
	f.set("segment.create", unix.ENOSPC)
	g, err := p.append(15, 20<<10) // does not fit any more: the segment is sealed, the next one cannot be made
	if err != nil {
		t.Fatal(err)
	}
	if <-g.Done(); !errors.Is(g.Err(), ErrFull) {
		t.Fatalf("%v, want ErrFull", g.Err())
	}
	f.set("segment.create", nil)
	waitFor(t, "appends to be taken again", func() bool { return s.Refused() == nil })
	for range 3 {
		p.mustAppend(t, 1, 100)
	}
	if err := s.absorb(nil); err != nil {
		t.Fatal(err)
	}
	verify(t, s, p.id, 0, p.durable)
	verify(t, reopen(t, opt), p.id, 0, p.durable)
}

// panics panics at a step, as reading a mapped page does that the device cannot give.
type panics struct {
	faults
	step string
}

func (p *panics) Before(step, path string) error {
	if err := p.faults.Before(step, path); err != nil && step == p.step {
		panic(err)
	} else {
		return err
	}
}

func TestFaultWhileCommittingFailsTheDeviceNotTheProcess(t *testing.T) {
	opt := testOptions(t.TempDir())
	f := &panics{faults{fail: map[string]error{}}, "segment.write"}
	opt.Faults = f
	s := openTest(t, opt) // its Close must come back
	p := newSource(t, s, "p", 0)
	p.mustAppend(t, 1, 100)
	f.set("segment.write", unix.EIO)
	g, err := p.append(4, 20<<10)
	if err != nil {
		t.Fatal(err)
	}
	if <-g.Done(); !errors.Is(g.Err(), ErrFailed) {
		t.Fatalf("%v, want ErrFailed", g.Err())
	}
	f.set("segment.write", nil)
	if err := s.absorb(nil); !errors.Is(err, ErrFailed) {
		t.Fatalf("a device that failed was written to: %v", err)
	}
	verify(t, s, p.id, 0, p.durable)
	verify(t, reopen(t, opt), p.id, 0, p.durable)
}

func TestFullDiskAtAnyStepLosesNothingAndIsRecoveredFrom(t *testing.T) {
	for _, step := range []string{"journal.write", "journal.sync", "segment.commit", "segment.write", "segment.seal", "segment.create", "segment.rewrite", "segment.remove", "store.space"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			opt := testOptions(t.TempDir())
			opt.MinFreeBytes = 1
			opt.SegmentBytes = 256 << 10
			f := &faults{fail: map[string]error{}}
			opt.Faults = f
			s := openTest(t, opt)
			p, q := newSource(t, s, "p", 0), newSource(t, s, "q", 1)
			failed := 0
			for i := range 50 {
				if i%20 == 4 {
					f.set(step, unix.ENOSPC)
				}
				size := []int{100, 3000, 40_000}[i%3]
				for _, src := range []*source{p, q} {
					g, err := src.append(1+i%2, size)
					if err == nil {
						<-g.Done()
						err = g.Err()
					}
					if err != nil && !errors.Is(err, ErrFull) {
						t.Fatal(err)
					}
					if err != nil {
						failed++
					}
				}
				if i%20 == 6 {
					_ = s.SetStart(q.id, max(0, q.durable-3), Gone{})
					_, _ = s.Reclaim()
				}
				if i%20 == 8 {
					verify(t, s, p.id, 0, p.durable)
					f.set(step, nil)
					waitFor(t, "appends to be taken again", func() bool { return s.absorb(nil) == nil && s.Refused() == nil })
				}
				if i%20 == 7 || i%20 == 16 {
					verify(t, reopen(t, opt), p.id, 0, p.durable)
				}
			}
			t.Logf("%d appends failed", failed)
			verify(t, s, p.id, 0, p.durable)
			s2 := reopen(t, opt)
			verify(t, s2, p.id, 0, p.durable)
			for _, st := range s2.States() {
				if want := map[uint32]int64{p.id: p.durable, q.id: q.durable}[st.ID]; st.Next != want {
					t.Errorf("partition %d ends at %d, want %d", st.ID, st.Next, want)
				}
			}
		})
	}
}

func TestMoreOperationsThanTheJournalHoldsAreCommitted(t *testing.T) {
	opt := testOptions(t.TempDir())
	s := openTest(t, opt)
	infos := make([]PartitionInfo, opt.JournalBytes/40)
	for i := range infos {
		infos[i] = PartitionInfo{Topic: "a topic of many partitions", Index: int32(i)}
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.CreatePartitions(infos)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the committer hangs")
	}
	if n := len(reopen(t, opt).States()); n != len(infos) {
		t.Fatalf("%d of %d partitions", n, len(infos))
	}
}

func TestShortageWhileRollingIsTemporary(t *testing.T) {
	opt := testOptions(t.TempDir())
	f := &faults{fail: map[string]error{}}
	opt.Faults = f
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	for s.Stats().SegmentBytes < opt.SegmentBytes*8/10 {
		p.mustAppend(t, 4, 20<<10)
	}
	f.set("segment.create", unix.EMFILE)
	g, err := p.append(15, 20<<10)
	if err != nil {
		t.Fatal(err)
	}
	if <-g.Done(); !errors.Is(g.Err(), ErrFull) {
		t.Fatalf("%v, want ErrFull", g.Err())
	}
	f.set("segment.create", nil)
	waitFor(t, "appends to be taken again", func() bool { return s.Refused() == nil })
	p.mustAppend(t, 15, 20<<10)
	verify(t, s, p.id, 0, p.durable)
}

func TestCancelledFrameIsNotReplayedInThePlaceOfItsSuccessor(t *testing.T) {
	opt := testOptions(t.TempDir())
	opt.AbsorbBytes = 1 << 30
	f := &faults{fail: map[string]error{}}
	opt.Faults = f
	s := openTest(t, opt)
	p, q := newSource(t, s, "p", 0), newSource(t, s, "q", 1)
	for s.journal.head < s.journal.size-6*blockSize { // near the end of the ring
		p.mustAppend(t, 1, 3000)
	}
	if err := s.absorb(nil); err != nil {
		t.Fatal(err)
	}
	at := s.journal.head
	f.set("journal.sync", unix.ENOSPC)
	g, err := q.append(1, 100) // fits there, and is written
	if err != nil {
		t.Fatal(err)
	}
	if <-g.Done(); !errors.Is(g.Err(), ErrFull) {
		t.Fatalf("%v, want ErrFull", g.Err())
	}
	f.set("journal.sync", nil)
	waitFor(t, "appends to be taken again", func() bool { return s.Refused() == nil })
	p.mustAppend(t, 1, 28_000) // does not fit there and goes to the ring's beginning
	s2 := reopen(t, opt)
	verify(t, s2, p.id, 0, p.durable)
	head := make([]byte, frameHeader)
	if _, err := s.journal.f.ReadAt(head, blockSize+at); err != nil {
		t.Fatal(err)
	}
	if f, ok := s.journal.header(head, at); ok && f.seq == s.seq {
		t.Error("two frames have one sequence")
	}
	if n := s2.Log(q.id).Size(); n != 0 {
		t.Fatal("the cancelled group is back")
	}
}
