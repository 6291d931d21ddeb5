package mqtt

import "sync"

// workers flush connections whose acknowledgements became due or that got something to deliver, so that neither the
// goroutine that commits nor the hub writes to sockets.
type workers struct {
	mu     sync.Mutex
	cond   sync.Cond
	queue  []*conn
	head   int
	parked int
	closed bool
	wg     sync.WaitGroup
}

func newWorkers(n int) *workers {
	w := &workers{}
	w.cond.L = &w.mu
	for range n {
		w.wg.Go(w.run)
	}
	return w
}

// enqueue has c flushed soon. It does not block. A connection that is queued already is not queued again.
func (w *workers) enqueue(c *conn) {
	if c.queued.Swap(true) {
		return
	}
	w.mu.Lock()
	w.queue = append(w.queue, c)
	if w.parked > 0 {
		w.parked--
		w.cond.Signal()
	}
	w.mu.Unlock()
}

// next waits for a connection; it returns nil after close.
func (w *workers) next() *conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.head == len(w.queue) {
		if w.closed {
			return nil
		}
		w.parked++
		w.cond.Wait()
	}
	c := w.queue[w.head]
	w.queue[w.head] = nil
	w.head++
	switch {
	case w.head == len(w.queue):
		w.queue, w.head = w.queue[:0], 0
	case w.head >= 1024 && w.head > len(w.queue)/2:
		n := copy(w.queue, w.queue[w.head:])
		clear(w.queue[n:])
		w.queue, w.head = w.queue[:n], 0
	}
	return c
}

func (w *workers) run() {
	for {
		c := w.next()
		if c == nil {
			return
		}
		c.queued.Store(false)
		c.flushSafely()
	}
}

// close ends the workers after what is queued.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	w.parked = 0
	w.cond.Broadcast()
	w.mu.Unlock()
	w.wg.Wait()
}
