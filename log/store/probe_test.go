package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stuck is a device whose syncs can be held up.
type stuck struct {
	mu    sync.Mutex // held by who holds up
	syncs int        // guarded by mu
}

func (d *stuck) Before(step, _ string) error {
	if step == "journal.sync" {
		d.mu.Lock()
		d.syncs++
		d.mu.Unlock()
	}
	return nil
}

func (d *stuck) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

func TestAProbeSyncsOnlyWhereNoGroupHasSince(t *testing.T) {
	opt := testOptions(t.TempDir())
	d := &stuck{}
	opt.Faults = d
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	probe := func() {
		t.Helper()
		if err := s.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	probe()
	before := d.count()
	probe()
	probe()
	if got := d.count(); got != before+2 {
		t.Fatalf("%d syncs of two probes of an idle log", got-before)
	}
	p.mustAppend(t, 1, 100)
	before = d.count()
	probe()
	if got := d.count(); got != before {
		t.Fatalf("a probe synced although a group just had")
	}
	probe()
	if got := d.count(); got != before+1 {
		t.Fatalf("%d syncs of a probe of an idle log", got-before)
	}
}

func TestProbesLeaveNothingInTheLogWhereverTheJournalIs(t *testing.T) {
	opt := testOptions(t.TempDir())
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	for i := range 200 { // the ring has 64 blocks, and is absorbed from the 16th on
		p.mustAppend(t, 1, 3000)
		for range 2 {
			if err := s.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if i%10 > 0 {
			continue
		}
		again := reopen(t, opt)
		verify(t, again, p.id, 0, p.durable)
		if d := again.Damage(); len(d) > 0 {
			t.Fatalf("after %d groups: damage %v", i+1, d)
		}
	}
}

func TestAProbeOfALogThatHangsEndsWithItsContext(t *testing.T) {
	opt := testOptions(t.TempDir())
	d := &stuck{}
	opt.Faults = d
	s := openTest(t, opt)
	d.mu.Lock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("probe of a log that hangs: %v", err)
	}
	d.mu.Unlock()
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("probe of a log that hung: %v", err)
	}
}

func TestAProbeTellsAFailedDeviceFromAFullOne(t *testing.T) {
	opt := testOptions(t.TempDir())
	f := &faults{fail: map[string]error{}}
	opt.Faults = f
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	p.mustAppend(t, 1, 100)
	f.set("segment.commit", unix.ENOSPC)
	signal(s.absorbNow)
	waitFor(t, "the full device", func() bool { return errors.Is(s.Refused(), ErrFull) })
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("a full device has its journal: %v", err)
	}
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("a full device has its journal: %v", err)
	}
	f.set("journal.write", unix.ENOSPC)
	if err := s.Probe(t.Context()); !errors.Is(err, ErrFull) {
		t.Errorf("probe without room: %v, want ErrFull", err)
	}
	f.set("journal.write", nil)
	f.set("journal.sync", unix.EIO)
	if err := s.Probe(t.Context()); !errors.Is(err, ErrFailed) || !errors.Is(s.Refused(), ErrFailed) {
		t.Errorf("probe of a broken device: %v, want ErrFailed", err)
	}
	f.set("journal.sync", nil)
	if err := s.Probe(t.Context()); !errors.Is(err, ErrFailed) {
		t.Errorf("probe after a failure: %v, want ErrFailed", err)
	}
}
