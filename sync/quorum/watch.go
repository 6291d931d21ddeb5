package quorum

import (
	"context"
	"slices"
	"sync"

	"github.com/culvert-mq/culvert/sync/meta"
)

// watchers tells changes of the state, in order, from one goroutine that runs between start and close.
// Changes that happen faster than they are told are told as one.
type watchers struct {
	state func() *meta.State

	wake chan struct{} // capacity 1
	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex // guards what follows
	list  []*watcher
	told  int64         // version that all watchers were told
	round chan struct{} // closed when told grows or a watcher was told for the first time
}

type watcher struct {
	fn   func(old, new *meta.State)
	seen *meta.State // only the telling goroutine uses it

	// call is held while fn runs, gone tells under it that fn must not run any more.
	call sync.Mutex
	gone bool

	first chan struct{} // closed after the first call
}

func newWatchers(state func() *meta.State) *watchers {
	return &watchers{
		state: state,
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		round: make(chan struct{}),
	}
}

func (w *watchers) start() { w.done.Go(w.run) }

// close ends the telling. No function runs after it returns.
func (w *watchers) close() {
	close(w.stop)
	w.done.Wait()
}

// changed tells that there may be a new state. It never blocks.
func (w *watchers) changed() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watchers) run() {
	for {
		select {
		case <-w.stop:
			return
		case <-w.wake:
		}
		w.mu.Lock()
		list := slices.Clone(w.list)
		w.mu.Unlock()
		s := w.state()
		for _, e := range list {
			e.tell(s)
		}
		w.mu.Lock()
		w.told = s.Version
		close(w.round)
		w.round = make(chan struct{})
		w.mu.Unlock()
	}
}

func (e *watcher) tell(s *meta.State) {
	e.call.Lock()
	defer e.call.Unlock()
	if e.gone || e.seen == s {
		return
	}
	old := e.seen
	e.seen = s
	if old == nil {
		old = meta.Empty()
		defer close(e.first)
	}
	e.fn(old, s)
}

// add registers fn and waits for its first call.
func (w *watchers) add(fn func(old, new *meta.State)) (stop func()) {
	e := &watcher{fn: fn, first: make(chan struct{})}
	w.mu.Lock()
	w.list = append(w.list, e)
	w.mu.Unlock()
	w.changed()
	select {
	case <-e.first:
	case <-w.stop:
	}
	return func() {
		e.call.Lock()
		e.gone = true
		e.call.Unlock()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.list = slices.DeleteFunc(w.list, func(x *watcher) bool { return x == e })
	}
}

// wait returns when all watchers were told a state of at least that version, or sooner when ctx or the
// telling ends.
func (w *watchers) wait(ctx context.Context, version int64) {
	for {
		w.mu.Lock()
		told, round := w.told >= version || len(w.list) == 0, w.round
		w.mu.Unlock()
		if told {
			return
		}
		select {
		case <-round:
		case <-ctx.Done():
			return
		case <-w.stop:
			return
		}
	}
}
