package kafka

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-mq/culvert/sync/meta"
)

const (
	// sessionIdle is how long a session is safe from being replaced by a new one.
	sessionIdle = 2 * time.Minute
	// maxSessionPartitions is how many partitions all sessions may have together.
	maxSessionPartitions = 100_000
)

// sessions are the incremental fetch sessions (KIP-227): what a consumer has asked for and been told, so that both sides
// only tell what changed. When there are too many, a consumer gets none, and fetches with full requests.
type sessions struct {
	mu         sync.Mutex
	max        int
	byID       map[int32]*session // guarded by mu
	partitions int                // guarded by mu: of all sessions
	gauge      prometheus.Gauge
}

// session is what one consumer fetches. A request owns it from begin to finish: the epoch it brings is good once.
type session struct {
	id      int32
	conn    *conn // that it was made on
	withIDs bool  // partitions are named by topic ids: Fetch v13 and later

	// Guarded by sessions.mu.
	epoch int32 // of the next request
	used  time.Time
	parts []*sessionPart // in the order in which they are served
	byKey map[fetchKey]*sessionPart
}

// fetchKey names a partition as the client does: by the topic's name, or by its id.
type fetchKey struct {
	topic string
	id    meta.TopicID
	index int32
}

// fetchAsk is what a request asks of a partition.
type fetchAsk struct {
	fetchKey
	offset      int64
	maxBytes    int32
	leaderEpoch int32 // -1: not known
	lastEpoch   int32 // of the record before offset; -1: not known
}

// sessionPart is a partition of a session.
type sessionPart struct {
	fetchAsk
	hw, start int64 // as the client was told last; -1 after an error, so that it is told when that is over
	served    bool  // had records in the last answer
}

// Epochs of a request that do not belong to a session.
const (
	fullFetchNew  = 0  // full, begin a session
	fullFetchLast = -1 // full, without a session
)

func newSessions(limit int, gauge prometheus.Gauge) *sessions {
	return &sessions{max: limit, byID: map[int32]*session{}, gauge: gauge}
}

// drop ends a session.
func (ss *sessions) drop(id int32) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.dropLocked(id)
}

func (ss *sessions) dropLocked(id int32) {
	if s := ss.byID[id]; s != nil {
		ss.partitions -= len(s.parts)
		delete(ss.byID, id)
		ss.gauge.Set(float64(len(ss.byID)))
	}
}

// begin applies an incremental request to its session and returns what the session fetches now, in dst. The session is nil
// when nothing is left of it: it has ended then, as the client expects.
func (ss *sessions) begin(dst []fetchPart, id, epoch int32, withIDs bool, asks []fetchAsk, forgotten []fetchKey) (*session, []fetchPart, errorCode) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.byID[id]
	switch {
	case s == nil:
		return nil, dst, codeFetchSessionIDNotFound
	case s.epoch != epoch:
		return nil, dst, codeInvalidFetchSessionEpoch
	case s.withIDs != withIDs:
		return nil, dst, codeFetchSessionTopicIDError
	}
	had := len(s.parts)
	for i := range asks {
		if p := s.byKey[asks[i].fetchKey]; p != nil {
			p.fetchAsk = asks[i]
		} else if ss.partitions+len(s.parts)-had < maxSessionPartitions {
			s.add(asks[i], -1, -1)
		} else {
			ss.partitions += len(s.parts) - had
			ss.dropLocked(id)
			return nil, dst, codeFetchSessionIDNotFound // the client begins anew, and gets no session
		}
	}
	s.forget(forgotten)
	ss.partitions += len(s.parts) - had
	if len(s.parts) == 0 {
		ss.dropLocked(id)
		return nil, dst, codeNone
	}
	s.used = time.Now()
	if s.epoch == math.MaxInt32 {
		s.epoch = 0
	}
	s.epoch++
	for _, p := range s.parts {
		dst = append(dst, fetchPart{fetchAsk: p.fetchAsk, cached: p})
	}
	return s, dst, codeNone
}

func (s *session) add(a fetchAsk, hw, start int64) {
	p := &sessionPart{fetchAsk: a, hw: hw, start: start}
	s.parts = append(s.parts, p)
	s.byKey[a.fetchKey] = p
}

func (s *session) forget(keys []fetchKey) {
	for _, k := range keys {
		delete(s.byKey, k)
	}
	if len(keys) == 0 {
		return
	}
	kept := s.parts[:0]
	for _, p := range s.parts {
		if s.byKey[p.fetchKey] == p {
			kept = append(kept, p)
		}
	}
	clear(s.parts[len(kept):])
	s.parts = kept
}

// finish notes what the answer to an incremental request tells, and moves the partitions that had records behind the
// others, so that no partition starves when an answer is full.
func (ss *sessions) finish(s *session, parts []fetchPart) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	any := false
	for i := range parts {
		p := &parts[i]
		if p.cached.served = p.size > 0; p.cached.served {
			any = true
		}
		p.cached.told(p)
	}
	if !any {
		return
	}
	order := make([]*sessionPart, 0, len(s.parts))
	for _, served := range []bool{false, true} {
		for _, p := range s.parts {
			if p.served == served {
				order = append(order, p)
			}
		}
	}
	s.parts = order
}

func (p *sessionPart) told(f *fetchPart) {
	p.hw, p.start = f.hw, f.start
	if f.code != codeNone {
		p.hw = -1
	}
}

// changed tells whether an incremental answer has to name the partition.
func (f *fetchPart) changed() bool {
	return f.size > 0 || f.code != codeNone || f.diverged() || f.hw != f.cached.hw || f.start != f.cached.start
}

// create makes a session of a full request that was answered with parts, and returns its id: 0 when there is no room.
func (ss *sessions) create(c *conn, withIDs bool, parts []fetchPart) int32 {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if len(parts) == 0 || ss.partitions+len(parts) > maxSessionPartitions || len(ss.byID) >= ss.max && !ss.evict() {
		return 0
	}
	s := &session{conn: c, withIDs: withIDs, epoch: 1, used: time.Now(), byKey: make(map[fetchKey]*sessionPart, len(parts))}
	for s.id == 0 || ss.byID[s.id] != nil {
		s.id = rand.Int32()
	}
	for i := range parts {
		p := &parts[i]
		if s.byKey[p.fetchKey] != nil {
			return 0 // the client names a partition twice; it may do without a session
		}
		s.add(p.fetchAsk, -1, -1)
		s.byKey[p.fetchKey].told(p)
	}
	ss.byID[s.id] = s
	ss.partitions += len(parts)
	ss.gauge.Set(float64(len(ss.byID)))
	return s.id
}

// evict ends the session that was idle for longest, if it was for long enough or its connection is gone.
func (ss *sessions) evict() bool {
	var oldest *session
	for _, s := range ss.byID {
		if s.conn.ctx.Err() == nil && time.Since(s.used) < sessionIdle {
			continue
		}
		if oldest == nil || s.used.Before(oldest.used) {
			oldest = s
		}
	}
	if oldest == nil {
		return false
	}
	ss.dropLocked(oldest.id)
	return true
}
