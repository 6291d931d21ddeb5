package load

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/cmd/internal/load/child"
	"github.com/culvert-mq/culvert/node/soak/rig"
)

// buildCulvert builds the program.
func buildCulvert(t *testing.T) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "culvert")
	if err := rig.Build(t.Context(), root, file, "test"); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSuiteMeasuresEveryFigureAndSaysWhatIsMissing(t *testing.T) {
	o := DefaultSuiteOptions()
	o.Quick()
	o.Span, o.Settle, o.OpenBytes = 200*time.Millisecond, 10*time.Millisecond, 5e6
	o.Binary, o.Dir, o.ARM64 = buildCulvert(t), t.TempDir(), "/proc/self/exe"
	o.NATS = filepath.Join(t.TempDir(), "no-such-program")
	o.Progress = func(format string, args ...any) { t.Logf(format, args...) }
	r, err := RunSuite(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// Three figures need Mosquitto.
	want := 14
	if _, err := findProgram(o.Mosquitto); err != nil {
		want -= 3
	}
	if len(r.Figures) != want || len(r.NotMeasured) < 1 || len(r.Peers) < 4 || r.Machine == "" || r.Noise == "" {
		t.Errorf("%d figures of %d, %d peers, not measured: %q", len(r.Figures), want, len(r.Peers), r.NotMeasured)
	}
	for _, f := range r.Figures {
		if f.Failure != "" || len(f.All) != 1 || f.Measured <= 0 && f.Section != SectionMemory {
			t.Errorf("%+v", f)
		}
	}
}

func TestSuiteRefusesNonsense(t *testing.T) {
	for _, change := range []func(*SuiteOptions){
		func(o *SuiteOptions) { o.Only = []string{"everything"} },
		func(o *SuiteOptions) { o.Repetitions = 0 },
		func(o *SuiteOptions) { o.Span = 0 },
		func(o *SuiteOptions) { o.OpenBytes = 0 },
	} {
		o := DefaultSuiteOptions()
		change(&o)
		if _, err := RunSuite(t.Context(), o); !errors.Is(err, ErrOptions) {
			t.Error(err)
		}
	}
}

func TestSuiteEndsWithItsContextAndLeavesNothingBehind(t *testing.T) {
	o := DefaultSuiteOptions()
	o.Binary, o.Dir, o.Progress = "false", t.TempDir(), func(string, ...any) {}
	if _, err := RunSuite(t.Context(), o); err == nil {
		t.Error("a program that is no node was measured")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := RunSuite(ctx, o); err == nil {
		t.Error("an ended context was ignored")
	}
	if left, _ := filepath.Glob(filepath.Join(o.Dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFiguresPassOnTheRightSideOfTheirTarget(t *testing.T) {
	for _, tc := range []struct {
		f    Figure
		want bool
	}{
		{Figure{Target: 2, Measured: 2, All: []float64{2}}, true},
		{Figure{Target: 2, Measured: 1.9, All: []float64{1.9}}, false},
		{Figure{Target: 2, AtMost: true, Measured: 1.9, All: []float64{1.9}}, true},
		{Figure{Target: 2, AtMost: true, Measured: 2.1, All: []float64{2.1}}, false},
		{Figure{Target: 2, AtMost: true}, false},
		{Figure{Target: 2, Measured: 9, All: []float64{9}, Failure: "lost"}, false},
	} {
		if tc.f.Pass() != tc.want {
			t.Errorf("%+v", tc.f)
		}
	}
	var f Figure
	for _, v := range []float64{5, 1, 3} {
		f.add(v)
	}
	if f.Measured != 3 || !slices.Equal(f.All, []float64{5, 1, 3}) || median([]float64{4, 2}) != 3 || median(nil) != 0 {
		t.Errorf("%+v", f)
	}
}

func TestOwnFailuresAreNoFigures(t *testing.T) {
	l := mqttLoad{target: 2}
	good := &MQTTReport{PerSecond: 100, Latency: &Latency{P50: 10}}
	for name, reports := range map[string]map[string]*MQTTReport{
		"own":       {"culvert": {PerSecond: 100, Unacked: 1}, "mosquitto": good},
		"mosquitto": {"culvert": good, "mosquitto": {Failed: 1}},
	} {
		var f Figure
		if addMQTT(&f, l, reports, nil); f.Failure == "" || len(f.All) > 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	var f Figure
	addMQTT(&f, l, map[string]*MQTTReport{"culvert": {PerSecond: 300}, "mosquitto": good}, nil)
	addMQTT(&f, mqttLoad{}, map[string]*MQTTReport{"culvert": good}, &DiskReport{Overwrite: &Latency{P50: 5}})
	if !slices.Equal(f.All, []float64{3, 2}) {
		t.Errorf("%+v", f)
	}
}

func TestCheckReadsEverythingBackFromARealNode(t *testing.T) {
	n, err := child.StartNode(t.Context(), child.NodeOptions{Binary: buildCulvert(t), Dir: t.TempDir(), Name: "check"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Kill()
	for name, c := range map[string]struct {
		qos   byte
		check Check
	}{
		"QoS 0, consumed":   {0, Check{Native: n.Kafka, Topic: "mqtt"}},
		"QoS 1, consumed":   {1, Check{Native: n.Kafka, Topic: "mqtt"}},
		"QoS 1, subscribed": {1, Check{Subscribe: true}},
	} {
		o := quickMQTT(n.MQTT)
		o.QoS, o.Check, o.Count, o.TopicsPerConnection = c.qos, c.check, 20_000, 3
		r, err := RunMQTT(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !r.Ok() || r.Check.Received != o.Count || r.Check.Expected != o.Count {
			t.Errorf("%s: %+v %+v", name, r, r.Check)
		}
	}
}
