package replica

import (
	"slices"
	"sync"
	"sync/atomic"
)

// watchers are channels, of a capacity of 1, into which something is sent when something happened. Waking none costs one
// atomic load. The zero value has none.
type watchers struct {
	some atomic.Bool // whether there are any
	mu   sync.Mutex
	list []chan<- struct{} // guarded by mu
}

// add has ch woken until stop is called.
func (w *watchers) add(ch chan<- struct{}) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, ch)
	w.some.Store(true)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if i := slices.Index(w.list, ch); i >= 0 {
			w.list = slices.Delete(w.list, i, i+1)
		}
		w.some.Store(len(w.list) > 0)
	}
}

// wake sends into every channel that has room.
func (w *watchers) wake() {
	if !w.some.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.list {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
