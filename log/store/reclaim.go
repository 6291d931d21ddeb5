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
// one when it is older than SegmentAge. It returns the bytes freed.
func (s *Store) Reclaim() (freed int64, err error) {
	if err := s.absorb(nil); err != nil { // start offsets that are in the journal only count as well
		return 0, err
	}
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	if len(s.activeIndex) > 0 && s.opt.Now().Sub(s.active.Load().created) >= s.opt.SegmentAge {
		if err := s.roll(); err != nil {
			return 0, err
		}
	}
	for _, seg := range slices.Clone(s.sealed) {
		live, all := s.liveBytes(seg)
		switch {
		case live == 0:
			freed += seg.bytes.Load()
			if err := s.drop(seg); err != nil {
				return freed, err
			}
		case live*100 < all*rewriteBelow:
			n, err := s.rewrite(seg)
			if err != nil {
				return freed, err
			}
			freed += n
		}
	}
	s.measure()
	return freed, nil
}

// Oldest returns what is left, in the oldest sealed segment that has any of it, of the partitions that may is true for:
// where the start offsets are at each Run.Next, Reclaim gives the space back. It is empty when there is nothing.
func (s *Store) Oldest(may func(id uint32) bool) map[uint32]Run {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	left := make(map[uint32]Run)
	for _, seg := range s.sealed {
		for id, r := range s.runsOf(seg) {
			if p := s.state.Partitions[id]; p != nil && p.Start < r.Next && may(id) {
				left[id] = Run{max(r.Base, p.Start), r.Next, r.MaxTime, r.Bytes}
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

func (s *Store) liveBytes(seg *segment) (live, all int64) {
	for id, r := range s.runsOf(seg) {
		if p := s.state.Partitions[id]; p != nil && p.Start < r.Next {
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
func (s *Store) rewrite(seg *segment) (freed int64, err error) {
	if err := fsx.Check(s.opt.Faults, "segment.rewrite", seg.path); err != nil {
		return 0, err
	}
	tmp := seg.path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	options := boltOptions(s.mapBytes(), false)
	options.NoSync = true // one sync at the end
	db, err := bolt.Open(tmp, 0o600, options)
	if err != nil {
		return 0, err
	}
	index, err := s.copyLive(seg, db)
	if err == nil {
		err = db.Sync()
	}
	if err = errors.Join(err, db.Close()); err == nil {
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
	seg.detach()
	s.log.Debug("segment rewritten", "segment", seg.number, "before", seg.bytes.Load(), "after", next.bytes.Load())
	return seg.bytes.Load() - next.bytes.Load(), nil
}

// copyLive copies a segment's header, operations and live batches, and seals the copy.
func (s *Store) copyLive(seg *segment, db *bolt.DB) (map[uint32][]indexEntry, error) {
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
	to := &segment{path: seg.path, number: seg.number, db: db, faults: s.opt.Faults}
	err = seg.scan(func(seq uint64, ops []op, entries []Entry) error {
		live := slices.DeleteFunc(entries, func(e Entry) bool {
			p := s.state.Partitions[e.Partition]
			return p == nil || e.Batch.NextOffset() <= p.Start
		})
		if len(live) == 0 && len(ops) == 0 {
			return nil
		}
		indexCommit(seq, live, func(id uint32, e indexEntry) { index[id] = append(index[id], e) })
		_, err := to.commit(seq, encodeOps(ops), live)
		return err
	})
	if err != nil {
		return nil, err
	}
	return index, to.seal(summarize(seg.last, index), index)
}
