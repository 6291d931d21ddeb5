package node

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/node/doctor"
	"github.com/culvert-mq/culvert/node/flash"
)

const (
	// budgetInterval is how often the budget looks at what was written.
	budgetInterval = time.Second
	// budgetSaveInterval is how often it writes that down, because that is writing, too.
	budgetSaveInterval = 10 * time.Minute
	// budgetWarnInterval is how often it says that it cannot be kept.
	budgetWarnInterval = 24 * time.Hour
)

// lingerer is the store as the budget sees it.
type lingerer interface{ SetLinger(d time.Duration) }

// written is what has been written since the start, in bytes.
type written struct {
	log     int64 // journal and segments
	batches int64 // record batches in them
	groups  int64 // commits
	device  int64 // by everybody; -1: unknown
}

// budget counts what is written, has the store hold commits open for log.write_budget, and remembers the day over a
// restart. Its methods may be called from any goroutine; look and save belong to run.
type budget struct {
	log       *slog.Logger
	store     lingerer
	read      func() written
	medium    func() doctor.Medium
	now       func() time.Time
	path      string // of the record
	cfg       flash.Config
	endurance int64 // bytes; 0: unknown

	mu      sync.Mutex // guards what follows
	control *flash.Controller
	state   flash.State
	device  flash.Window
	before  flash.Record  // of earlier starts
	seen    written       // at the last look
	med     doctor.Medium // as of the last save
	saved   written
	quiet   time.Duration // since the last warning; 0: there was none
}

// start takes over what earlier starts have left.
func (b *budget) start() {
	var day flash.Window
	if r, err := b.load(); err == nil {
		boot, uptime := bootAndUptime()
		away := r.Away(b.now().UnixMilli(), boot, uptime)
		r.Log.Add(away, 0)
		day, b.before = r.Log, *r
		if r.Device.Span() > 0 {
			r.Device.Add(away, 0)
			b.device = r.Device
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		b.log.Error("what was written in the last day cannot be read; it is counted anew", "file", b.path, "err", err)
	}
	b.seen.device = min(0, b.read().device)
	b.control = flash.NewController(b.cfg, day)
	b.state = flash.State{Linger: b.cfg.Min, Day: day.Bytes()}
	b.med = b.medium()
}

func (b *budget) load() (*flash.Record, error) {
	data, err := fsx.ReadFile(b.path, int64(flash.RecordSize))
	if err != nil {
		return nil, err
	}
	return flash.Decode(data)
}

// bootAndUptime returns zeros where the kernel does not tell.
func bootAndUptime() (boot [16]byte, uptime int64) {
	id, err := fsx.Boot()
	if err != nil {
		return boot, 0
	}
	if uptime, err = fsx.BootTime(); err != nil {
		return boot, 0
	}
	return id, uptime
}

// run keeps the budget until ctx ends.
func (b *budget) run(ctx context.Context) {
	looks := time.NewTicker(budgetInterval)
	defer looks.Stop()
	saves := time.NewTicker(budgetSaveInterval)
	defer saves.Stop()
	last := time.Now()
	look := func() {
		now := time.Now()
		b.look(now.Sub(last))
		last = now
	}
	for {
		select {
		case <-ctx.Done():
			look()
			b.save()
			return
		case <-looks.C:
			look()
		case <-saves.C:
			b.save()
		}
	}
}

// look counts what has been written in the time that has passed since the last look, and tells the store how long to hold
// commits open.
func (b *budget) look(passed time.Duration) {
	w := b.read()
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.state.Linger
	b.state = b.control.Step(passed, w.log-b.seen.log, w.groups-b.seen.groups)
	if w.device >= 0 && b.seen.device >= 0 {
		b.device.Add(passed, w.device-b.seen.device)
	}
	b.seen = w
	if b.state.Linger != before {
		b.store.SetLinger(b.state.Linger)
	}
	if b.quiet > 0 {
		b.quiet += passed
	}
	if b.state.Exceeding && (b.quiet == 0 || b.quiet > budgetWarnInterval) {
		b.quiet = max(passed, 1)
		b.log.Warn("log.write_budget cannot be kept: more was written in the last 24 hours, although commits waited",
			"written", b.state.Day, "budget", b.cfg.Budget, "commits_wait", b.state.Linger, "at_most", b.cfg.Max)
	}
}

// save writes down what is known of the day, unless nothing was written since.
func (b *budget) save() {
	med := b.medium()
	b.mu.Lock()
	b.med = med
	r, same := b.record(), b.seen.log == b.saved.log
	b.saved = b.seen
	b.mu.Unlock()
	if same {
		return
	}
	if err := fsx.WriteFile(b.path, r.Encode(), 0o600); err != nil {
		b.log.Warn("what was written in the last day cannot be written down", "file", b.path, "err", err)
	}
}

// record returns what is to be remembered; the caller holds mu.
func (b *budget) record() *flash.Record {
	r := &flash.Record{
		Saved: max(0, b.now().UnixMilli()), Log: b.control.Window(), Device: b.device,
		LogTotal: b.before.LogTotal + b.seen.log, DeviceTotal: b.before.DeviceTotal + max(0, b.seen.device),
	}
	r.Boot, r.Uptime = bootAndUptime()
	return r
}
