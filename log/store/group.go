package store

import (
	"sync"
	"sync/atomic"

	"github.com/culvert-mq/culvert/log/record"
)

// Entry is a batch on its way into the log, its base offset and leader epoch set.
type Entry struct {
	Partition uint32
	Batch     record.Batch
}

// Source gathers batches for the next group: a partition.
type Source interface {
	// Collect appends what has gathered since Join to dst, in offset order, and hands it over. The committer calls it
	// once per Join.
	Collect(dst []Entry) []Entry
	// Committed says that what Collect returned last is durable and can be read. The committer calls it before the
	// group is done.
	Committed()
	// Failed says that what Collect returned last, and all behind it, is not in the log. The source goes back to the
	// last durable offset.
	Failed()
}

// Group is what becomes durable in one commit: all that arrived while the group before it was being synced.
type Group struct {
	sources []Source // guarded by Store.mu while the group is open, then the committer's
	ops     []op     // likewise
	probe   bool     // likewise: somebody waits for it although it may be empty
	urgent  bool     // likewise: it may use what is held in reserve
	bytes   atomic.Int64

	done   chan struct{}
	err    error // set before done is closed
	direct bool  // likewise: its batches are in a segment and not in memory

	mu       sync.Mutex
	waiters  []Waiter // guarded by mu
	finished bool     // guarded by mu
}

// Waiter is told when a group is done.
type Waiter = interface{ Committed() }

func newGroup() *Group { return &Group{done: make(chan struct{})} }

// Done is closed when the group is durable or has failed.
func (g *Group) Done() <-chan struct{} { return g.done }

// Err returns why the group failed, nil if it is durable. It may be called only after Done.
func (g *Group) Err() error { return g.err }

// Direct reports whether the batches of a group that is durable went straight to a segment, so that the log keeps none of
// their memory. It may be called only after Done.
func (g *Group) Direct() bool { return g.direct && g.err == nil }

// Notify has w told, once, when the group is done; at once if it already is. Committed is called from the committer and
// must not block.
func (g *Group) Notify(w interface{ Committed() }) {
	g.mu.Lock()
	if !g.finished {
		g.waiters = append(g.waiters, w)
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	w.Committed()
}

func (g *Group) finish(err error) {
	g.err = err
	close(g.done)
	g.mu.Lock()
	g.finished = true
	waiters := g.waiters
	g.waiters = nil
	g.mu.Unlock()
	for _, w := range waiters {
		w.Committed()
	}
}
