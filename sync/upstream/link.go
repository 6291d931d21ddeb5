package upstream

import (
	"errors"
	"math"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// link watches the connections to the centre: it is what a client tells through its hooks.
type link struct {
	metrics *Metrics
	now     func() time.Time
	back    func() // called when the centre answers after failures, or for the first time

	mu        sync.Mutex
	everUp    bool
	failing   bool      // the last thing heard was a failure
	downSince time.Time // of the first failure after the last answer, when failing
	answered  time.Time // last answer
	err       error     // last failure
	errAt     time.Time
}

func newLink(m *Metrics, back func()) *link { return &link{metrics: m, now: time.Now, back: back} }

var (
	_ kgo.HookBrokerConnect = (*link)(nil)
	_ kgo.HookBrokerE2E     = (*link)(nil)
)

// OnBrokerConnect is called after dialling, negotiating versions and logging in.
func (l *link) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil {
		l.metrics.connects.WithLabelValues("error").Inc()
		l.fail(err)
		return
	}
	l.metrics.connects.WithLabelValues("ok").Inc()
	l.ok()
}

// OnBrokerE2E is called after each request. Answers to those that a connection begins with say nothing: a login may
// still fail.
func (l *link) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	if err := e.Err(); err != nil {
		l.fail(err)
		return
	}
	switch kmsg.Key(key) {
	case kmsg.ApiVersions, kmsg.SASLHandshake, kmsg.SASLAuthenticate:
	default:
		l.ok()
	}
}

func (l *link) ok() {
	l.mu.Lock()
	back := !l.everUp || l.failing
	l.everUp, l.failing, l.answered = true, false, l.now()
	l.mu.Unlock()
	if back {
		l.back()
	}
}

// lastAnswer is when the centre was last heard, zero if never.
func (l *link) lastAnswer() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered
}

func (l *link) fail(err error) {
	if errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.errAt = err, l.now()
	if !l.failing {
		l.failing, l.downSince = true, l.errAt
	}
}

// linkState is what is known about the connection.
type linkState struct {
	everUp    bool
	down      bool
	downSince time.Time
	err       error
	errAt     time.Time
}

// downAfter is how long failures must have been all that is heard before the centre counts as away: connections that
// the centre closes for idling, and one broker of several, are no outage.
const downAfter = time.Second

func (l *link) state() linkState {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := linkState{everUp: l.everUp, err: l.err, errAt: l.errAt}
	if l.failing && l.now().Sub(l.downSince) >= downAfter {
		s.down, s.downSince = true, l.downSince
	}
	return s
}

// quietFor is how long ago the centre was last heard, and a long time if that was followed by failures.
func (l *link) quietFor() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.everUp || l.failing {
		return time.Duration(math.MaxInt64)
	}
	return l.now().Sub(l.answered)
}
