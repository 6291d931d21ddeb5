package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/log/fsx"
)

// lostRange is a range of offsets that a damaged file held, and how many records of it are gone.
type lostRange struct {
	Hole
	records int64
}

// wreck is what can still be read of a damaged segment.
type wreck struct {
	header  header
	state   *State    // before its first commit, nil if that is gone
	commits []*commit // by sequence; those with an error have only what is whole
	broken  bool      // pages could not be read: what else there was is not known
}

// readImage reads a whole file into memory of its own. Blocks that the device cannot give are zeros.
func readImage(path string) (data []byte, end func(), err error) {
	f, size, err := openSized(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if size == 0 {
		return nil, func() {}, nil
	}
	data, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, nil, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	for off := 0; off < len(data); off += 1 << 20 {
		chunk := data[off:min(len(data), off+1<<20)]
		if _, err := f.ReadAt(chunk, int64(off)); err == nil {
			continue
		}
		for b := 0; b < len(chunk); b += blockSize {
			block := chunk[b:min(len(chunk), b+blockSize)]
			if _, err := f.ReadAt(block, int64(off+b)); err != nil {
				clear(block)
			}
		}
	}
	return data, func() { _ = unix.Munmap(data) }, nil // of memory that is there
}

// readWreck reads what is whole of a segment, from both of its meta pages: what one does not lead to the other may.
func readWreck(data []byte, number uint64) *wreck {
	w := &wreck{broken: true}
	found := make(map[uint64]*commit)
	metas, _ := boltfile.Metas(data)
	for i, m := range metas {
		h, err := readContents(data, m, number, func(h *header) error {
			if s, err := decodeState(h.state); err == nil && w.state == nil {
				w.state = s
			}
			return nil
		}, func(c *commit) error {
			found[c.seq] = better(found[c.seq], c)
			return nil
		})
		if i == 0 {
			w.header, w.broken = *h, err != nil
		}
		if w.header.summary == nil {
			w.header.summary = h.summary
		}
	}
	for _, c := range found {
		w.commits = append(w.commits, c)
	}
	slices.SortFunc(w.commits, func(a, b *commit) int { return cmp.Compare(a.seq, b.seq) })
	return w
}

// better returns the reading of a commit that has more of it.
func better(a, b *commit) *commit {
	if a == nil || a.err != nil && (b.err == nil || len(b.entries) > len(a.entries)) {
		return b
	}
	return a
}

// inForce takes out of the commits what others of them truncated.
func (w *wreck) inForce() {
	for i, c := range w.commits {
		for _, o := range c.ops {
			if o.kind != opReset {
				continue
			}
			for _, before := range w.commits[:i] {
				before.entries = slices.DeleteFunc(before.entries, func(e Entry) bool {
					return e.Partition == o.info.ID && e.Batch.BaseOffset() >= o.cutAt()
				})
			}
		}
	}
}

// replay applies the commits to the state before them, and returns what is missing of the offsets in between. Batches that
// are damaged at a partition's end count as long as their header says.
func (w *wreck) replay(state *State) map[uint32][]lostRange {
	lost := make(map[uint32][]lostRange)
	lose := func(p *PartitionState, to int64) {
		if to > p.Next {
			lost[p.ID] = append(lost[p.ID], lostRange{Hole{p.Next, to}, to - p.Next})
			p.addHole(p.Next, to, to-p.Next)
		}
	}
	for _, c := range w.commits {
		for _, o := range c.ops {
			state.applyOp(o)
		}
		for _, e := range c.entries {
			p := state.Partitions[e.Partition]
			if p == nil {
				state.NextID = max(state.NextID, e.Partition+1)
				continue
			}
			lose(p, e.Batch.BaseOffset())
			p.Apply(e.Batch)
		}
		for _, b := range c.bad {
			if p := state.Partitions[b.partition]; p != nil {
				lose(p, b.end(p.Next))
			}
		}
	}
	return lost
}

// distrust takes the batches out of commits whose keys are not what was written: whose they are is not known.
func (w *wreck) distrust() {
	for _, c := range w.commits {
		if !c.summed {
			c.entries, c.bad, w.broken = nil, nil, true
		}
	}
}

// maxSpan is more than the offsets of any batch.
const maxSpan = 1 << 24

// end returns where a damaged batch of a partition that ends at next ended itself. Its base offset is what its key or its
// header says, the nearer of the two; how many offsets it has, its header says twice, and the larger counts.
func (b badBatch) end(next int64) int64 {
	base, n := b.base, int64(1)
	if len(b.data) >= 61 {
		own := int64(binary.BigEndian.Uint64(b.data))
		if base < next || own >= next && own < base {
			base = own
		}
		n = max(int64(be32(b.data[23:]))+1, int64(be32(b.data[57:])), 1)
	}
	switch {
	case base < next: // it is there, from elsewhere
		return next
	case base > next+maxSpan:
		base = next
	}
	return base + min(n, maxSpan)
}

// fit takes batches out of damaged commits that are not where the segment's index has them: their keys are not what was
// written.
func (w *wreck) fit() {
	index := make(map[uint32]packedIndex)
	for id, raw := range w.header.index {
		if ix, err := openIndex(raw); err == nil {
			index[id] = ix
		}
	}
	for _, c := range w.commits {
		if c.summed {
			continue
		}
		c.entries = slices.DeleteFunc(c.entries, func(e Entry) bool {
			ix, ok := index[e.Partition]
			if !ok {
				return len(index) > 0
			}
			return !ix.holds(c.seq, e.Batch)
		})
	}
}

func be32(b []byte) int32 {
	return int32(binary.BigEndian.Uint32(b))
}

// missing compares what is there of the partitions with what a sealed segment had of them.
func (w *wreck) missing(runs map[uint32]runSummary) map[uint32][]lostRange {
	there := make(map[uint32][]Entry)
	for _, c := range w.commits {
		for _, e := range c.entries {
			there[e.Partition] = append(there[e.Partition], e)
		}
	}
	lost := make(map[uint32][]lostRange)
	for id, run := range runs {
		entries := []indexEntry{{base: run.Base, next: run.Next, records: run.Records}}
		if ix, err := openIndex(w.header.index[id]); err == nil {
			entries = entries[:0]
			for i := range ix.len() {
				entries = append(entries, ix.at(i))
			}
		}
		for _, e := range entries {
			lost[id] = append(lost[id], missingOf(e, there[id])...)
		}
		if len(lost[id]) == 0 {
			delete(lost, id)
		}
	}
	return lost
}

// missingOf returns what is not there of a run: the gaps between the batches, as far as records are missing at all.
func missingOf(e indexEntry, there []Entry) []lostRange {
	var gaps []lostRange
	at, records := e.base, e.records
	for _, t := range there {
		if t.Batch.NextOffset() <= e.base || t.Batch.BaseOffset() >= e.next {
			continue
		}
		records -= int64(t.Batch.Count())
		if t.Batch.BaseOffset() > at {
			gaps = append(gaps, lostRange{Hole: Hole{at, t.Batch.BaseOffset()}})
		}
		at = max(at, t.Batch.NextOffset())
	}
	if at < e.next {
		gaps = append(gaps, lostRange{Hole: Hole{at, e.next}})
	}
	if records <= 0 {
		return nil
	}
	for i := range gaps {
		n := min(records, gaps[i].To-gaps[i].From)
		gaps[i].records, records = n, records-n
	}
	return gaps
}

// rescue is what salvage is asked.
type rescue struct {
	seg    *segment
	cause  error
	before uint64                // sequence of the newest commit of the segment before
	runs   map[uint32]runSummary // what the segment had, as far as that is known
	behind *segment              // the next one; nil for the newest
	base   func() *State         // the state at the end of the segment before; for the newest
	spare  []replayed            // groups that the journal still has; for the newest
}

// saved is what came of it.
type saved struct {
	*copied        // nil if the segment could not be replaced: then it has to be set aside
	state   *State // behind the newest segment
	lost    map[uint32][]lostRange
	broken  bool // it is not known what else there was
}

// salvage writes what is whole of a damaged segment to a new file that takes its place; the damaged one is kept beside.
func (s *Store) salvage(r rescue) saved {
	out := saved{broken: true}
	data, end, err := readImage(r.seg.path)
	if err != nil {
		return out
	}
	defer end()
	w := readWreck(data, r.seg.number)
	w.inForce()
	after := w.state
	if after != nil {
		w.state = after.clone() // as it was before the segment
	}
	if r.behind == nil {
		if after == nil {
			after = r.base()
		}
		w.distrust()
		w.fill(r.before, r.spare)
		out.lost = w.replay(after)
		out.state = after
		out.broken = w.broken
	} else {
		if r.runs == nil && w.header.summary != nil {
			r.runs = make(map[uint32]runSummary)
			for _, run := range w.header.summary.Partitions {
				r.runs[run.ID] = run
			}
		}
		w.fit()
		out.lost = w.missing(r.runs)
		if behind, err := r.behind.beginning(); err == nil {
			after = behind
		} else if after != nil {
			w.replay(after)
		} else {
			return out
		}
	}
	tmp := r.seg.path + ".tmp"
	if out.copied, err = s.writeSalvaged(r, w, tmp, after); err == nil {
		err = s.swapWreck(r.seg.path, tmp, r.cause, out.lost)
	}
	if err != nil {
		s.log.Error("what is whole of a damaged segment cannot be saved", "path", r.seg.path, "err", errors.Join(err, removeIfThere(tmp)))
		out.copied = nil
	}
	return out
}

// fill adds batches that the journal still has to commits that lack them: those behind the commit before the segment.
func (w *wreck) fill(before uint64, spare []replayed) {
	there := make(map[uint32][]Entry)
	reset := make(map[uint32]bool)
	for _, c := range w.commits {
		for _, e := range c.entries {
			there[e.Partition] = append(there[e.Partition], e)
		}
		for _, o := range c.ops {
			reset[o.info.ID] = reset[o.info.ID] || o.kind == opReset
		}
	}
	for _, g := range spare {
		if g.seq <= before {
			continue
		}
		i, _ := slices.BinarySearchFunc(w.commits, g.seq, func(c *commit, seq uint64) int { return cmp.Compare(c.seq, seq) })
		if i == len(w.commits) { // it is replayed
			break
		}
		c := w.commits[i]
		for _, e := range g.entries {
			have := slices.ContainsFunc(there[e.Partition], func(t Entry) bool {
				return t.Batch.BaseOffset() < e.Batch.NextOffset() && e.Batch.BaseOffset() < t.Batch.NextOffset()
			})
			if !have && !reset[e.Partition] {
				c.entries = append(c.entries, e)
				there[e.Partition] = append(there[e.Partition], e)
			}
		}
		sortEntries(c.entries)
	}
}

// writeSalvaged makes the new file.
func (s *Store) writeSalvaged(r rescue, w *wreck, path string, after *State) (_ *copied, err error) {
	seg := r.seg
	if err := removeIfThere(path); err != nil {
		return nil, err
	}
	h := copiedHeader{created: w.header.created, before: r.before, after: after.encode()}
	if w.header.created.IsZero() {
		h.created = s.opt.Now()
	}
	h.segment = segmentBlock(seg.number, r.before, 0, h.created)
	state := w.state
	if state == nil {
		state = newState() // nobody asks: after says what is
	}
	h.state = state.encode()
	db, err := bolt.Open(path, 0o600, boltOptions(s.mapBytes(), false))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	out := copier{to: &segment{path: path, number: seg.number, last: r.before, db: db, faults: s.opt.Faults, lazy: true}, index: make(map[uint32][]indexEntry), pace: noPace}
	if err := out.header(h); err != nil {
		return nil, err
	}
	last := r.before
	for _, c := range w.commits {
		if len(c.entries) > 0 {
			if err := out.add(c.seq, c.entries); err != nil {
				return nil, err
			}
		}
		last = max(last, c.seq)
	}
	if err := out.flush(); err != nil {
		return nil, err
	}
	if w.header.summary != nil {
		last = max(last, w.header.summary.Last)
	}
	sum := summarize(max(last, seg.last), out.index)
	for id, run := range r.runs {
		i := slices.IndexFunc(sum.Partitions, func(r runSummary) bool { return r.ID == id })
		if i < 0 {
			sum.Partitions = append(sum.Partitions, runSummary{ID: id, MaxTime: -1})
			i = len(sum.Partitions) - 1
		}
		sum.Partitions[i].Base, sum.Partitions[i].Next = run.Base, run.Next
	}
	slices.SortFunc(sum.Partitions, func(a, b runSummary) int { return cmp.Compare(a.ID, b.ID) })
	if err := out.to.seal(sum, out.index); err != nil {
		return nil, err
	}
	if err := db.Sync(); err != nil {
		return nil, err
	}
	c := &copied{runs: make(map[uint32]runSummary), segment: &segment{path: seg.path, number: seg.number, faults: seg.faults, mapped: seg.mapped,
		sealed: true, last: sum.Last, created: h.created, batchBytes: sum.bytes(), checked: true, salvaged: true}}
	c.bytes.Store(out.to.bytes.Load())
	for _, r := range sum.Partitions {
		c.runs[r.ID] = r
	}
	return c, nil
}

// swapWreck puts a new file in the place of a damaged one, which keeps a name of its own; at no moment is there neither.
func (s *Store) swapWreck(path, tmp string, cause error, lost map[uint32][]lostRange) error {
	to := freeName(path)
	if err := os.Link(path, to); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	s.report(Damage{Path: to, Err: cause, Lost: holesOf(lost)})
	return fsx.SyncDir(s.opt.Dir)
}

func holesOf(lost map[uint32][]lostRange) map[uint32][]Hole {
	holes := make(map[uint32][]Hole, len(lost))
	for id, all := range lost {
		for _, l := range all {
			holes[id] = append(holes[id], l.Hole)
		}
	}
	return holes
}

// holeOps are the operations that note what is lost.
func holeOps(lost map[uint32][]lostRange) []op {
	var ops []op
	for id, all := range lost {
		for _, l := range all {
			ops = append(ops, op{kind: opHole, info: PartitionInfo{ID: id}, offset: l.From, to: l.To, count: l.records})
		}
	}
	slices.SortFunc(ops, func(a, b op) int { return cmp.Or(cmp.Compare(a.info.ID, b.info.ID), cmp.Compare(a.offset, b.offset)) })
	return ops
}

// segmentBlock is what a segment says of itself.
func segmentBlock(number, before, tx uint64, created time.Time) []byte {
	body := binary.BigEndian.AppendUint64(nil, number)
	body = binary.BigEndian.AppendUint64(body, uint64(created.UnixMilli()))
	body = binary.BigEndian.AppendUint64(body, before)
	return seal(segmentMagic, binary.BigEndian.AppendUint64(body, tx))
}

// findGaps returns the offsets that no segment has although they were not let go: those of files that are missing, or had
// to be set aside. What is known already, and what compaction may have taken, is left out.
func (s *Store) findGaps() map[uint32][]lostRange {
	lost := make(map[uint32][]lostRange)
	for id, p := range s.durable().Partitions {
		l := s.logs[id]
		if l == nil {
			continue
		}
		at := max(p.Start, p.Cleaned)
		gap := func(to int64) {
			for _, h := range append(slices.Clone(p.Holes), Hole{to, to}) {
				if from, end := at, min(to, h.From); from < end {
					lost[id] = append(lost[id], lostRange{Hole{from, end}, end - from})
				}
				at = max(at, min(to, h.To))
			}
			at = max(at, to)
		}
		for _, r := range l.sealed {
			gap(r.Base)
			at = max(at, r.Next)
		}
		for _, e := range l.active {
			gap(e.base)
			at = max(at, e.next)
		}
		if len(l.tail) == 0 {
			gap(p.Next)
		}
	}
	return lost
}
