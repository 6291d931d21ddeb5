package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-mq/culvert/log/fsx"
)

const (
	// freeCheck is how often free space is looked at.
	freeCheck = time.Second
	// commitOverhead is what bbolt adds to a commit at most beside its batches: pages of the root and of the bucket.
	commitOverhead = 4 * blockSize
	// sealReserve is room in the map for the index and the summary.
	sealReserve = 2 << 20
)

// absorbLoop moves what gathers in the journal into the active segment.
func (s *Store) absorbLoop() {
	defer s.wg.Done()
	timer := time.NewTimer(0)
	if !timer.Stop() {
		<-timer.C
	}
	var due time.Time // of the timer, zero when it does not run
	arm := func(d time.Duration) {
		if at := time.Now().Add(d); due.IsZero() || at.Before(due) { // what comes in the meantime does not put it off
			timer.Reset(d)
			due = at
		}
	}
	for {
		select {
		case <-s.stop:
			return
		case <-s.absorbSoon:
			if s.Refused() != nil {
				arm(min(freeCheck, s.opt.AbsorbInterval))
			} else {
				arm(s.opt.AbsorbInterval)
			}
			continue
		case <-s.absorbNow:
		case <-timer.C:
			due = time.Time{}
		}
		err := s.absorb(nil)
		if err == nil {
			err = s.spaceLeft()
		}
		s.setRefused(err)
		if err == nil {
			s.reserve.fill(s.opt.MinFreeBytes)
		}
		s.markSoon()
		if err != nil {
			arm(freeCheck)
		}
	}
}

// spaceLeft returns ErrFull when the device has less than MinFreeBytes left.
func (s *Store) spaceLeft() error {
	if s.opt.MinFreeBytes <= 0 {
		return nil
	}
	if err := fsx.Check(s.opt.Faults, "store.space", s.opt.Dir); err != nil {
		return s.classify(err)
	}
	free, err := fsx.FreeBytes(s.opt.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if free < s.opt.MinFreeBytes {
		return fmt.Errorf("%w: %d bytes free, %d are kept back", ErrFull, free, s.opt.MinFreeBytes)
	}
	return nil
}

// setRefused refuses or takes appends from now on. A failed device stays refused.
func (s *Store) setRefused(err error) {
	if err != nil {
		err = s.classify(err)
	}
	s.mu.Lock()
	before := s.refused
	if !errors.Is(before, ErrFailed) {
		s.refused = err
	}
	s.mu.Unlock()
	switch {
	case before == nil && err != nil:
		s.log.Error("appends are refused", "err", err)
	case before != nil && err == nil && !errors.Is(before, ErrFailed):
		s.log.Info("appends are taken again")
	}
}

// absorb writes all that is pending, and behind it the group extra if there is one, as one commit. Errors: ErrFull;
// ErrFailed, after which it writes nothing any more.
func (s *Store) absorb(extra *pendingGroup) error {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	s.mu.Lock()
	failed := s.refused
	s.mu.Unlock()
	if errors.Is(failed, ErrFailed) {
		return failed
	}
	err := s.absorbAll(extra)
	if err == nil {
		return nil
	}
	if err = s.classify(err); errors.Is(err, ErrFailed) {
		s.setRefused(err)
	}
	return err
}

// absorbAll does what absorb does. The caller holds absorbMu.
func (s *Store) absorbAll(extra *pendingGroup) error {
	s.pendMu.Lock()
	groups := slices.Clip(s.pending)
	s.pendMu.Unlock()
	n := len(groups)
	if extra != nil {
		groups = append(groups, *extra)
	}
	if len(groups) == 0 {
		return nil
	}
	if extra != nil && !extra.urgent {
		if err := s.spaceLeft(); err != nil { // what is pending has been acknowledged and may use the rest
			return err
		}
	}
	var entries []Entry
	var ops []op
	var size int64
	for _, g := range groups {
		for _, o := range g.ops {
			if o.kind == opReset {
				entries = cutEntries(entries, ops, o)
			}
			o.at = endOf(entries, o.info.ID)
			ops = append(ops, o)
		}
		entries, size = append(entries, g.entries...), size+g.bytes
	}
	sortEntries(entries)
	last := groups[len(groups)-1].seq

	active := s.active.Load()
	need := size + size/8 + 64*int64(len(entries)) + commitOverhead
	full := len(s.activeIndex) > 0 && active.bytes.Load()+size+commitOverhead > s.opt.SegmentBytes
	outgrows := active.bytes.Load()+need+sealReserve > int64(active.mapped)
	if full || outgrows || active.sealed { // sealed: there was no room for the next segment
		if err := s.roll(need); err != nil {
			return err
		}
	}
	seg := s.active.Load()
	written, err := seg.commit(last, encodeOps(ops), entries)
	if err != nil {
		return err
	}
	s.m.SegmentBytes.Add(float64(written))
	s.m.Absorptions.Inc()
	s.journal.settled.Store(last)
	if err := s.apply(last, ops, entries); err != nil {
		return err
	}
	if n > 0 {
		freed := int64(0)
		s.pendMu.Lock()
		for _, g := range s.pending[:n] {
			freed += g.bytes
			s.pendingBytes -= g.kept()
		}
		s.pending = append([]pendingGroup(nil), s.pending[n:]...)
		s.journal.release(last)
		s.pendMu.Unlock()
		s.m.Pending.Sub(float64(freed))
	}
	s.measure()
	return nil
}

// cutEntries takes the batches that an operation truncates out of those before it, which need not be written any more, and
// lets the operations on the partition before it take effect no later.
func cutEntries(entries []Entry, ops []op, o op) []Entry {
	id, offset := o.info.ID, o.cutAt()
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Partition == id && e.Batch.BaseOffset() >= offset })
	end := endOf(entries, id)
	for i := range ops {
		if ops[i].info.ID == id {
			ops[i].at = min(ops[i].at, end)
		}
	}
	return entries
}

// endOf returns where the batches of a partition end among entries; 0 if it has none.
func endOf(entries []Entry, id uint32) int64 {
	for _, e := range slices.Backward(entries) {
		if e.Partition == id {
			return e.Batch.NextOffset()
		}
	}
	return 0
}

// apply brings the state and the index up to a commit, and makes it readable. The caller holds absorbMu.
func (s *Store) apply(seq uint64, ops []op, entries []Entry) error {
	s.state.apply(ops, entries)
	for _, o := range ops {
		if o.kind != opReset {
			continue
		}
		id := o.info.ID
		index := cutIndex(s.activeIndex[id], o.cutAt())
		if err := s.active.Load().recount(id, index); err != nil {
			return fmt.Errorf("%w: %w", ErrFailed, err)
		}
		s.activeIndex[id] = index
		if l := s.Log(id); l != nil {
			l.cut(o.cutAt(), false)
			l.setActive(index)
		}
	}
	indexCommit(seq, entries, func(id uint32, e indexEntry) {
		s.activeIndex[id] = append(s.activeIndex[id], e)
		if l := s.Log(id); l != nil {
			l.absorbed(e)
		}
	})
	return nil
}

// roll seals the active segment and begins the next one, with room for a commit of need bytes. The caller holds absorbMu.
func (s *Store) roll(need int64) error {
	old := s.active.Load()
	sum := summarize(old.last, s.activeIndex)
	if !old.sealed {
		if err := old.seal(sum, s.activeIndex); err != nil {
			return err
		}
	}
	next, err := createSegment(s.opt.Dir, old.number+1, old.last, max(s.mapBytes(), int(need+2*sealReserve)), s.opt.Now(), s.state, s.opt.Faults)
	if err != nil {
		return err
	}
	for _, run := range sum.Partitions {
		if l := s.Log(run.ID); l != nil {
			l.sealActive(old, run)
		}
	}
	s.sealed = append(s.sealed, old)
	s.activeIndex = make(map[uint32][]indexEntry)
	s.active.Store(next)
	s.touch(old)
	signal(s.sealedC)
	s.log.Debug("segment sealed", "segment", old.number, "bytes", old.bytes.Load(), "partitions", len(sum.Partitions))
	return nil
}

// mapBytes is how much of the active segment is mapped at once: its cap and the largest group beyond, so that bbolt never
// has to map it anew, which would wait for every reader.
func (s *Store) mapBytes() int { return int(s.opt.SegmentBytes + s.opt.MaxOpenBytes + 2*sealReserve) }

// touch notes that a sealed segment is used and unmaps the ones used least recently, beyond MaxMaps.
func (s *Store) touch(seg *segment) {
	s.mapsMu.Lock()
	defer s.mapsMu.Unlock()
	if i := slices.Index(s.maps, seg); i >= 0 {
		s.maps = slices.Delete(s.maps, i, i+1)
	}
	s.maps = append(s.maps, seg)
	for i := 0; len(s.maps) > s.opt.MaxMaps && i < len(s.maps)-1; {
		if s.maps[i].unmap() {
			s.maps = slices.Delete(s.maps, i, i+1)
		} else {
			i++ // it is being read
		}
	}
}

func (s *Store) measure() {
	n := s.active.Load().bytes.Load() + s.journal.size + blockSize
	for _, seg := range s.sealed {
		n += seg.bytes.Load()
	}
	s.m.DiskBytes.Set(float64(n))
	s.m.Segments.Set(float64(len(s.sealed) + 1))
}
