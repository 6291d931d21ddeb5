package mqtt

import (
	"testing"
)

func TestQueueOfWorkersDoesNotGrowWithUse(t *testing.T) {
	w := &workers{}
	w.cond.L = &w.mu
	var conns [10]conn
	for i := range conns {
		w.enqueue(&conns[i])
		w.enqueue(&conns[i]) // once is enough
	}
	for range 100_000 { // never empty
		c := w.next()
		c.queued.Store(false)
		w.enqueue(c)
	}
	if n := cap(w.queue); n > 8192 {
		t.Errorf("room for %d with 10 queued", n)
	}
	seen := map[*conn]bool{}
	for range conns {
		seen[w.next()] = true
	}
	if len(seen) != 10 || w.head != 0 || len(w.queue) != 0 {
		t.Errorf("%d of 10 connections came, %d are left", len(seen), len(w.queue)-w.head)
	}
}
