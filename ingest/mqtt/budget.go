package mqtt

import "sync/atomic"

// budget is a number of bytes that all connections share.
type budget struct {
	limit int64
	used  atomic.Int64
}

// take reserves n bytes and tells whether they were to be had.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) <= b.limit {
		return true
	}
	b.used.Add(-int64(n))
	return false
}

// force takes n bytes even if the budget is exceeded: for a first piece that everybody must be able to have.
func (b *budget) force(n int) { b.used.Add(int64(n)) }

// release gives n bytes back.
func (b *budget) release(n int) { b.used.Add(-int64(n)) }

// full tells whether nothing is left.
func (b *budget) full() bool { return b.used.Load() >= b.limit }
