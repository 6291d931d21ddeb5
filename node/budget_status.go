package node

import (
	"math"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/node/admin"
	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/node/doctor"
	"github.com/culvert-mq/culvert/node/flash"
)

// newBudget makes the budget of a store whose commits are held open for linger.
func (n *Node) newBudget(c *config.Config, m *store.Metrics, linger time.Duration) *budget {
	counted := prometheus.NewRegistry() // the counters alone, so that looking at them every second costs little
	counted.MustRegister(m.JournalBytes, m.SegmentBytes, m.BatchBytes, m.Commits)
	b := &budget{
		log: n.log.With("part", "budget"), store: n.store, path: filepath.Join(c.Node.DataDir, "flash"), now: time.Now,
		cfg:       flash.Config{Budget: int64(c.Log.WriteBudget), Min: linger, Max: max(linger, c.Commit.MaxDelay.Std())},
		endurance: int64(c.Log.CardEndurance),
		medium:    func() doctor.Medium { return doctor.FindMedium("/", c.Node.DataDir) },
		read: func() written {
			f, err := admin.Gather(counted)
			if err != nil {
				n.log.Warn("metrics cannot be gathered", "err", err)
			}
			return written{
				log:     f.Int("culvert_log_journal_written_bytes_total") + f.Int("culvert_log_segment_written_bytes_total"),
				batches: f.Int("culvert_log_batch_bytes_total"), groups: f.Int("culvert_log_commits_total"), device: n.meter.Read().DeviceBytes,
			}
		},
	}
	b.start()
	b.register(n.reg)
	return b
}

// status tells what was written, what is left, and how long the medium lasts.
func (b *budget) status() *admin.Flash {
	b.mu.Lock()
	defer b.mu.Unlock()
	window := b.control.Window()
	s := &admin.Flash{
		DayBytes: b.state.Day, DayDeviceBytes: -1, Known: window.Span().Seconds(),
		Budget: b.cfg.Budget, Exceeding: b.state.Exceeding,
		Linger: b.state.Linger.Seconds(), MinLinger: b.cfg.Min.Seconds(), MaxLinger: b.cfg.Min.Seconds(),
		Endurance: b.endurance, Written: max(b.med.Written, b.before.DeviceTotal+max(0, b.seen.device)),
		Medium: string(b.med.Class), YearsLeft: -1,
	}
	if s.Budget > 0 {
		s.BudgetUsed = float64(s.DayBytes) / float64(s.Budget)
		s.MaxLinger = b.cfg.Max.Seconds()
	}
	s.LifeUsed, _ = b.med.Life.Used()
	rate, known := window.PerDay()
	if b.seen.device >= 0 {
		s.DayDeviceBytes = b.device.Bytes()
		rate, known = b.device.PerDay()
	}
	if known && rate > 0 {
		s.YearsLeft = yearsLeft(s.Endurance, s.Written, s.LifeUsed, b.med.Written, rate)
	}
	return s
}

// mostYears is more than any medium or city plan lasts.
const mostYears = 1000

// yearsLeft projects how long a medium lasts at a rate of bytes a day, in years; -1: unknown. What it may be written comes
// from its maker's promise, 0 if there is none, and of an eMMC from its own register: the share of its life that is used,
// 0 if it does not tell, by what has been written to the file system since it was made, -1 if that is unknown. The lesser
// counts.
func yearsLeft(endurance, written int64, used float64, lifetime int64, rate float64) float64 {
	left := math.Inf(1)
	if endurance > 0 {
		left = float64(max(0, endurance-written))
	}
	if used > 0 && lifetime > 0 {
		left = min(left, float64(lifetime)*max(0, 1-used)/used)
	}
	if math.IsInf(left, 1) {
		return -1
	}
	return min(left/rate/365.25, mostYears)
}

// register adds the budget's metrics.
func (b *budget) register(reg prometheus.Registerer) {
	gauge := func(name, help string, read func(*admin.Flash) float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return read(b.status()) }))
	}
	gauge("culvert_log_linger_seconds", "How long commits are held open at present.", func(s *admin.Flash) float64 { return s.Linger })
	gauge("culvert_log_day_written_bytes", "Bytes that the log has written in the last 24 hours, earlier starts included.",
		func(s *admin.Flash) float64 { return float64(s.DayBytes) })
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "culvert_log_amplification_ratio",
		Help: "Bytes that the log has written for each byte of record batches, since the start; 0 when nothing was stored."}, func() float64 {
		if w := b.read(); w.batches > 0 {
			return float64(w.log) / float64(w.batches)
		}
		return 0
	}))
	if b.cfg.Budget > 0 {
		gauge("culvert_log_write_budget_bytes", "Bytes that the log may write in 24 hours.", func(s *admin.Flash) float64 { return float64(s.Budget) })
		gauge("culvert_log_write_budget_used_ratio", "Share of the write budget that the last 24 hours have used.", func(s *admin.Flash) float64 { return s.BudgetUsed })
	}
	if b.read().device >= 0 {
		gauge("culvert_device_day_written_bytes", "Bytes that the whole block device has written in the last 24 hours, as far as nodes ran.",
			func(s *admin.Flash) float64 { return float64(s.DayDeviceBytes) })
	}
	if b.endurance > 0 || b.med.Life != (doctor.Life{}) {
		gauge("culvert_device_life_years", "Years that the device lasts at the rate of the last 24 hours; NaN while unknown.", func(s *admin.Flash) float64 {
			if s.YearsLeft < 0 {
				return math.NaN()
			}
			return s.YearsLeft
		})
	}
}
