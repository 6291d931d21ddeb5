package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/log/record"
)

// ErrNoSegment says that there is no sealed segment of a number, or not any more.
var ErrNoSegment = errors.New("no sealed segment of that number")

// rewriteChunk is how many bytes of batches a rewritten segment gets at a time.
const rewriteChunk = 1 << 20

// SegmentInfo tells about a segment.
type SegmentInfo struct {
	Number     uint64
	Path       string
	Bytes      int64 // of the file
	BatchBytes int64 // of the batches in it, dead ones too
	Sealed     bool
	Created    time.Time
	Runs       map[uint32]Run // what is in force in it, by partition; dropped partitions are left out
}

// Segments returns all segments, oldest first, the active one last.
func (s *Store) Segments() []SegmentInfo {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	all := make([]SegmentInfo, 0, len(s.sealed)+1)
	runs := make(map[*segment]map[uint32]Run, len(s.sealed))
	for _, seg := range s.sealed {
		runs[seg] = make(map[uint32]Run)
		all = append(all, SegmentInfo{Number: seg.number, Path: seg.path, Bytes: seg.bytes.Load(), BatchBytes: seg.batchBytes, Sealed: true, Created: seg.created, Runs: runs[seg]})
	}
	s.logsMu.RLock()
	for id, l := range s.logs {
		l.mu.RLock()
		for _, r := range l.sealed {
			if of := runs[r.seg]; of != nil {
				of[id] = r.run()
			}
		}
		l.mu.RUnlock()
	}
	s.logsMu.RUnlock()
	active := s.active.Load()
	info := SegmentInfo{Number: active.number, Path: active.path, Bytes: active.bytes.Load(), Created: active.created, Runs: make(map[uint32]Run)}
	for _, r := range summarize(active.last, s.activeIndex).Partitions {
		info.BatchBytes += r.Bytes
		if s.state.Partitions[r.ID] != nil {
			info.Runs[r.ID] = r.run()
		}
	}
	return append(all, info)
}

// find returns the sealed segment of a number.
func (s *Store) find(number uint64) (*segment, error) {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	i, ok := slices.BinarySearchFunc(s.sealed, number, func(g *segment, n uint64) int { return cmp.Compare(g.number, n) })
	if !ok {
		return nil, fmt.Errorf("%w: %d", ErrNoSegment, number)
	}
	return s.sealed[i], nil
}

// ScanSegment hands the batches in force of a sealed segment to fn, those of the partitions that want is true for, by
// commit, then partition, then offset. A batch is valid until fn returns; its error ends the scan. Errors: ErrNoSegment, a
// *DamageError.
func (s *Store) ScanSegment(number uint64, want func(id uint32) bool, fn func(id uint32, b record.Batch) error) error {
	seg, err := s.find(number)
	if err != nil {
		return err
	}
	s.absorbMu.Lock()
	v := s.viewOf(seg)
	s.absorbMu.Unlock()
	return s.inForce(seg, v, func(_ uint64, entries []Entry) error {
		for _, e := range entries {
			if want(e.Partition) {
				if err := fn(e.Partition, e.Batch); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// view is what is in force of a segment.
type view struct {
	starts map[uint32]int64
	runs   map[uint32]runSummary
}

// viewOf takes a view. The caller holds absorbMu.
func (s *Store) viewOf(seg *segment) view { return view{s.starts(), s.runsOf(seg)} }

// inForce hands the batches of a sealed segment that are neither before their partition's start, nor cut off its end, to
// fn, commit by commit.
func (s *Store) inForce(seg *segment, v view, fn func(seq uint64, entries []Entry) error) error {
	starts, runs := v.starts, v.runs
	tx, err := seg.begin()
	if err != nil {
		return err
	}
	defer seg.end(tx)
	index := make(map[uint32]packedIndex, len(runs))
	if err := guard(seg, func() error {
		h := tx.Bucket(keyHeader)
		if h == nil || h.Bucket(keyIndex) == nil {
			return seg.damaged(0, errors.New("no index"))
		}
		for id := range runs {
			ix, err := openIndex(h.Bucket(keyIndex).Get(binary.BigEndian.AppendUint32(nil, id)))
			if err != nil {
				return seg.damaged(0, fmt.Errorf("index of partition %d: %w", id, err))
			}
			index[id] = ix
		}
		return nil
	}); err != nil {
		return err
	}
	return seg.scan(func(c *commit) error {
		live := slices.DeleteFunc(c.entries, func(e Entry) bool {
			run, ok := runs[e.Partition]
			if !ok || e.Batch.NextOffset() <= starts[e.Partition] || e.Batch.NextOffset() > run.Next {
				return true
			}
			return !index[e.Partition].holds(c.seq, e.Batch)
		})
		if len(live) == 0 {
			return nil
		}
		return fn(c.seq, live)
	})
}

func keepAll(_ uint32, b record.Batch) (record.Batch, error) { return b, nil }
func noPace(int64) error                                     { return nil }

// Rewrite replaces a sealed segment by one that holds what keep returns for each of its batches in force: the batch itself,
// another one of the same base and last offset, or nil. What keep is given is valid until it is called for the next commit.
// The new file is written beside and renamed over; readers that have begun keep the old one. It is told to pace, which may
// wait, how many bytes were read and written; the error of either ends it, and the old segment stays. It returns the bytes
// freed on the device. Errors: ErrNoSegment, ErrFull, a *DamageError, after which the segment is set aside.
func (s *Store) Rewrite(number uint64, keep func(id uint32, b record.Batch) (record.Batch, error), pace func(bytes int64) error) (freed int64, err error) {
	s.reclaimMu.Lock()
	defer s.reclaimMu.Unlock()
	seg, err := s.find(number)
	if err != nil {
		return 0, err
	}
	if pace == nil {
		pace = noPace
	}
	return s.rewrite(seg, keep, pace)
}

// rewrite does what Rewrite does. The caller holds reclaimMu.
func (s *Store) rewrite(seg *segment, keep func(uint32, record.Batch) (record.Batch, error), pace func(int64) error) (freed int64, err error) {
	tmp := seg.path + ".tmp"
	next, err := s.copySegment(seg, tmp, keep, pace)
	if d := (*DamageError)(nil); errors.As(err, &d) && d.Segment == seg.number {
		s.quarantine(d)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("rewrite segment %s: %w", seg.path, err), removeIfThere(tmp))
		if fsx.IsFull(err) {
			err = s.classify(err)
		}
		return 0, err
	}
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	if !slices.Contains(s.sealed, seg) || next.overtaken(s.runsOf(seg)) {
		return 0, removeIfThere(tmp) // a reader has found it damaged, or it was truncated meanwhile
	}
	if err := os.Rename(tmp, seg.path); err != nil {
		return 0, errors.Join(err, removeIfThere(tmp))
	}
	s.m.SegmentBytes.Add(float64(next.bytes.Load()))
	s.exchange(seg, next)
	err = fsx.SyncDir(s.opt.Dir)
	s.log.Debug("segment rewritten", "segment", seg.number, "before", seg.bytes.Load(), "after", next.bytes.Load())
	return seg.bytes.Load() - next.bytes.Load(), err
}

// exchange puts a segment in the place of another one with the same path. The caller holds absorbMu.
func (s *Store) exchange(old *segment, next *copied) {
	s.sealed = slices.Clone(s.sealed)
	s.sealed[slices.Index(s.sealed, old)] = next.segment
	s.logsMu.RLock()
	defer s.logsMu.RUnlock()
	for id, l := range s.logs {
		if r, ok := next.runs[id]; ok {
			l.replace(old, sealedRun{runSummary: r, seg: next.segment})
		} else {
			l.forget(old)
		}
	}
	old.detach(errGone)
	s.measure()
}

// copied is a segment in the making: a copy of another one.
type copied struct {
	*segment
	runs map[uint32]runSummary
	of   map[uint32]runSummary // the runs of the other one, as they were copied
}

// overtaken reports whether runs were truncated since they were copied.
func (c *copied) overtaken(now map[uint32]runSummary) bool {
	for id, r := range now {
		if was, ok := c.of[id]; ok && was.Next != r.Next {
			return true
		}
	}
	for id := range c.runs {
		if _, ok := now[id]; !ok {
			return true
		}
	}
	return false
}

// copySegment writes what keep returns of a segment to a new file, and seals and syncs it.
func (s *Store) copySegment(seg *segment, path string, keep func(uint32, record.Batch) (record.Batch, error), pace func(int64) error) (_ *copied, err error) {
	if err := fsx.Check(s.opt.Faults, "segment.rewrite", seg.path); err != nil {
		return nil, err
	}
	if err := removeIfThere(path); err != nil {
		return nil, err
	}
	h, err := s.headerOf(seg)
	if err != nil {
		return nil, err
	}
	held, err := seg.begin() // batches lie in the map until their chunk is written
	if err != nil {
		return nil, err
	}
	defer seg.end(held)
	db, err := bolt.Open(path, 0o600, boltOptions(s.mapBytes(), false))
	if err != nil {
		return nil, err
	}
	w := copier{to: &segment{path: path, number: seg.number, last: h.before, db: db, faults: s.opt.Faults, lazy: true}, index: make(map[uint32][]indexEntry), pace: pace}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := w.header(h); err != nil {
		return nil, err
	}
	s.absorbMu.Lock()
	v := s.viewOf(seg)
	s.absorbMu.Unlock()
	if err := s.inForce(seg, v, func(seq uint64, entries []Entry) error {
		kept := entries[:0]
		for _, e := range entries {
			w.read += int64(len(e.Batch))
			b, err := keep(e.Partition, e.Batch)
			if err != nil {
				return err
			}
			if b != nil {
				kept = append(kept, Entry{e.Partition, b})
			}
		}
		return w.add(seq, kept)
	}); err != nil {
		return nil, err
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	sum := summary{Last: seg.last}
	made := summarize(seg.last, w.index)
	c := &copied{runs: make(map[uint32]runSummary), of: v.runs}
	for id, old := range v.runs {
		start, ok := v.starts[id]
		if !ok || old.Next <= start {
			continue
		}
		r := runSummary{ID: id, MaxTime: -1}
		if i := slices.IndexFunc(made.Partitions, func(r runSummary) bool { return r.ID == id }); i >= 0 {
			r = made.Partitions[i]
		}
		r.Base, r.Next = old.Base, old.Next // what it stands for, also where records are gone
		c.runs[id] = r
		sum.Partitions = append(sum.Partitions, r)
	}
	slices.SortFunc(sum.Partitions, func(a, b runSummary) int { return cmp.Compare(a.ID, b.ID) })
	if err := w.to.seal(sum, w.index); err != nil {
		return nil, err
	}
	if err := db.Sync(); err != nil {
		return nil, err
	}
	c.segment = &segment{path: seg.path, number: seg.number, faults: seg.faults, mapped: seg.mapped, sealed: true, last: seg.last, created: h.created, batchBytes: sum.bytes()}
	c.bytes.Store(w.to.bytes.Load())
	return c, nil
}

// summary returns that of the copy.
func (c *copied) summary() *summary {
	sum := &summary{Last: c.last}
	for _, r := range c.runs {
		sum.Partitions = append(sum.Partitions, r)
	}
	slices.SortFunc(sum.Partitions, func(a, b runSummary) int { return cmp.Compare(a.ID, b.ID) })
	return sum
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// copier writes a segment in chunks.
type copier struct {
	to    *segment
	index map[uint32][]indexEntry
	pace  func(int64) error
	read  int64 // bytes since the last chunk
	chunk []chunkCommit
	bytes int64
}

type chunkCommit struct {
	seq     uint64
	entries []Entry
}

// copiedHeader is what a copy takes over of a segment's header.
type copiedHeader struct {
	segment, state, after []byte
	created               time.Time
	before                uint64
}

// headerOf reads what a copy of a sealed segment needs: its own header, and the state behind it, which the next segment
// begins with.
func (s *Store) headerOf(seg *segment) (h copiedHeader, err error) {
	s.absorbMu.Lock()
	next := s.active.Load()
	if i := slices.Index(s.sealed, seg); i >= 0 && i+1 < len(s.sealed) {
		next = s.sealed[i+1]
	}
	s.absorbMu.Unlock()
	tx, err := seg.begin()
	if err != nil {
		return h, err
	}
	defer seg.end(tx)
	if err := guard(seg, func() error {
		b := tx.Bucket(keyHeader)
		if b == nil {
			return seg.damaged(0, errors.New("no header"))
		}
		h.segment, h.state, h.after = slices.Clone(b.Get(keySegment)), slices.Clone(b.Get(keyState)), slices.Clone(b.Get(keyAfter))
		h.created = seg.created
		h.before, err = seg.before(tx)
		return err
	}); err != nil || h.after != nil {
		return h, err
	}
	tx2, err := next.begin()
	if err != nil {
		return h, err
	}
	defer next.end(tx2)
	return h, guard(next, func() error {
		b := tx2.Bucket(keyHeader)
		if b == nil {
			return next.damaged(0, errors.New("no header"))
		}
		h.after = slices.Clone(b.Get(keyState))
		if _, err := decodeState(h.after); err != nil {
			return next.damaged(0, err)
		}
		return nil
	})
}

func (w *copier) header(h copiedHeader) error {
	_, err := w.to.update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(keyHeader)
		if err != nil {
			return err
		}
		return errors.Join(b.Put(keySegment, h.segment), b.Put(keyState, h.state), b.Put(keyAfter, h.after))
	})
	return err
}

// add takes what is kept of a commit. Its batches lie in the old segment, or in memory, until the chunk is written.
func (w *copier) add(seq uint64, entries []Entry) error {
	if len(entries) > 0 {
		w.chunk = append(w.chunk, chunkCommit{seq, entries})
		for _, e := range entries {
			w.bytes += int64(len(e.Batch))
		}
	}
	if w.bytes < rewriteChunk && w.read < 4*rewriteChunk {
		return nil
	}
	return w.flush()
}

func (w *copier) flush() error {
	if len(w.chunk) > 0 {
		last := w.to.last
		if _, err := w.to.update(func(tx *bolt.Tx) error {
			for _, c := range w.chunk {
				if err := putCommit(tx, last, c.seq, nil, c.entries); err != nil {
					return err
				}
				last = c.seq
			}
			return nil
		}); err != nil {
			return err
		}
		for _, c := range w.chunk {
			indexCommit(c.seq, c.entries, func(id uint32, e indexEntry) { w.index[id] = append(w.index[id], e) })
		}
		w.to.last = last
	}
	done := w.read + w.bytes
	w.chunk, w.bytes, w.read = w.chunk[:0], 0, 0
	return w.pace(done)
}
