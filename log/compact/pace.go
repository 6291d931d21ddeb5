package compact

import (
	"context"
	"time"
)

const (
	// step is how many bytes a Pacer lets pass before it looks at the clock.
	step = 32 << 10
	// nap is the shortest time that it waits; what is due below that adds up.
	nap = 5 * time.Millisecond
	// napMost is the longest time that it waits without looking whether others still need the machine.
	napMost = 100 * time.Millisecond
)

// Pacer slows compaction down: to a rate of bytes, and, while others need the machine, to a share of the time. It counts
// the time between two waits as work, however long the work waited for a processor, so that it takes less where there is
// less to be had. It is used by one goroutine.
type Pacer struct {
	Rate  int64       // bytes read and written a second; 0 sets no limit
	Share float64     // of the time that work may take while Busy, above 0 to 1
	Busy  func() bool // whether others need the machine now
	Hurry func() bool // whether somebody waits for the work to end: it goes on at once

	bytes   int64     // since the last look
	resumed time.Time // the last look, or the end of the wait behind it
	due     time.Duration
}

// Begin forgets what was before: work begins now.
func (p *Pacer) Begin() { p.bytes, p.resumed, p.due = 0, time.Now(), 0 }

// Spend takes bytes that were worked on, and waits for what they cost. Error: that of ctx.
func (p *Pacer) Spend(ctx context.Context, bytes int64) error {
	if p.bytes += bytes; p.bytes < step {
		return ctx.Err()
	}
	if p.Hurry() {
		p.Begin()
		return ctx.Err()
	}
	worked := time.Since(p.resumed)
	rate, share := time.Duration(0), time.Duration(0)
	if p.Rate > 0 {
		rate = time.Duration(float64(p.bytes)/float64(p.Rate)*float64(time.Second)) - worked
	}
	if p.Busy() {
		share = time.Duration(float64(worked) * (1 - p.Share) / p.Share)
	}
	p.bytes = 0
	p.due = max(p.due+max(rate, share), 0) // what was slow before gives no right to be fast now
	for p.due >= nap && ctx.Err() == nil && !p.Hurry() {
		p.wait(ctx)
		if p.Rate == 0 && !p.Busy() {
			p.due = 0
		}
	}
	p.resumed = time.Now()
	return ctx.Err()
}

func (p *Pacer) wait(ctx context.Context) {
	d := min(p.due, napMost)
	p.due -= d
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
