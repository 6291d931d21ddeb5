package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/culvert-mq/culvert/log/fsx"
)

// Level says how bad a finding is.
type Level int

// Levels, from good to bad.
const (
	OK   Level = iota // as it should be
	Note              // good to know
	Warn              // will hurt some day: wear, slowness, wrong times
	Fail              // the node cannot run, or cannot keep what it acknowledges
)

// String returns the level as reports name it.
func (l Level) String() string {
	if l < OK || l > Fail {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return [...]string{"ok", "note", "warn", "fail"}[l]
}

// MarshalText returns what String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads a level.
func (l *Level) UnmarshalText(text []byte) error {
	for try := OK; try <= Fail; try++ {
		if try.String() == string(text) {
			*l = try
			return nil
		}
	}
	return fmt.Errorf("doctor: %q is no level", text)
}

// Finding is one thing that was looked at.
type Finding struct {
	Check    string         `json:"check"` // what was looked at, such as "sync"; several findings may share it
	Level    Level          `json:"level"`
	Measured string         `json:"measured"`         // what was seen, in a line
	Means    string         `json:"means"`            // what that means for the node
	Do       string         `json:"do,omitempty"`     // what to do about it
	Values   map[string]any `json:"values,omitempty"` // the numbers in Measured: bytes, and seconds where the name says so
}

// Machine is what was examined.
type Machine struct {
	Model  string `json:"model,omitempty"` // of the board or the computer, where it tells
	Kernel string `json:"kernel,omitempty"`
	Arch   string `json:"arch"` // as Go names it
}

// Report is all that was found, in the order of looking.
type Report struct {
	DataDir  string    `json:"data_dir"`
	Machine  Machine   `json:"machine"`
	Level    Level     `json:"level"` // the worst of the findings
	Findings []Finding `json:"findings"`
}

// Listener is an address that the node is configured to listen on.
type Listener struct {
	Protocol string // kafka, mqtt, http
	Address  string // host:port
}

// Options say what to examine. Sizes are bytes.
type Options struct {
	Root    string // below which /proc and /sys are found; "" is the machine's own
	DataDir string
	Listen  []Listener

	MinFreeBytes  int64 // free space below which the node refuses
	SegmentBytes  int64 // what it makes room for at a time
	MemoryLimit   int64 // what the process should stay within; 0: unknown
	PromisedBytes int64 // what the limits of the configuration allow together
	Connections   int64 // at a time, that the configuration allows

	SyncTime  time.Duration // longest measurement of syncs: 3 s
	SyncCount int           // most syncs: 2000
}

// exam is one examination, with what it asks beside files.
type exam struct {
	opt  Options
	tree tree
	dir  string // that exists: the data directory or the nearest above it
	held int    // process that holds the data directory, or nobody, somebody, unseen

	mounts []mount
	medium Medium

	now          func() time.Time
	synchronised func() (bool, error)
	datasync     func(*os.File) error
	space        func(dir string) (space, error)
	listen       func(ctx context.Context, address string) error
	pageSize     int
	uid          int
}

// Run examines the machine. It takes about as long as opt.SyncTime; when ctx ends, the measurement does, and what it has
// is judged.
func Run(ctx context.Context, opt Options) *Report {
	return newExam(opt).run(ctx)
}

func newExam(opt Options) *exam {
	opt.SyncTime = cmp.Or(opt.SyncTime, 3*time.Second)
	opt.SyncCount = cmp.Or(opt.SyncCount, 2000)
	return &exam{
		opt: opt, tree: tree(cmp.Or(opt.Root, "/")), dir: opt.DataDir,
		now: time.Now, synchronised: fsx.Synchronised, datasync: fsx.Datasync, space: statSpace, listen: tryListen,
		pageSize: os.Getpagesize(), uid: os.Geteuid(),
	}
}

func (e *exam) run(ctx context.Context) *Report {
	r := &Report{DataDir: e.opt.DataDir, Machine: machine(e.tree)}
	e.mounts = readMounts(e.tree)
	r.Findings = append(r.Findings, e.checkDataDir()...) // finds dir and held, which the others use
	e.medium = findMedium(e.tree, e.mounts, e.dir)
	for _, check := range []func() []Finding{
		func() []Finding { return e.checkSync(ctx) },
		e.checkDevice, e.checkFileSystem, e.checkSpace, e.checkMemory, e.checkSwap, e.checkPageSize, e.checkClock, e.checkPower,
		e.checkOpenFiles, func() []Finding { return e.checkPorts(ctx) },
	} {
		r.Findings = append(r.Findings, check()...)
	}
	for _, f := range r.Findings {
		r.Level = max(r.Level, f.Level)
	}
	return r
}

// Worst returns the findings from bad to good, each level in the order of looking.
func (r *Report) Worst() []Finding {
	sorted := slices.Clone(r.Findings)
	slices.SortStableFunc(sorted, func(a, b Finding) int { return cmp.Compare(b.Level, a.Level) })
	return sorted
}

// Count returns how many findings have the level.
func (r *Report) Count(l Level) (n int) {
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

func machine(t tree) Machine {
	m := Machine{Arch: runtime.GOARCH, Kernel: t.text("proc/sys/kernel/osrelease")}
	m.Model = cmp.Or(t.text("proc/device-tree/model"), t.text("sys/firmware/devicetree/base/model"),
		strings.TrimSpace(t.text("sys/class/dmi/id/sys_vendor")+" "+t.text("sys/class/dmi/id/product_name")))
	return m
}

// tryListen listens on an address for a moment.
func tryListen(ctx context.Context, address string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}
