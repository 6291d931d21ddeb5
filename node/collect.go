package node

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

const (
	// calmPercent and busyPercent are how far the heap may grow between two collections, in percent of what lives. While
	// bulk data flows, garbage comes at the rate of the data and little of it lives: collecting less often saves a third
	// of the processor for some ten megabytes. The memory limit holds in any case.
	calmPercent = 100
	busyPercent = 400
	// busyBytes is how many bytes of batches from one look to the next count as bulk; calmAfter is how many looks there
	// must be less.
	collectLook = 250 * time.Millisecond
	busyBytes   = 4 << 20
	calmAfter   = 40
)

// collector decides how often garbage is collected.
type collector struct {
	percent int
	last    int64
	calm    int // looks
}

// look takes the bytes committed so far and returns the percentage, and whether it has changed.
func (c *collector) look(bytes int64) (percent int, changed bool) {
	before := c.percent
	if bytes-c.last >= busyBytes {
		c.percent, c.calm = busyPercent, 0
	} else if c.calm++; c.calm >= calmAfter {
		c.percent = calmPercent
	}
	c.last = bytes
	return c.percent, c.percent != before
}

// paceCollections adapts the garbage collector to the load until ctx ends, unless GOGC says how it is to be.
func (n *Node) paceCollections(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	c := collector{percent: calmPercent}
	defer debug.SetGCPercent(calmPercent)
	t := time.NewTicker(collectLook)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if percent, changed := c.look(n.store.BatchBytes()); changed {
			debug.SetGCPercent(percent)
		}
	}
}
