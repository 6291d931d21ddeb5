//go:build soak

package soak

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/node/soak/machine"
	"github.com/culvert-mq/culvert/node/soak/rig"
)

const (
	machineDisk    = 4 << 30 // bytes of the image, which is sparse
	machineTimeout = time.Minute
)

// mounts are the ways of mounting the disk between which the boots choose: what of a file is written back before the
// file system's journal says so, and when, differs.
var mounts = []string{"", "", "data=writeback", "nodelalloc", "data=journal", "commit=1", "discard"}

// A powered is a machine, the addresses that outlive its boots, and what was seen of its cuts.
type powered struct {
	*machine.Machine
	image string
	node  *rig.Node // only addresses
	mqtt  *machine.Gate
	kafka *machine.Gate

	how          machine.Boot // the last
	loss         machine.Loss // at the last cut
	cuts         int
	whileBooting int
	nothing      int          // cuts that found nothing unflushed
	sum          machine.Loss // of all cuts
	takenBack    int          // boots that found an unfinished commit
	mounted      []time.Duration
	serving      []time.Duration // both from power on
}

// newPowered returns a machine that is off, with an empty disk. When the test fails the disk is kept.
func newPowered(t *testing.T) *powered {
	t.Helper()
	emulator, kernel := parts(t)
	dir := t.TempDir()
	p := &powered{image: filepath.Join(dir, "disk.img")}
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	init := filepath.Join(dir, "init")
	if err := rig.BuildPackage(t.Context(), root, "./node/soak/machine/guest", init, "soak", "GOOS=linux", "GOARCH=amd64"); err != nil {
		t.Fatal(err)
	}
	if err := machine.MakeImage(t.Context(), p.image, machineDisk); err != nil {
		t.Fatal(err)
	}
	disk, err := machine.OpenDisk(p.image)
	if err != nil {
		t.Fatal(err)
	}
	if p.Machine, err = machine.New(dir, emulator, kernel, init, culvert(t), disk); err != nil {
		t.Fatal(err)
	}
	for _, g := range []**machine.Gate{&p.mqtt, &p.kafka} {
		if *g, err = machine.NewGate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.node = &rig.Node{MQTT: p.mqtt.Addr(), Kafka: p.kafka.Addr()}
	t.Cleanup(func() {
		err := errors.Join(p.mqtt.Close(), p.kafka.Close(), p.Kill())
		if t.Failed() {
			p.keep(t)
		}
		if err := errors.Join(err, p.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// parts finds what the machine is made of. Without it the test is skipped, unless CULVERT_MACHINE=require says that
// it must be there.
func parts(t *testing.T) (emulator string, kernel machine.Kernel) {
	t.Helper()
	emulator, err := machine.FindTool("qemu-system-x86_64")
	for _, name := range []string{"mkfs.ext4", "e2fsck"} {
		_, missing := machine.FindTool(name)
		err = errors.Join(err, missing)
	}
	dir := *kernelDir
	if cache, e := os.UserCacheDir(); dir == "" && e == nil {
		dir = filepath.Join(cache, "culvert-tools", "kernel")
	}
	kernel, missing := machine.FindKernel(dir)
	if missing != nil {
		err = errors.Join(err, fmt.Errorf("%w; make kernel fetches it", missing))
	}
	if err != nil && os.Getenv("CULVERT_MACHINE") == "require" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
	return emulator, kernel
}

// keep saves the disk as the last cut has left it, and what the machine has printed since the first boot.
func (p *powered) keep(t *testing.T) {
	t.Helper()
	t.Logf("the last boot had mount options %q, dirty pages for %d hundredths of a second, and the configuration\n%s", p.how.Mount, p.how.Dirty, p.how.Config)
	t.Logf("the machine's last words:\n%s", p.Log())
	dir, err := os.MkdirTemp(*keep, "culvert-power-") //nolint:usetesting // must outlive the test
	if err == nil {
		err = p.Disk.Rewind()
	}
	for _, name := range []string{"disk.img", "console.log"} {
		if err == nil {
			err = os.Rename(filepath.Join(p.Dir, name), filepath.Join(dir, name))
		}
	}
	if err != nil {
		t.Errorf("the disk cannot be kept: %v", err)
		return
	}
	t.Logf("the disk as cut %d (%v) has left it, and the console: %s", p.cuts, p.loss, dir)
}

func (p *powered) config(commit string) string {
	c := config(commit)
	return fmt.Sprintf("[node]\ndata_dir = %q\nlog_format = \"text\"\n%s[log]\n%s[commit]\n%s"+
		"[kafka]\nlisten = \"0.0.0.0:%d\"\nadvertise = %q\nallow_anonymous = true\n"+
		"[http]\nlisten = \"0.0.0.0:%d\"\nallow_anonymous = true\n"+
		"[mqtt]\nlisten = \"0.0.0.0:%d\"\nallow_anonymous = true\n%s",
		machine.DataDir, c["node"], c["log"], c["commit"], machine.PortKafka, p.node.Kafka, machine.PortHTTP, machine.PortMQTT, c["mqtt"])
}

// way chooses how the machine boots.
func (p *powered) way(rnd *rand.Rand) machine.Boot {
	return machine.Boot{
		Config: p.config(commits[rnd.IntN(len(commits))]),
		Mount:  mounts[rnd.IntN(len(mounts))],
		Dirty:  []int{0, 0, 5, 50}[rnd.IntN(4)],
	}
}

// on switches the machine on and returns when it has mounted its disk.
func (p *powered) on(t *testing.T, b machine.Boot) {
	t.Helper()
	p.how = b
	err := p.Boot(t.Context(), b)
	if err == nil {
		err = p.Await(t.Context(), "machine: mounted", machineTimeout)
	}
	if errors.Is(err, machine.ErrPort) {
		t.Log(err)
		err = errors.Join(p.Kill(), p.Boot(t.Context(), b), p.Await(t.Context(), "machine: mounted", machineTimeout))
	}
	p.must(t, err)
}

// boot switches the machine on and lets the load through when it serves.
func (p *powered) boot(t *testing.T, b machine.Boot) {
	t.Helper()
	begin := time.Now()
	p.on(t, b)
	p.mounted = append(p.mounted, time.Since(begin))
	p.must(t, p.Ready(t.Context(), machineTimeout))
	p.serving = append(p.serving, time.Since(begin))
	p.mqtt.Open(p.Addr(machine.PortMQTT))
	p.kafka.Open(p.Addr(machine.PortKafka))
	if strings.Contains(p.Log(), takenBack) {
		p.takenBack++
	}
	p.must(t, p.faults())
}

func (p *powered) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("after cut %d of %d, %v: %v", p.cuts, *cuts, p.loss, err)
	}
}

// cutUnderLoad takes the power away soon.
func (p *powered) cutUnderLoad(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	pause(t, time.Duration(rnd.Int64N(int64(300*time.Millisecond))))
	if rnd.IntN(6) > 0 {
		await(t, p.Disk.Set(trap(rnd, 60)), 2*time.Second)
	}
	p.cut(t, rnd)
}

// cutWhileBooting switches the machine on and takes the power away before the node serves: while the file system
// replays its journal, or culvert its own.
func (p *powered) cutWhileBooting(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	if rnd.IntN(3) == 0 {
		sprung := p.Disk.Set(machine.Trap{Op: machine.OpWrite, Nth: 1 + rnd.IntN(10)})
		p.how = p.way(rnd)
		p.must(t, p.Boot(t.Context(), p.how))
		await(t, sprung, 5*time.Second)
	} else {
		p.on(t, p.way(rnd))
		await(t, p.Disk.Set(trap(rnd, 12)), time.Duration(rnd.Int64N(int64(700*time.Millisecond))))
	}
	p.whileBooting++
	p.cut(t, rnd)
}

// trap chooses at which of the next writes or flushes, the most-th at the latest, the power goes. Most flushes come
// after a single write; those that come after several are the ones that can find a part missing.
func trap(rnd *rand.Rand, most int) machine.Trap {
	switch rnd.IntN(5) {
	case 0:
		return machine.Trap{Op: machine.OpWrite, Nth: 1 + rnd.IntN(most)}
	case 1:
		return machine.Trap{Op: machine.OpFlush, Nth: 1 + rnd.IntN(most)}
	}
	return machine.Trap{Op: machine.OpFlush, Nth: 1 + rnd.IntN(2), Writes: 2 + rnd.IntN(3)}
}

// await returns when done is closed or, which is no failure, the time is over: whether a trap springs is the machine's
// business.
func await(t *testing.T, done <-chan struct{}, timeout time.Duration) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(timeout):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// cut takes the power away; without chance nothing is left of what was not flushed.
func (p *powered) cut(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	p.must(t, p.Kill())
	p.mqtt.Shut()
	p.kafka.Shut()
	p.must(t, p.faults())
	loss, err := p.Disk.Cut(rnd)
	p.must(t, err)
	p.cuts++
	p.loss = loss
	if loss.Writes == 0 {
		p.nothing++
	}
	p.sum.Writes += loss.Writes
	p.sum.Bytes += loss.Bytes
	p.sum.Dropped += loss.Dropped
	p.sum.Torn += loss.Torn
}

// stop ends the machine in order.
func (p *powered) stop(t *testing.T) {
	t.Helper()
	p.must(t, errors.Join(p.Stop(t.Context(), machineTimeout), p.faults()))
	p.mqtt.Shut()
	p.kafka.Shut()
}

// signs are what no loss of power may make culvert or the kernel say.
var signs = []string{"level=ERROR", "panic", "fatal error:", "machine: failed", "EXT4-fs error", "EXT4-fs (vda): error", "I/O error", "BUG:", "Call Trace"}

// takenBack is how culvert says that it found a commit which had been begun when the power went, and which nothing had
// acknowledged.
const takenBack = "the newest commit was not finished"

// faults returns an error when the machine's console has what no loss of power may lead to.
func (p *powered) faults() error {
	log := p.Log()
	for line := range strings.Lines(log) {
		for _, sign := range signs {
			if strings.Contains(line, sign) {
				return fmt.Errorf("%w: the console has %q:\n%s", ErrLedger, sign, log)
			}
		}
	}
	return nil
}

func (p *powered) report(t *testing.T, took time.Duration) {
	t.Helper()
	ms := func(d []time.Duration, at float64) time.Duration { return percentile(d, at).Round(time.Millisecond) }
	t.Logf("%d cuts in %v, %d of them while the machine was booting", p.cuts, took.Round(time.Second), p.whileBooting)
	t.Logf("serving again after p50 %v, at most %v, of which the machine took p50 %v to mount its disk", ms(p.serving, 0.5), ms(p.serving, 1), ms(p.mounted, 0.5))
	t.Logf("of %d writes (%d kB) that were not flushed %d were dropped, %d torn; %d cuts found none; %d boots found an unfinished commit",
		p.sum.Writes, p.sum.Bytes>>10, p.sum.Dropped, p.sum.Torn, p.nothing, p.takenBack)
}
