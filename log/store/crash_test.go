package store

import (
	"bytes"
	"errors"
	"testing"

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
	err := s.roll()
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
