package admin

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

const (
	procIO = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 8192\ncancelled_write_bytes: 7\n"
	stat   = "  100 0 200 10   300 0 40 50 0 60 70 0 0 0 0 0 0\n"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheMeterCountsFromItsStart(t *testing.T) {
	proc, dev := filepath.Join(t.TempDir(), "io"), filepath.Join(t.TempDir(), "stat")
	write(t, proc, procIO)
	write(t, dev, stat)
	m := newMeter(proc, dev, "mmcblk0p2")
	if got := m.Read(); got != (Device{Name: "mmcblk0p2"}) {
		t.Errorf("at the start %+v", got)
	}
	reg := prometheus.NewRegistry()
	m.Register(reg)
	write(t, proc, "write_bytes: 20480\n")
	write(t, dev, "100 0 200 10 300 0 48 50 0 60 70")
	if got := m.Read(); got != (Device{ProcessBytes: 12288, DeviceBytes: 8 * 512, Name: "mmcblk0p2"}) {
		t.Errorf("later %+v", got)
	}
	if n, err := testutil.GatherAndCount(reg, "culvert_process_written_bytes_total", "culvert_device_written_bytes_total"); n != 2 || err != nil {
		t.Errorf("%d metrics, %v", n, err)
	}
	f, err := Gather(reg)
	if err != nil || f.Int("culvert_device_written_bytes_total") != 4096 || f.Int("culvert_process_written_bytes_total") != 12288 {
		t.Errorf("metrics %+v, %v", f, err)
	}
}

func TestWhatCannotBeReadIsUnknown(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty": "", "short": "1 2 3", "words": "a b c d e f g h", "huge": "0 0 0 0 0 0 9223372036854775807 0", "negative": "0 0 0 0 0 0 -1",
		"write_bytes": "write_bytes: many\n",
	} {
		path := filepath.Join(dir, name)
		write(t, path, text)
		if got := newMeter(path, path, "x").Read(); got.ProcessBytes != -1 || got.DeviceBytes != -1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	m := newMeter(filepath.Join(dir, "none"), "", "")
	reg := prometheus.NewRegistry()
	m.Register(reg)
	if families, err := reg.Gather(); len(families) != 0 || err != nil {
		t.Errorf("metrics of what cannot be read: %v, %v", families, err)
	}
	if got := m.Read(); got != (Device{ProcessBytes: -1, DeviceBytes: -1}) {
		t.Errorf("%+v", got)
	}
}

func TestTheRealMeterFindsWhatThisMachineTells(t *testing.T) {
	dir := t.TempDir()
	m := NewMeter(dir)
	write(t, filepath.Join(dir, "file"), "x")
	if got := m.Read(); got.ProcessBytes < -1 || got.DeviceBytes < -1 || (got.DeviceBytes >= 0) != (got.Name != "") {
		t.Errorf("%+v", got)
	}
}

func TestQuantilesComeFromTheBuckets(t *testing.T) {
	reg := prometheus.NewRegistry()
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "h", Buckets: []float64{1, 2, 4}}, []string{"l"})
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"})
	reg.MustRegister(h, g)
	g.Set(-2.5)
	for _, v := range []float64{0.5, 0.5, 1.5, 1.5} {
		h.WithLabelValues("a").Observe(v)
		h.WithLabelValues("b").Observe(v)
	}
	h.WithLabelValues("b").Observe(100)
	h.WithLabelValues("b").Observe(100)
	f, err := Gather(reg)
	if err != nil {
		t.Fatal(err)
	}
	for q, want := range map[float64]float64{0.2: 0.5, 0.4: 1, 0.8: 2, 0.99: 4} {
		if got := f.Quantile("h", q); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
	if f.Value("h") != 10 || f.Value("g") != -2.5 || f.Value("none") != 0 || f.Quantile("none", 0.5) != 0 || f.Quantile("g", 0.5) != 0 {
		t.Errorf("figures %+v", f)
	}
}
