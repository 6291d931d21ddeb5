package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/culvert-mq/culvert/cmd/internal/load/child"
)

// Sections of the suite, in the order they run.
const (
	SectionMQTT   = "mqtt"
	SectionNative = "native"
	SectionFlash  = "flash"
	SectionMemory = "memory"
	SectionBinary = "binary"
	SectionOpen   = "open"
)

// Sections lists them.
func Sections() []string {
	return []string{SectionMQTT, SectionNative, SectionFlash, SectionMemory, SectionBinary, SectionOpen}
}

// SuiteOptions say what RunSuite measures.
type SuiteOptions struct {
	Binary      string        // the program culvert
	Dir         string        // on the disk that is measured; a directory is made below it and removed
	Only        []string      // sections; none: all
	Repetitions int           // of everything that is compared; the median counts
	Span        time.Duration // of one measurement
	Settle      time.Duration // before one, so that brokers have written what they put off
	OpenBytes   int64         // of the data on disk when the node is killed
	Mosquitto   string        // program; "" or missing: not compared
	NATS        string        // likewise
	ARM64       string        // binary whose size counts; "": it is built if the sources are here
	Coalesce    time.Duration // see MQTTOptions
	Progress    func(format string, args ...any)
}

// DefaultSuiteOptions is the full run.
func DefaultSuiteOptions() SuiteOptions {
	return SuiteOptions{Dir: os.TempDir(), Repetitions: 5, Span: 8 * time.Second, Settle: 2 * time.Second, OpenBytes: 10e9,
		Mosquitto: "mosquitto", NATS: "nats-server"}
}

// Quick makes the options those of a small share of the run: enough to see that everything works.
func (o *SuiteOptions) Quick() {
	o.Repetitions, o.Span, o.Settle, o.OpenBytes = 1, time.Second, 200*time.Millisecond, 200e6
}

// Figure is one figure that is to be reached.
type Figure struct {
	Section  string    `json:"section"`
	Name     string    `json:"name"`
	Unit     string    `json:"unit,omitempty"` // of Measured and Target
	Target   float64   `json:"target"`
	AtMost   bool      `json:"at_most,omitempty"` // the target is an upper bound
	Measured float64   `json:"measured"`          // the median
	All      []float64 `json:"all"`               // of every repetition
	Detail   string    `json:"detail,omitempty"`
	Failure  string    `json:"failure,omitempty"` // why there is no figure, or none to trust
}

// Pass reports whether the figure is reached.
func (f *Figure) Pass() bool {
	if f.Failure != "" || len(f.All) == 0 {
		return false
	}
	if f.AtMost {
		return f.Measured <= f.Target
	}
	return f.Measured >= f.Target
}

// add takes one repetition.
func (f *Figure) add(v float64) {
	f.All = append(f.All, v)
	f.Measured = median(f.All)
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// Peer is what one broker did with one load: medians.
type Peer struct {
	Load      string  `json:"load"`
	Broker    string  `json:"broker"`
	PerSecond float64 `json:"messages_per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	BrokerCPU float64 `json:"broker_cpu_us_per_message"`
	OwnCPU    float64 `json:"own_cpu_us_per_message"`
	Failure   string  `json:"failure,omitempty"`
}

// SuiteReport is what came of it.
type SuiteReport struct {
	Figures     []*Figure `json:"figures"`
	Peers       []*Peer   `json:"peers,omitempty"`
	NotMeasured []string  `json:"not_measured,omitempty"`
	Machine     string    `json:"machine"`
	Noise       string    `json:"noise,omitempty"` // what else happened on the machine
}

// Ok reports whether every figure that was measured is reached.
func (r *SuiteReport) Ok() bool {
	return !slices.ContainsFunc(r.Figures, func(f *Figure) bool { return !f.Pass() })
}

// suite is one run.
type suite struct {
	SuiteOptions
	dir    string
	nodes  int
	report *SuiteReport
}

// RunSuite measures culvert beside what is installed of its peers, everything in one run, repetitions interleaved.
func RunSuite(ctx context.Context, o SuiteOptions) (*SuiteReport, error) {
	for _, name := range o.Only {
		if !slices.Contains(Sections(), name) {
			return nil, fmt.Errorf("%w: section %q: %s are there", ErrOptions, name, strings.Join(Sections(), ", "))
		}
	}
	if o.Repetitions < 1 || o.Span <= 0 || o.OpenBytes < 1 {
		return nil, fmt.Errorf("%w: %d repetitions of %s, %d bytes on disk", ErrOptions, o.Repetitions, o.Span, o.OpenBytes)
	}
	dir, err := os.MkdirTemp(o.Dir, "culvert-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	s := &suite{SuiteOptions: o, dir: dir, report: &SuiteReport{Machine: machine()}}
	s.noise(ctx)
	for _, section := range []struct {
		name string
		run  func(context.Context) error
	}{
		{SectionMQTT, s.mqtt}, {SectionNative, s.native}, {SectionFlash, s.flash}, {SectionMemory, s.memory},
		{SectionBinary, s.binary}, {SectionOpen, s.open},
	} {
		if len(o.Only) > 0 && !slices.Contains(o.Only, section.name) {
			continue
		}
		if err := section.run(ctx); err != nil {
			return nil, fmt.Errorf("section %s: %w", section.name, err)
		}
	}
	return s.report, nil
}

// figure adds a figure to the report.
func (s *suite) figure(f Figure) *Figure {
	s.report.Figures = append(s.report.Figures, &f)
	return &f
}

func (s *suite) skip(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	s.report.NotMeasured = append(s.report.NotMeasured, what)
	s.Progress("not measured: %s", what)
}

// node starts a node with an empty directory of its own.
func (s *suite) node(ctx context.Context, settings map[string]string) (*child.Node, string, error) {
	s.nodes++
	dir := filepath.Join(s.dir, fmt.Sprintf("node-%d", s.nodes))
	n, err := child.StartNode(ctx, child.NodeOptions{Binary: s.Binary, Dir: dir, Name: "bench", Settings: settings})
	return n, dir, err
}

// drop stops a node and removes what it stored.
func drop(n *child.Node, dir string) {
	_ = n.Stop(20 * time.Second)
	_ = os.RemoveAll(dir)
}

// settle lets what was put off be written.
func (s *suite) settle(ctx context.Context) error {
	syncAll()
	select {
	case <-time.After(s.Settle):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// noise notes what the machine does while nothing of ours runs: figures of a busy machine are worth little.
func (s *suite) noise(ctx context.Context) {
	const span = time.Second
	syncAll()
	before, err1 := deviceWritten(s.dir)
	busy, err2 := machineBusy()
	select {
	case <-time.After(span):
	case <-ctx.Done():
	}
	after, err3 := deviceWritten(s.dir)
	busyAfter, err4 := machineBusy()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		s.report.Noise = "unknown: " + err.Error()
		return
	}
	s.report.Noise = fmt.Sprintf("others used %.2f processors and wrote %.1f kB/s to the device in the second before",
		(busyAfter-busy)/span.Seconds(), float64(after-before)/1e3/span.Seconds())
	s.Progress("%s", s.report.Noise)
}
