package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/culvert-mq/culvert/sync/meta"
)

// Propose carries out a command. When it returns without an error, the change is durable, [Quorum.State]
// has it and every watcher was told. A command that is refused costs nothing; the error is one of
// package meta. While no node leads, Propose waits for as long as ctx allows: give it a deadline.
//
// An error of ctx, and [ErrUnknownOutcome], leave open whether the command was or will be carried out.
// Any other error means that it was not: the disk's own where the command could not be stored. Only
// where a sync failed and the node then crashed can such a command come back; so commands are made to be
// repeated.
func (q *Quorum) Propose(ctx context.Context, c meta.Command) (meta.Result, error) {
	began := time.Now()
	r, err := q.propose(ctx, c)
	switch {
	case err == nil && r.Changed:
		q.count(c, "changed")
		q.metrics.seconds.Observe(time.Since(began).Seconds())
	case err == nil:
		q.count(c, "unchanged")
	case isRefusal(err):
		q.count(c, "refused")
	default:
		q.count(c, "failed")
	}
	return r, err
}

func (q *Quorum) count(c meta.Command, outcome string) {
	q.metrics.proposals.WithLabelValues(meta.CommandName(c), outcome).Inc()
}

// refusedError marks that a command was applied and refused, so that it is told from an error of raft.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

func isRefusal(err error) bool {
	var r refusedError
	return errors.As(err, &r)
}

func (q *Quorum) propose(ctx context.Context, c meta.Command) (meta.Result, error) {
	data, err := meta.EncodeCommand(c)
	if err != nil {
		return meta.Result{}, err
	}
	for {
		leads, changed := q.leadership.get()
		if leads {
			// The leader's state has all that is committed, see follow: what it refuses now need not be
			// stored to be refused, and what changes nothing need not be stored either.
			if _, r, err := q.State().Apply(c); err != nil {
				return r, refusedError{err}
			} else if !r.Changed {
				return r, nil
			}
		}
		o, err := q.commit(ctx, data)
		if err == nil {
			q.watchers.wait(ctx, o.state.Version)
			return o.result, nil
		}
		if !errors.Is(err, raft.ErrNotLeader) {
			return meta.Result{}, err
		}
		if _, id := q.raft.LeaderWithID(); id != "" && id != q.me {
			return meta.Result{}, ErrNotLeader
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return meta.Result{}, fmt.Errorf("nobody leads the quorum: %w", ctx.Err())
		case <-q.stopped:
			return meta.Result{}, ErrClosed
		}
	}
}

// commit hands the command to raft and waits until it is applied.
func (q *Quorum) commit(ctx context.Context, data []byte) (*outcome, error) {
	type reply struct {
		o   *outcome
		err error
	}
	done := make(chan reply, 1)
	q.mu.RLock()
	if q.closed {
		q.mu.RUnlock()
		return nil, ErrClosed
	}
	// raft's futures know no context.
	q.tasks.Go(func() {
		f := q.raft.Apply(data, 0)
		if err := f.Error(); err != nil {
			done <- reply{err: err}
			return
		}
		done <- reply{o: f.Response().(*outcome)}
	})
	q.mu.RUnlock()
	select {
	case r := <-done:
		switch {
		case errors.Is(r.err, raft.ErrRaftShutdown) || errors.Is(r.err, ErrClosed):
			return nil, ErrClosed
		case errors.Is(r.err, raft.ErrLeadershipLost):
			return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, r.err)
		case r.err != nil:
			return nil, r.err
		case r.o.err != nil:
			return nil, refusedError{r.o.err}
		}
		return r.o, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// leadership is whether this node leads, and how to wait for a change of that.
type leadership struct {
	mu      sync.Mutex
	leads   bool
	changed chan struct{} // closed at the next change
}

func (l *leadership) init() { l.changed = make(chan struct{}) }

func (l *leadership) set(leads bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leads = leads
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *leadership) get() (leads bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leads, l.changed
}
