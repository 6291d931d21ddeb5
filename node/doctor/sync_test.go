package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slow makes an exam whose syncs take what took says, one after the other, and then again, by a clock of its own.
func slow(dir string, took ...time.Duration) (e *exam, now *time.Time) {
	e = newExam(Options{DataDir: dir, SyncCount: 100})
	now = new(time.Time)
	i := 0
	e.now = func() time.Time { return *now }
	e.datasync = func(*os.File) error {
		*now = now.Add(took[i%len(took)])
		i++
		return nil
	}
	return e, now
}

// left returns what a directory holds.
func left(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestSyncsAreCountedAndMeasured(t *testing.T) {
	dir := t.TempDir()
	times := make([]time.Duration, 100)
	for i := range times {
		times[i] = 2 * time.Millisecond
	}
	times[10], times[20] = 30*time.Millisecond, 200*time.Millisecond
	e, _ := slow(dir, times...)
	l, err := e.measureSync(t.Context())
	if err != nil || l != (Latencies{Count: 100, P50: 2 * time.Millisecond, P99: 30 * time.Millisecond, Max: 200 * time.Millisecond}) {
		t.Errorf("%+v, %v", l, err)
	}
	if names := left(t, dir); len(names) > 0 {
		t.Errorf("the measurement left %v", names)
	}
}

func TestAMeasurementEndsInTimeHoweverSlowTheDeviceIs(t *testing.T) {
	dir := t.TempDir()
	e, now := slow(dir, 700*time.Millisecond)
	start := *now
	l, err := e.measureSync(t.Context())
	if took := now.Sub(start); err != nil || l.Count != 5 || took != 3500*time.Millisecond {
		t.Errorf("%+v, %v after %v", l, err, took)
	}
}

func TestAnInterruptedMeasurementIsJudgedByWhatItHas(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	e, _ := slow(dir, time.Millisecond)
	sync, n := e.datasync, 0
	e.datasync = func(f *os.File) error {
		if n++; n == 2 {
			cancel()
		}
		return sync(f)
	}
	if l, err := e.measureSync(ctx); err != nil || l.Count != 2 {
		t.Errorf("%+v, %v", l, err)
	}
	if all := e.checkSync(ctx); all[0].Level != Note || !strings.Contains(all[0].Measured, "interrupted") {
		t.Errorf("%+v", all)
	}
	if names := left(t, dir); len(names) > 0 {
		t.Errorf("the measurement left %v", names)
	}
}

func TestWhatAKilledMeasurementLeftIsRemovedAndNothingElse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with[brackets]*")
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{probePrefix + "123", "log/journal", "readopt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := newExam(Options{DataDir: dir, SyncCount: 3})
	if l, err := e.measureSync(t.Context()); err != nil || l.Count != 3 || l.P50 <= 0 || l.Max < l.P99 || l.P99 < l.P50 {
		t.Errorf("%+v, %v", l, err)
	}
	if names := strings.Join(left(t, dir), " "); names != "log readopt" {
		t.Errorf("left: %s", names)
	}
	if names := strings.Join(left(t, filepath.Join(dir, "log")), " "); names != "journal" {
		t.Errorf("left in the log: %s", names)
	}
}

func TestADeviceThatFailsToSyncIsAFailure(t *testing.T) {
	dir := t.TempDir()
	e := newExam(Options{DataDir: dir})
	e.datasync = func(f *os.File) error { return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: syscall.EIO} }
	all := e.checkSync(t.Context())
	if all[0].Level != Fail || !strings.Contains(all[0].Measured, "input/output error") {
		t.Errorf("%+v", all)
	}
	e.datasync = func(*os.File) error { return fmt.Errorf("not here: %w", os.ErrPermission) }
	all = append(all, e.checkSync(t.Context())...)
	if all[1].Level != Warn || !strings.Contains(all[1].Measured, "no right") {
		t.Errorf("%+v", all)
	}
	explained(t, all)
	if names := left(t, dir); len(names) > 0 {
		t.Errorf("the measurement left %v", names)
	}
	e.dir = filepath.Join(dir, "none")
	if _, err := e.measureSync(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestLatenciesAreJudgedByTheMedium(t *testing.T) {
	ms := func(p50, p99, worst float64) Latencies {
		d := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
		return Latencies{Count: 100, P50: d(p50), P99: d(p99), Max: d(worst)}
	}
	for _, c := range []struct {
		l     Latencies
		class Class
		level Level
		says  string
	}{
		{ms(0.13, 0.4, 3), SSD, OK, "about 7692 messages a second"},
		{ms(2.1, 18, 90), SDCard, OK, "about 476 messages a second"},
		{ms(2.1, 400, 900), SDCard, Warn, "That is slow."},
		{ms(25, 60, 90), SDCard, Warn, "about 40 messages a second"},
		{ms(2, 3, 4500), SDCard, Warn, "publishers stood still for 4.5 s"},
		{ms(0.03, 0.05, 0.1), SDCard, Warn, "faster than a SD card can be"},
		{ms(0.03, 0.05, 0.1), USBStick, Warn, "says that data is stored before it is"},
		{ms(0.2, 0.5, 1), HardDisk, Warn, "faster than a hard disk can be"},
		{ms(8, 12, 40), HardDisk, OK, "about 125 messages a second"},
		{ms(0.03, 0.05, 0.1), SSD, OK, "a second"},
		{ms(0.001, 0.002, 0.1), Memory, OK, "say nothing"},
		{Latencies{Count: 1, P50: 3 * time.Second, P99: 3 * time.Second, Max: 3 * time.Second}, SDCard, Warn, "about 1 messages"},
		{Latencies{Count: 1}, SSD, OK, "a second"},
	} {
		f := judgeSync(c.l, c.class, false)
		if f.Level != c.level || !strings.Contains(f.Means, c.says) {
			t.Errorf("%+v on %s: %+v, want %v with %q", c.l, c.class, f, c.level, c.says)
		}
		explained(t, []Finding{f})
	}
	if f := judgeSync(ms(1, 2, 3), SSD, true); !strings.Contains(f.Means, "A node was running") {
		t.Errorf("beside a node: %+v", f)
	}
}
