package quorum

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/culvert-mq/culvert/sync/meta"
)

var errReplaying = errors.New("the log is still being replayed")

// fsm is the state machine raft drives. raft calls it from one goroutine; state is read from all.
type fsm struct {
	log     *slog.Logger
	state   atomic.Pointer[meta.State]
	changed func() // told after every new state; must not block

	// replayed is the last command that was in the state before raft ran; raft's own replay of those
	// comes when it has a leader, and changes nothing. seen is the last one raft has come with.
	replayed, seen uint64

	// halted is set when a command could not be read: the state must not go on without it.
	halted error
}

// outcome is what raft hands back to who proposed an entry.
type outcome struct {
	result meta.Result
	state  *meta.State
	err    error
}

func newFSM(l *slog.Logger, s *meta.State, replayed uint64, changed func()) *fsm {
	f := &fsm{log: l, changed: changed, replayed: replayed}
	f.state.Store(s)
	return f
}

// Apply implements [raft.FSM]; it returns an *outcome.
func (f *fsm) Apply(l *raft.Log) any {
	f.seen = l.Index
	if l.Index <= f.replayed {
		return &outcome{state: f.state.Load()}
	}
	return f.apply(l)
}

func (f *fsm) apply(l *raft.Log) *outcome {
	if f.halted != nil {
		return &outcome{err: f.halted}
	}
	c, err := meta.DecodeCommand(l.Data)
	if err != nil {
		f.halted = fmt.Errorf("the metadata stands still at entry %d: %w", l.Index, err)
		f.log.Error("a change of the metadata cannot be read, none is made any more", "entry", l.Index, "err", err)
		return &outcome{err: f.halted}
	}
	next, result, err := f.state.Load().Apply(c)
	if err != nil {
		return &outcome{err: err}
	}
	if result.Changed {
		f.state.Store(next)
		f.changed()
	}
	return &outcome{result: result, state: next}
}

// Snapshot implements [raft.FSM]. The state is immutable, so that it is its own snapshot. raft takes it
// for that after the last command it has come with, so that there is none before its replay is done.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	switch {
	case f.halted != nil:
		return nil, f.halted
	case f.seen < f.replayed:
		return nil, errReplaying
	}
	return stateSnapshot{f.state.Load()}, nil
}

// Restore implements [raft.FSM].
func (f *fsm) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(io.LimitReader(r, meta.MaxStateBytes+1))
	if err != nil {
		return err
	}
	s, err := meta.DecodeState(b)
	if err != nil {
		return err
	}
	f.state.Store(s)
	f.halted = nil
	f.changed()
	return nil
}

type stateSnapshot struct{ s *meta.State }

// Persist implements [raft.FSMSnapshot].
func (s stateSnapshot) Persist(sink raft.SnapshotSink) error {
	b, err := s.s.Encode()
	if err == nil {
		_, err = sink.Write(b)
	}
	if err != nil {
		_ = sink.Cancel()
		return err
	}
	return sink.Close()
}

// Release implements [raft.FSMSnapshot].
func (stateSnapshot) Release() {}
