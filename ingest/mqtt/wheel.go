package mqtt

import (
	"sync"
	"sync/atomic"
	"time"
)

// tickTime is how exactly keepalives and CONNECT timeouts are watched.
const tickTime = 250 * time.Millisecond

// wheelSlots is the number of slots; an alarm further away comes round several times.
const wheelSlots = 512

// wheel watches the silence of connections. A connection that lives costs nothing but the store of a tick with each burst
// of packets; its alarm is looked at once per timeout.
type wheel struct {
	tick atomic.Int64

	mu    sync.Mutex
	slots [wheelSlots]*alarm
}

// alarm is a connection's place on the wheel. Everything is guarded by the wheel's mu.
type alarm struct {
	c          *conn
	limit      int64 // ticks of silence that are allowed; 0: any
	reason     error // why the connection then ends
	slot       int64
	prev, next *alarm
	set        bool
}

// now returns the current tick.
func (w *wheel) now() int64 { return w.tick.Load() }

// ticks returns the number of ticks that are not less than d.
func ticks(d time.Duration) int64 { return int64((d + tickTime - 1) / tickTime) }

// watch ends c for reason when it has been silent for limit, unless limit is 0.
func (w *wheel) watch(c *conn, limit time.Duration, reason error) {
	c.active.Store(w.now())
	w.mu.Lock()
	defer w.mu.Unlock()
	a := &c.keep
	w.unlink(a)
	a.c, a.limit, a.reason = c, ticks(limit), reason
	if a.limit > 0 {
		w.link(a, w.now()+a.limit+1)
	}
}

// forget takes c off the wheel.
func (w *wheel) forget(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(&c.keep)
}

func (w *wheel) link(a *alarm, at int64) {
	now := w.now()
	at = max(at, now+1)
	a.slot = min(at, now+wheelSlots-1) % wheelSlots
	a.prev, a.next = nil, w.slots[a.slot]
	if a.next != nil {
		a.next.prev = a
	}
	w.slots[a.slot] = a
	a.set = true
}

func (w *wheel) unlink(a *alarm) {
	if !a.set {
		return
	}
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		w.slots[a.slot] = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	}
	a.prev, a.next, a.set = nil, nil, false
}

// advance moves the wheel by one tick and calls expired for connections that were silent for too long.
func (w *wheel) advance(expired func(c *conn, reason error)) {
	w.mu.Lock()
	now := w.tick.Add(1)
	type end struct {
		c      *conn
		reason error
	}
	var late []end
	for a := w.slots[now%wheelSlots]; a != nil; {
		next := a.next
		w.unlink(a)
		last := a.c.active.Load()
		switch at := last + a.limit + 1; {
		case a.c.stalled.Load():
			w.link(a, now+1)
		case at > now:
			w.link(a, at)
		default:
			late = append(late, end{a.c, a.reason})
		}
		a = next
	}
	w.mu.Unlock()
	for _, e := range late {
		expired(e.c, e.reason)
	}
}
