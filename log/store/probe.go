package store

import (
	"context"
	"errors"
)

// Probe finds out whether the log can still write and sync. Where groups were made durable since the call before, that is
// known, and nothing is done; else the committer writes one free block of the journal, 4 KiB, and syncs it, or the next
// group does in its place. The block holds a mark and no group, so that nothing is left to be absorbed.
//
// Errors: ErrFull where the journal has no block free and the device no room to absorb it: the log works, and refuses.
// ErrFailed, ErrClosed; ctx's when the log does not answer in time.
func (s *Store) Probe(ctx context.Context) error {
	if n := s.groups.Load(); s.probed.Swap(n) != n {
		return nil
	}
	s.mu.Lock()
	if err := s.takes(); err != nil && !errors.Is(err, ErrFull) {
		s.mu.Unlock()
		return err
	}
	g := s.open
	g.probe = true
	signal(s.wake)
	s.mu.Unlock()
	select {
	case <-g.done:
		s.probed.Store(s.groups.Load())
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commitEmpty ends the open group, which holds nothing, if it is waited for. Nothing is behind it, so that a device without
// room takes nothing back; after a failure nothing is taken any more. The caller, the committer, holds mu; it is given back.
func (s *Store) commitEmpty(g *Group) {
	probe := g.probe
	if probe {
		s.open = newGroup()
	}
	s.mu.Unlock()
	if !probe {
		return
	}
	err := s.mark()
	if err != nil {
		err = s.classify(err)
	}
	if errors.Is(err, ErrFailed) {
		s.fail(g, err)
		return
	}
	if err == nil {
		s.m.JournalBytes.Add(blockSize)
	}
	g.finish(err)
}

// mark notes in the journal what is settled. The committer calls it, and Close.
func (s *Store) mark() error {
	off, err := s.place(s.seq+1, blockSize)
	if err != nil {
		return err
	}
	err = s.journal.mark(off)
	s.pendMu.Lock()
	s.journal.frames = s.journal.frames[:len(s.journal.frames)-1] // nobody else reserves
	s.journal.head = off
	s.pendMu.Unlock()
	if err == nil {
		s.unmarked.Store(false)
	}
	return err
}

// markSoon has the committer mark a bulk commit that nothing has followed, so that damage to it can be told from a commit
// that was never finished.
func (s *Store) markSoon() {
	if !s.unmarked.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.takes() == nil {
		s.open.probe = true
		signal(s.wake)
	}
}
