package node

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-mq/culvert/node/admin"
	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/node/doctor"
	"github.com/culvert-mq/culvert/node/flash"
)

// lingers notes what a store is told.
type lingers struct{ told []time.Duration }

func (l *lingers) SetLinger(d time.Duration) { l.told = append(l.told, d) }

// desk is a budget with all that it asks in the hand of a test.
type desk struct {
	*budget
	lingers lingers
	written written
	medium  doctor.Medium
	logs    bytes.Buffer
	clock   time.Time
}

func newDesk(t *testing.T, path string, cfg flash.Config) *desk {
	t.Helper()
	d := &desk{written: written{device: 0}, medium: doctor.Medium{Class: doctor.SDCard, Written: -1, Errors: -1}, clock: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)}
	d.budget = &budget{
		log: slog.New(slog.NewTextHandler(&d.logs, nil)), store: &d.lingers, path: path, cfg: cfg,
		now: func() time.Time { return d.clock }, read: func() written { return d.written }, medium: func() doctor.Medium { return d.medium },
	}
	d.start()
	return d
}

// write lets time pass in seconds, in each of which so much is written in so many commits.
func (d *desk) write(seconds int, log, groups int64) {
	for range seconds {
		d.written.log += log
		d.written.batches += log / 4
		d.written.groups += groups
		if d.written.device >= 0 {
			d.written.device += 2 * log
		}
		d.look(time.Second)
	}
}

func TestTheStoreIsToldToHoldCommitsOpenWhenTheBudgetNeedsIt(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "flash"), flash.Config{Budget: 1e9, Min: 5 * time.Millisecond, Max: time.Second})
	d.write(10, 5000, 1)
	if len(d.lingers.told) != 0 || d.status().Linger != 0.005 {
		t.Fatalf("told %v for little", d.lingers.told)
	}
	d.write(100, 1e6, 200)
	if n := len(d.lingers.told); n == 0 || d.lingers.told[n-1] < 100*time.Millisecond || d.status().Linger != d.lingers.told[n-1].Seconds() {
		t.Fatalf("told %v", d.lingers.told)
	}
	d.write(3600, 0, 0)
	if last := d.lingers.told[len(d.lingers.told)-1]; last != 5*time.Millisecond {
		t.Errorf("told %v when nothing is written any more", last)
	}
	told := len(d.lingers.told)
	d.write(60, 0, 0)
	if len(d.lingers.told) != told {
		t.Error("told again what it knows")
	}
}

func TestABudgetThatCannotBeKeptIsWarnedOfOnceADay(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "flash"), flash.Config{Budget: 1e8, Max: time.Second})
	count := func() int { return strings.Count(d.logs.String(), "log.write_budget cannot be kept") }
	d.write(60, 1e6, 1)
	if count() != 0 || d.status().Exceeding {
		t.Fatalf("warned before it was exceeded: %s", d.logs.String())
	}
	d.write(600, 1e6, 1)
	if s := d.status(); count() != 1 || !s.Exceeding || s.BudgetUsed < 6 || s.MaxLinger != 1 {
		t.Fatalf("%+v, %s", s, d.logs.String())
	}
	d.write(3600, 1e6, 1)
	if count() != 1 {
		t.Fatalf("warned %d times in an hour", count())
	}
	for range 25 {
		d.written.log += 1e9
		d.look(time.Hour)
	}
	if count() != 2 {
		t.Errorf("warned %d times in a day", count())
	}
}

func TestTheDaySurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flash")
	cfg := flash.Config{Budget: 1e9, Max: time.Second}
	d := newDesk(t, path, cfg)
	d.write(600, 1e6, 1)
	d.save()
	before := d.status()
	d = newDesk(t, path, cfg)
	s := d.status()
	if s.DayBytes != before.DayBytes || s.DayBytes < 6e8-1e6 || s.Known < 600 || d.logs.Len() > 0 {
		t.Errorf("before %+v, after %+v, %s", before, s, d.logs.String())
	}
	if s.DayDeviceBytes != before.DayDeviceBytes || s.Written != before.Written || s.Written != 12e8 {
		t.Errorf("of the device: before %+v, after %+v", before, s)
	}
	d.write(1, 1e6, 1)
	d.save()
	r, err := d.load()
	if err != nil || r.LogTotal != 601e6 || r.DeviceTotal != 1202e6 {
		t.Errorf("%+v, %v", r, err)
	}
	d.write(1, 1e6, 1)
	d.look(24*time.Hour + 20*time.Minute)
	if s := d.status(); s.DayBytes != 0 || s.DayDeviceBytes != 0 {
		t.Errorf("a day later: %+v", s)
	}
}

func TestARecordThatIsDamagedIsAsGoodAsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flash")
	for _, text := range []string{"", "CVFB", strings.Repeat("x", flash.RecordSize), strings.Repeat("x", 1<<20)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d := newDesk(t, path, flash.Config{Budget: 1e9, Max: time.Second})
		if !strings.Contains(d.logs.String(), "cannot be read") || !strings.Contains(d.logs.String(), path) || d.status().DayBytes != 0 {
			t.Errorf("%d bytes: %s", len(text), d.logs.String())
		}
		d.write(1, 100, 1)
		d.save()
		if _, err := d.load(); err != nil {
			t.Errorf("the next record: %v", err)
		}
	}
}

func TestAnIdleNodeWritesNothingDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flash")
	d := newDesk(t, path, flash.Config{Budget: flash.Unlimited})
	d.written.device += 1e9 // of others
	d.look(time.Second)
	d.save()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("written: %v", err)
	}
	d.write(1, 1, 1)
	d.save()
	first, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	d.save()
	if again, err := os.Stat(path); err != nil || !os.SameFile(first, again) {
		t.Errorf("written twice: %v", err)
	}
	d.path = filepath.Join(path, "no directory")
	d.write(1, 1, 1)
	d.save()
	if !strings.Contains(d.logs.String(), "cannot be written down") {
		t.Errorf("a failure is not told: %s", d.logs.String())
	}
}

func TestADeviceThatIsNotCountedIsUnknown(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "flash"), flash.Config{Budget: flash.Unlimited})
	d.written.device, d.endurance = -1, 1e12
	d.start()
	for range 2 {
		if s := d.status(); s.DayDeviceBytes != -1 || s.Written != 0 || s.Budget != -1 || s.BudgetUsed != 0 || s.MaxLinger != 0 {
			t.Errorf("%+v", s)
		}
		d.write(3600, 1000, 1)
	}
	if s := d.status(); math.Abs(s.YearsLeft-1e12/86.4e6/365.25) > 1 {
		t.Errorf("by what the log writes: %+v", s)
	}
}

func TestYearsAreProjectedFromWhatIsPromisedAndWhatTheDeviceTells(t *testing.T) {
	const gb, year = 1e9, 365.25
	for name, c := range map[string]struct {
		endurance, written int64
		used               float64
		lifetime           int64
		perDay, want       float64
	}{
		"nothing known":              {0, 100 * gb, 0, -1, gb, -1},
		"a promise":                  {30_000 * gb, 0, 0, -1, 10 * gb, 3000 / year},
		"a promise partly used":      {30_000 * gb, 10_000 * gb, 0, -1, 10 * gb, 2000 / year},
		"more than was promised":     {30_000 * gb, 40_000 * gb, 0, -1, 10 * gb, 0},
		"an eMMC's register":         {0, 1000 * gb, 0.2, 1000 * gb, 10 * gb, 400 / year},
		"an eMMC that is used up":    {0, 1000 * gb, 1.1, 1000 * gb, 10 * gb, 0},
		"a register and no count":    {0, 0, 0.2, -1, 10 * gb, -1},
		"both, the register is less": {30_000 * gb, 1000 * gb, 0.5, 1000 * gb, 10 * gb, 100 / year},
		"both, the promise is less":  {2000 * gb, 1000 * gb, 0.1, 1000 * gb, 10 * gb, 100 / year},
		"nearly nothing written":     {30_000 * gb, 0, 0, -1, 1, mostYears},
	} {
		if got := yearsLeft(c.endurance, c.written, c.used, c.lifetime, c.perDay); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v years, want %v", name, got, c.want)
		}
	}
}

func TestTheBudgetIsInTheMetrics(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "flash"), flash.Config{Budget: 1e9, Min: time.Millisecond, Max: time.Second})
	d.endurance = 1e15
	reg := prometheus.NewRegistry()
	d.register(reg)
	d.write(3600, 100_000, 100)
	f, err := admin.Gather(reg)
	if err != nil {
		t.Fatal(err)
	}
	s := d.status()
	for name, want := range map[string]float64{
		"culvert_log_linger_seconds": s.Linger, "culvert_log_day_written_bytes": 3.6e8, "culvert_device_day_written_bytes": 7.2e8,
		"culvert_log_write_budget_bytes": 1e9, "culvert_log_write_budget_used_ratio": 0.36, "culvert_log_amplification_ratio": 4, "culvert_device_life_years": s.YearsLeft,
	} {
		if got := f.Value(name); math.Abs(got-want) > 1e-6*want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if s.Linger <= 0.001 || s.YearsLeft <= 0 {
		t.Errorf("%+v", s)
	}
}

func TestANodeKeepsItsBudgetAndRemembersTheDay(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Log.WriteBudget, c.Commit.MaxDelay = config.MiB, config.Duration(20*time.Millisecond)
	r := start(t, c)
	if l := r.Status().Log.Flash; l.Budget != 1<<20 || l.Linger != 0 || l.MaxLinger != 0.02 {
		t.Fatalf("at the start: %+v", l)
	}
	deadline := time.Now().Add(20 * time.Second)
	for r.Status().Log.Flash.Linger != 0.02 && time.Now().Before(deadline) {
		r.publish([2]string{"a", "1"}, [2]string{"a", "2"}, [2]string{"a", strings.Repeat("x", 10000)})
	}
	s := r.Status().Log
	if s.Flash.Linger != 0.02 || s.Flash.DayBytes < 1<<19 || s.ReceivedBytes < 10000 {
		t.Fatalf("commits do not wait: %+v", s)
	}
	if _, text := r.get("/metrics"); !strings.Contains(text, "culvert_log_linger_seconds 0.02\n") {
		t.Error("the linger is not in the metrics")
	}
	r.stop()
	r = start(t, c)
	if l := r.Status().Log.Flash; l.DayBytes < s.Flash.DayBytes {
		t.Errorf("%d bytes are known after a restart, %d were before", l.DayBytes, s.Flash.DayBytes)
	}
}
