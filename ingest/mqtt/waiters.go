package mqtt

import (
	"sync"
	"sync/atomic"
)

// waiters are connections whose readers wait until the server's budget for messages in flight allows more.
type waiters struct {
	count atomic.Int32
	mu    sync.Mutex
	set   map[*conn]struct{}
}

// add registers c, before it looks at the budget for the last time and waits.
func (w *waiters) add(c *conn) {
	c.mu.Lock()
	if c.wake == nil {
		c.wake = make(chan struct{}, 1)
	}
	c.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil {
		w.set = map[*conn]struct{}{}
	}
	w.set[c] = struct{}{}
	w.count.Add(1)
}

func (w *waiters) remove(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.set, c)
	w.count.Add(-1)
}

// released wakes the waiters when half of the budget is free. It takes no connection's lock: the caller holds one.
func (w *waiters) released(b *budget) {
	if w.count.Load() == 0 || b.used.Load() > b.limit/2 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.set {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}
