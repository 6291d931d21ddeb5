package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// fullWhileHeld is a device that is full as long as the reserve is held.
type fullWhileHeld struct {
	reserve string
	faults
}

func (f *fullWhileHeld) Before(step, path string) error {
	if err := f.faults.Before(step, path); err != nil {
		if _, e := os.Stat(f.reserve); e == nil {
			return err
		}
	}
	return nil
}

func TestUrgentRecordsAreTakenWhenTheDeviceIsFullForOthers(t *testing.T) {
	opt := testOptions(t.TempDir())
	opt.ReserveBytes = 1 << 20
	f := &fullWhileHeld{filepath.Join(opt.Dir, reserveName), faults{fail: map[string]error{}}}
	opt.Faults = f
	s := openTest(t, opt)
	if s.Stats().ReserveBytes != opt.ReserveBytes {
		t.Fatalf("%d bytes are held, want %d", s.Stats().ReserveBytes, opt.ReserveBytes)
	}
	telemetry, alarms := newSource(t, s, "telemetry", 0), newSource(t, s, "alarms", 1)
	alarms.urgent = true
	telemetry.mustAppend(t, 2, 100)
	f.set("segment.commit", unix.ENOSPC)
	g, err := telemetry.append(4, 20<<10)
	if err != nil {
		t.Fatal(err)
	}
	if <-g.Done(); !errors.Is(g.Err(), ErrFull) {
		t.Fatalf("telemetry: %v, want ErrFull", g.Err())
	}
	if _, err := telemetry.append(1, 100); !errors.Is(err, ErrFull) {
		t.Fatalf("telemetry: %v, want ErrFull", err)
	}
	alarms.mustAppend(t, 1, 100) // into the journal
	if s.Stats().ReserveBytes == 0 {
		t.Error("the reserve was given up for nothing")
	}
	alarms.mustAppend(t, 4, 20<<10)
	if s.Stats().ReserveBytes != 0 {
		t.Error("the reserve is held still")
	}
	verify(t, s, telemetry.id, 0, telemetry.durable)
	verify(t, s, alarms.id, 0, alarms.durable)
	f.set("segment.commit", nil)
	waitFor(t, "telemetry to be taken, and the reserve to be held again", func() bool {
		return s.absorb(nil) == nil && s.Refused() == nil && s.Stats().ReserveBytes == opt.ReserveBytes
	})
	verify(t, reopen(t, opt), alarms.id, 0, alarms.durable)
}

func TestStoreOpensOnAFullDiskWhereTheNewestSegmentIsSealed(t *testing.T) {
	opt := testOptions(t.TempDir())
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	p.mustAppend(t, 4, 20<<10)
	p.mustAppend(t, 3, 100)
	if err := s.absorb(nil); err != nil {
		t.Fatal(err)
	}
	s.absorbMu.Lock()
	err := s.roll(0)
	s.absorbMu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	opt.Dir = copyDir(t, opt.Dir)
	if err := os.Remove(segmentPath(opt.Dir, 2)); err != nil { // the machine stopped before it was made
		t.Fatal(err)
	}
	f := &faults{fail: map[string]error{"segment.create": unix.ENOSPC}}
	opt.Faults, opt.JournalBytes = f, 2*opt.JournalBytes
	s2 := openTest(t, opt)
	verify(t, s2, p.id, 0, p.durable)
	p.st = s2
	p.mustAppend(t, 1, 100) // into the journal, which has its blocks
	f.set("segment.create", nil)
	p.mustAppend(t, 4, 20<<10)
	verify(t, s2, p.id, 0, p.durable)
	opt.Faults = nil
	verify(t, reopen(t, opt), p.id, 0, p.durable)
}
