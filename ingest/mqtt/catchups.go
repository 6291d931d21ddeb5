package mqtt

import "sync"

// catchUps let sessions that are behind read on, a few at a time, each for one turn. The goroutines are there only while
// there is something to do.
type catchUps struct {
	most int

	mu      sync.Mutex
	queue   []*session
	later   []*session // have little room, wait for the next tick
	running int
	closed  bool
	wg      sync.WaitGroup
}

// enqueue has s read on. It does not block, and may be called with the session's lock held.
func (q *catchUps) enqueue(s *session) {
	if s.busy.Swap(true) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.queue = append(q.queue, s)
	if q.running < q.most {
		q.running++
		q.wg.Go(q.run)
	}
}

// postpone has s read on with the next tick.
func (q *catchUps) postpone(s *session) {
	if s.postponed.Swap(true) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.later = append(q.later, s)
}

// tick has those read on that were postponed.
func (q *catchUps) tick() {
	q.mu.Lock()
	later := q.later
	q.later = nil
	q.mu.Unlock()
	for _, s := range later {
		s.postponed.Store(false)
		q.enqueue(s)
	}
}

func (q *catchUps) run() {
	for {
		q.mu.Lock()
		if len(q.queue) == 0 || q.closed {
			q.running--
			q.queue = nil
			q.mu.Unlock()
			return
		}
		s := q.queue[0]
		q.queue[0] = nil
		q.queue = q.queue[1:]
		q.mu.Unlock()
		q.turn(s)
	}
}

// now gives s its turn on the caller's goroutine, unless it has one already.
func (q *catchUps) now(s *session) {
	if !s.busy.Swap(true) {
		q.turn(s)
	}
}

// turn is one turn of s, whose busy flag is set.
func (q *catchUps) turn(s *session) {
	again := false
	func() {
		defer func() {
			if p := recover(); p != nil {
				s.conn.broke("catching up", p)
			}
		}()
		again = s.catchUp()
	}()
	s.busy.Store(false)
	if again {
		q.enqueue(s)
	} else {
		s.roomAgain() // room may have come while the session was busy
	}
}

// close ends the goroutines.
func (q *catchUps) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wg.Wait()
}
