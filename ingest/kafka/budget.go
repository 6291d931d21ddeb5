package kafka

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// smallFrame is the size up to which requests have a share of the budget to themselves, so that a few large ones that
// arrive slowly do not keep everybody else waiting.
const smallFrame = 64 << 10

// budget bounds the bytes of requests that are in memory at a time, over all connections: from before a frame is
// read until its answer is written. Who comes too late waits, in order, and meanwhile reads nothing from its connection.
type budget struct {
	small, large         *semaphore.Weighted
	smallSize, largeSize int64
	waiting              atomic.Int32 // for the large share
}

func newBudget(size int64) *budget {
	b := &budget{smallSize: max(size/4, smallFrame), largeSize: max(size-size/4, 1)}
	b.small, b.large = semaphore.NewWeighted(b.smallSize), semaphore.NewWeighted(b.largeSize)
	return b
}

// take waits for the bytes of a frame. A frame larger than the whole budget takes all of it, so that it is there alone.
func (b *budget) take(ctx context.Context, frame int64) error {
	if frame <= smallFrame {
		return b.small.Acquire(ctx, frame)
	}
	n := min(frame, b.largeSize)
	if b.large.TryAcquire(n) {
		return nil
	}
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	return b.large.Acquire(ctx, n)
}

// give gives back what take took for a frame of that size.
func (b *budget) give(frame int64) {
	if frame <= smallFrame {
		b.small.Release(frame)
		return
	}
	b.large.Release(min(frame, b.largeSize))
}

// contended tells that somebody waits to read a large frame.
func (b *budget) contended() bool { return b.waiting.Load() > 0 }
