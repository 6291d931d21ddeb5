package store

import (
	"errors"
	"slices"

	"github.com/culvert-mq/culvert/log/fsx"
)

// rewriteBelow is the share of live bytes, in percent, below which a sealed segment is rewritten without the dead ones.
const rewriteBelow = 50

// Stats are figures of the store as it is now.
type Stats struct {
	Segments     int
	SegmentBytes int64 // of all segment files
	ActiveBytes  int64 // of the one that is written to
	JournalBytes int64 // of the journal file
	ReserveBytes int64 // held for urgent sources
}

// Sealed has a value when a segment was sealed, which is when retention may find something to do.
func (s *Store) Sealed() <-chan struct{} { return s.sealedC }

// BatchBytes returns how many bytes of batches were made durable since the store was opened.
func (s *Store) BatchBytes() int64 { return s.batchBytes.Load() }

// Stats returns figures of the store.
func (s *Store) Stats() Stats {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	st := Stats{Segments: len(s.sealed) + 1, ActiveBytes: s.active.Load().bytes.Load(), JournalBytes: s.journal.size + blockSize, ReserveBytes: s.reserve.bytes()}
	st.SegmentBytes = st.ActiveBytes
	for _, seg := range s.sealed {
		st.SegmentBytes += seg.bytes.Load()
	}
	return st
}

// Reclaim removes the sealed segments that hold nothing any more, rewrites those that hold little, and seals the active
// one when it is older than SegmentAge. It returns the bytes freed. Where one step fails, on a full disk above all, the
// others are done nevertheless.
func (s *Store) Reclaim() (freed int64, err error) {
	s.reclaimMu.Lock()
	defer s.reclaimMu.Unlock()
	errs := []error{s.absorb(nil)}
	s.absorbMu.Lock()
	if len(s.activeIndex) > 0 && s.opt.Now().Sub(s.active.Load().created) >= s.opt.SegmentAge {
		if err := s.roll(0); err != nil {
			errs = append(errs, s.classify(err))
		}
	}
	starts := s.starts()
	var sparse []*segment
	rest := s.rest(starts)
	for _, seg := range slices.Clone(s.sealed) {
		r := rest[seg]
		switch {
		case r.bytes == 0 && !r.stands:
			freed += seg.bytes.Load()
			errs = append(errs, s.drop(seg))
		case r.bytes*100 < seg.batchBytes*rewriteBelow:
			sparse = append(sparse, seg)
		}
	}
	s.measure()
	s.absorbMu.Unlock()
	for _, seg := range sparse { // commits go on meanwhile
		n, err := s.rewrite(seg, keepAll, noPace)
		if fsx.IsFull(err) {
			err = s.classify(err)
		}
		freed, errs = freed+n, append(errs, err)
	}
	return freed, errors.Join(errs...)
}

// starts returns the start offset of every partition, also those that are in the journal only: they are durable. The
// caller holds absorbMu.
func (s *Store) starts() map[uint32]int64 {
	starts := make(map[uint32]int64, len(s.state.Partitions))
	for id, p := range s.state.Partitions {
		starts[id] = p.Start
	}
	s.pendMu.Lock()
	defer s.pendMu.Unlock()
	for _, g := range s.pending {
		for _, o := range g.ops {
			have, ok := starts[o.info.ID]
			switch {
			case o.kind == opDrop:
				delete(starts, o.info.ID)
			case o.kind == opStart && ok:
				starts[o.info.ID] = max(have, o.offset)
			case o.kind == opReset && ok:
				starts[o.info.ID] = o.state.Start
			}
		}
	}
	return starts
}

// Oldest returns what is left, in the oldest sealed segment that has any of it, of the partitions that may is true for:
// where the start offsets are at each Run.Next, Reclaim gives the space back. It is empty when there is nothing.
func (s *Store) Oldest(may func(id uint32) bool) map[uint32]Run {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	left := make(map[uint32]Run)
	starts := s.starts()
	for _, seg := range s.sealed {
		for id, r := range s.runsOf(seg) {
			if start, ok := starts[id]; ok && start < r.Next && may(id) {
				left[id] = Run{max(r.Base, start), r.Next, r.MaxTime, r.Bytes, r.Records}
			}
		}
		if len(left) > 0 {
			break
		}
	}
	return left
}

// runsOf returns the runs of a sealed segment by partition.
func (s *Store) runsOf(seg *segment) map[uint32]runSummary {
	runs := make(map[uint32]runSummary)
	s.logsMu.RLock()
	defer s.logsMu.RUnlock()
	for id, l := range s.logs {
		l.mu.RLock()
		for _, r := range l.sealed {
			if r.seg == seg {
				runs[id] = r.runSummary
			}
		}
		l.mu.RUnlock()
	}
	return runs
}

// rest is what is left of a segment.
type rest struct {
	bytes  int64 // of batches in force
	stands bool  // it tells that compaction took the records of some offsets, as long as the state does not say so
}

// rest returns what is left of every sealed segment that anything is left of. The caller holds absorbMu.
func (s *Store) rest(starts map[uint32]int64) map[*segment]rest {
	all := make(map[*segment]rest, len(s.sealed))
	s.logsMu.RLock()
	defer s.logsMu.RUnlock()
	for id, l := range s.logs {
		start, ok := starts[id]
		if !ok {
			continue
		}
		cleaned := int64(0)
		if p := s.state.Partitions[id]; p != nil {
			cleaned = p.Cleaned
		}
		l.mu.RLock()
		for _, r := range l.sealed {
			if start < r.Next {
				have := all[r.seg]
				all[r.seg] = rest{have.bytes + r.Bytes, have.stands || cleaned < r.Next}
			}
		}
		l.mu.RUnlock()
	}
	return all
}

// drop forgets and deletes a sealed segment.
func (s *Store) drop(seg *segment) error {
	s.logsMu.RLock()
	for _, l := range s.logs {
		l.forget(seg)
	}
	s.logsMu.RUnlock()
	s.sealed = slices.DeleteFunc(slices.Clone(s.sealed), func(g *segment) bool { return g == seg })
	if err := seg.remove(); err != nil {
		return err
	}
	s.log.Debug("segment dropped", "segment", seg.number)
	return fsx.SyncDir(s.opt.Dir)
}
