package store

import (
	"errors"
	"fmt"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/culvert-mq/culvert/log/fsx"
)

// rewriteBelow is the share of live bytes, in percent, below which a sealed segment is rewritten without the dead ones.
const rewriteBelow = 50

// Stats are figures of the store as it is now.
type Stats struct {
	Segments     int
	SegmentBytes int64 // of all segment files
	JournalBytes int64 // of the journal file
}

// Sealed has a value when a segment was sealed, which is when retention may find something to do.
func (s *Store) Sealed() <-chan struct{} { return s.sealedC }

// Stats returns figures of the store.
func (s *Store) Stats() Stats {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	st := Stats{Segments: len(s.sealed) + 1, SegmentBytes: s.active.Load().bytes.Load(), JournalBytes: s.journal.size + blockSize}
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
	for _, seg := range slices.Clone(s.sealed) {
		live, all := s.liveBytes(seg, starts)
		switch {
		case live == 0:
			freed += seg.bytes.Load()
			errs = append(errs, s.drop(seg))
		case live*100 < all*rewriteBelow:
			sparse = append(sparse, seg)
		}
	}
	s.measure()
	s.absorbMu.Unlock()
	for _, seg := range sparse { // commits go on meanwhile
		n, err := s.rewrite(seg, starts)
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
				left[id] = Run{max(r.Base, start), r.Next, r.MaxTime, r.Bytes}
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

func (s *Store) liveBytes(seg *segment, starts map[uint32]int64) (live, all int64) {
	for id, r := range s.runsOf(seg) {
		if start, ok := starts[id]; ok && start < r.Next {
			live += r.Bytes
		}
	}
	return live, seg.batchBytes
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

// rewrite replaces a sealed segment by one that holds only the runs that are still there. The new file is written
// beside and renamed over; readers that have begun keep the old one.
func (s *Store) rewrite(seg *segment, starts map[uint32]int64) (freed int64, err error) {
	if err := fsx.Check(s.opt.Faults, "segment.rewrite", seg.path); err != nil {
		return 0, err
	}
	tmp := seg.path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	db, err := bolt.Open(tmp, 0o600, boltOptions(s.mapBytes(), false))
	if err != nil {
		return 0, err
	}
	var index map[uint32][]indexEntry
	err = guard(seg, func() (err error) {
		index, err = s.copyLive(seg, db, starts)
		return err
	})
	if err == nil {
		err = db.Sync()
	}
	err = errors.Join(err, db.Close())
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	if err == nil && !slices.Contains(s.sealed, seg) {
		return 0, os.Remove(tmp) // a reader has found it damaged
	}
	if err == nil {
		err = os.Rename(tmp, seg.path)
	}
	if err == nil {
		err = fsx.SyncDir(s.opt.Dir)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("rewrite segment %s: %w", seg.path, err), os.Remove(tmp))
	}
	sum := summarize(seg.last, index)
	next := &segment{path: seg.path, number: seg.number, faults: seg.faults, mapped: seg.mapped,
		sealed: true, last: seg.last, created: seg.created, batchBytes: sum.bytes()}
	next.measure()
	s.sealed = slices.Clone(s.sealed)
	s.sealed[slices.Index(s.sealed, seg)] = next
	s.logsMu.RLock()
	defer s.logsMu.RUnlock()
	for id, l := range s.logs {
		i := slices.IndexFunc(sum.Partitions, func(r runSummary) bool { return r.ID == id })
		if i < 0 {
			l.forget(seg)
		} else {
			l.replace(seg, sealedRun{sum.Partitions[i], next})
		}
	}
	seg.detach(errGone)
	s.measure()
	s.log.Debug("segment rewritten", "segment", seg.number, "before", seg.bytes.Load(), "after", next.bytes.Load())
	return seg.bytes.Load() - next.bytes.Load(), nil
}

// copyLive copies a segment's header, operations and live batches, and seals the copy.
func (s *Store) copyLive(seg *segment, db *bolt.DB, starts map[uint32]int64) (map[uint32][]indexEntry, error) {
	index := make(map[uint32][]indexEntry)
	from, err := seg.begin()
	if err != nil {
		return nil, err
	}
	defer seg.end(from)
	err = db.Update(func(tx *bolt.Tx) error {
		h, err := tx.CreateBucket(keyHeader)
		if err != nil {
			return err
		}
		old := from.Bucket(keyHeader)
		return errors.Join(h.Put(keySegment, old.Get(keySegment)), h.Put(keyState, old.Get(keyState)))
	})
	if err != nil {
		return nil, err
	}
	before, err := seg.before(from)
	if err != nil {
		return nil, err
	}
	to := &segment{path: seg.path, number: seg.number, last: before, db: db, faults: s.opt.Faults, lazy: true}
	err = seg.scan(func(c *commit) error {
		live := slices.DeleteFunc(c.entries, func(e Entry) bool {
			start, ok := starts[e.Partition]
			return !ok || e.Batch.NextOffset() <= start
		})
		if len(live) == 0 && len(c.ops) == 0 {
			return nil
		}
		indexCommit(c.seq, live, func(id uint32, e indexEntry) { index[id] = append(index[id], e) })
		_, err := to.commit(c.seq, encodeOps(c.ops), live)
		return err
	})
	if err != nil {
		return nil, err
	}
	return index, to.seal(summarize(seg.last, index), index)
}
