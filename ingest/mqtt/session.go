package mqtt

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// session is what the server knows of a client: its identifier, its subscriptions, what it was sent and has not
// acknowledged, and, while it is behind, where in the log it reads on. For now it ends with its connection.
//
// Subscriptions are changed by the hub's goroutine alone. mu is taken before the connection's.
type session struct {
	id   string
	conn *conn

	mu     sync.Mutex
	ended  bool
	exact  map[string]byte // QoS granted, by filter without wildcards
	wild   map[string]byte // QoS granted, by filter with wildcards
	window window
	lag    *lag // nil while the session is at the live end

	behind    atomic.Bool // lag is not nil
	busy      atomic.Bool // its catch-up is queued or runs
	postponed atomic.Bool // its catch-up waits for the next tick

	// Of the hub.
	mark  int64 // of the last match that found the session
	place int   // in that match's result
	dirty bool  // has output that was not flushed
}

func newSession(id string, c *conn) *session {
	return &session{id: id, conn: c}
}

// acknowledged takes a PUBACK. One that belongs to nothing is ignored: the standard does not say what else to do.
func (s *session) acknowledged(id uint16) {
	s.mu.Lock()
	s.window.acknowledge(id)
	s.mu.Unlock()
	s.roomAgain()
}

// roomAgain lets a session that is behind read on when there is room for some messages again. It is called without
// locks, after every acknowledgement and every write; also by the goroutine that commits, so it waits for nobody.
func (s *session) roomAgain() {
	if !s.behind.Load() || s.busy.Load() {
		return
	}
	if !s.mu.TryLock() {
		s.conn.srv.catchUps.enqueue(s) // which finds out by itself
		return
	}
	defer s.mu.Unlock()
	s.resume()
}

// resume lets a session that is behind read on if there is room: at once, or, so as not to read a whole batch for each
// message acknowledged, with the next tick while the room is small. mu is held.
func (s *session) resume() {
	if s.lag == nil || s.ended {
		return
	}
	switch some, much := s.room(); {
	case much:
		s.conn.srv.catchUps.enqueue(s)
	case some:
		s.conn.srv.catchUps.postpone(s)
	}
}

// subscriptions returns their number.
func (s *session) subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.exact) + len(s.wild)
}

// has tells whether the session has a subscription with exactly this filter.
func (s *session) has(filter string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, exact := s.exact[filter]
	_, wild := s.wild[filter]
	return exact || wild
}

// put stores a subscription, drop removes one. mu is held, the hub calls.
func (s *session) put(filter string, qos byte) {
	m := &s.exact
	if isWild(filter) {
		m = &s.wild
	}
	if *m == nil {
		*m = make(map[string]byte, 1)
	}
	(*m)[filter] = qos
}

func (s *session) drop(filter string) {
	delete(s.exact, filter)
	delete(s.wild, filter)
}

// end is called by the connection that ends.
func (s *session) end() {
	s.mu.Lock()
	s.ended = true
	s.lag = nil
	s.behind.Store(false)
	any := len(s.exact)+len(s.wild) > 0
	s.mu.Unlock()
	if any {
		s.conn.srv.hub.leave(s)
	}
}

// sessions is the table of sessions by client identifier.
type sessions struct {
	mu   sync.Mutex
	byID map[string]*session
}

// enter makes s the session of its client. It returns the connection that had the identifier before, if any.
func (t *sessions) enter(s *session) (old *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o := t.byID[s.id]; o != nil {
		old = o.conn
	}
	t.byID[s.id] = s
	return old
}

// leave removes s, unless another has taken its place.
func (t *sessions) leave(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[s.id] == s {
		delete(t.byID, s.id)
	}
}

// count returns the number of sessions.
func (t *sessions) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// newID returns an identifier for a client that has none [MQTT-3.1.3-6].
func (t *sessions) newID() string {
	for {
		id := fmt.Sprintf("auto-%016x", rand.Uint64())
		t.mu.Lock()
		_, taken := t.byID[id]
		t.mu.Unlock()
		if !taken {
			return id
		}
	}
}
