package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/log/fsx"
)

// Damage is a file whose contents are not what was written. It was set aside, except a segment whose older meta page
// serves in the place of the newest.
type Damage struct {
	Path string            // where the file is now
	Err  error             // what is wrong with it
	Lost map[uint32][]Hole // offsets whose records are gone with it, by partition id, as far as that is known
}

// Damage returns what has been found damaged since the store was opened.
func (s *Store) Damage() []Damage {
	s.damageMu.Lock()
	defer s.damageMu.Unlock()
	return slices.Clone(s.damage)
}

// TakenBack returns the newest commits that were found unfinished when the store was opened, as a machine leaves them that
// stops while one is written. Err is ErrUnfinished.
func (s *Store) TakenBack() []Damage {
	s.damageMu.Lock()
	defer s.damageMu.Unlock()
	return slices.Clone(s.takenBack)
}

func (s *Store) takeBack(d Damage) {
	s.log.Info("a commit that was being written when the machine stopped is taken back", "file", d.Path, "err", d.Err)
	s.damageMu.Lock()
	s.takenBack = append(s.takenBack, d)
	s.damageMu.Unlock()
}

// Open opens or creates the store in a directory, which it owns until Close. Damaged files are set aside and reported
// by Damage; only what concerns the directory itself is an error: fsx.ErrLocked, a full disk, missing rights.
func Open(opt Options) (_ *Store, err error) {
	opt.setDefaults()
	if err := fsx.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := fsx.LockDir(opt.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		opt: opt, lock: lock, log: opt.Logger, m: opt.Metrics,
		open: newGroup(), wake: make(chan struct{}, 1), bulk: make(chan struct{}, 1), stop: make(chan struct{}),
		absorbNow: make(chan struct{}, 1), absorbSoon: make(chan struct{}, 1), sealedC: make(chan struct{}, 1),
		activeIndex: make(map[uint32][]indexEntry), logs: make(map[uint32]*Log), replayed: make(map[uint32]int64), skipped: make(map[uint32][]Hole),
	}
	s.room = sync.NewCond(&s.mu)
	s.verified.start = time.Now()
	s.SetLinger(opt.Linger)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if s.reserve, err = openReserve(opt.Dir, opt.ReserveBytes, opt.Logger); err != nil {
		return nil, err
	}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("open log in %s: %w", opt.Dir, err)
	}
	if err = s.spaceLeft(); err == nil && len(s.pending) > 0 {
		err = fmt.Errorf("%w: the journal could not be absorbed", ErrFull)
	}
	s.setRefused(err)
	if err == nil {
		s.reserve.fill(opt.MinFreeBytes)
	}
	err = nil // of Open
	s.wg.Add(2)
	go s.commitLoop()
	go s.absorbLoop()
	if s.Refused() != nil {
		signal(s.absorbSoon) // which looks again
	}
	return s, nil
}

// States returns a copy of what the log says of every partition, as of all that is durable. It is meant for the time
// between Open and the first append.
func (s *Store) States() []*PartitionState {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	var all []*PartitionState
	state := s.durable()
	for _, id := range state.ids() {
		all = append(all, state.Partitions[id])
	}
	return all
}

// durable returns a copy of the state with what is pending. The caller holds absorbMu.
func (s *Store) durable() *State {
	state := s.state.clone()
	s.pendMu.Lock()
	defer s.pendMu.Unlock()
	for _, g := range s.pending {
		state.apply(g.ops, g.entries)
	}
	return state
}

func (s *Store) recover() error {
	start := time.Now()
	numbers, err := s.listSegments()
	if err != nil {
		return err
	}
	if err := fsx.SyncDir(s.opt.Dir); err != nil { // as of a file's contents: names, too, may not have been synced
		return err
	}
	j, frames, jerr := s.findJournal()
	if jerr != nil {
		return jerr
	}
	r := recovery{summaries: make(map[*segment]*summary), settled: newestSettled(frames.all)}
	if j != nil {
		r.spare, _, _ = j.replay(frames.all, 0)
	}
	for i, n := range numbers {
		seg := s.segmentAt(n)
		if i == len(numbers)-1 { // recoverState reads it
			s.sealed = append(s.sealed, seg)
			break
		}
		sum, err := s.openSealedSegment(seg)
		if _, damaged := errors.AsType[*DamageError](err); damaged {
			s.rescueSealed(&r, seg, sum, s.segmentAt(numbers[i+1]), err)
			continue
		}
		if err != nil {
			return err
		}
		r.summaries[seg] = sum
		s.sealed = append(s.sealed, seg)
	}
	if err := s.recoverState(&r); err != nil {
		return err
	}
	s.seq = s.active.Load().last
	if err := s.recoverJournal(j, frames); err != nil {
		return err
	}
	for _, p := range s.state.Partitions {
		p.Next = max(p.Next, p.Start) // the records up to the start may be lost with a damaged segment, the start not
	}
	if err := s.noteLosses(&r); err != nil {
		return err
	}
	s.nextID = s.durable().NextID
	s.measure()
	s.log.Info("log opened", "dir", s.opt.Dir, "segments", len(s.sealed)+1, "partitions", len(s.state.Partitions), "group", s.seq, "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// recovery is what opening finds out on its way.
type recovery struct {
	summaries map[*segment]*summary
	settled   uint64     // the newest group that the journal says to be synced in a segment
	spare     []replayed // all groups that the journal has
	losses    []op       // to be noted in the log
	unknown   bool       // the newest records may be gone without a trace
}

func (s *Store) segmentAt(number uint64) *segment {
	seg := &segment{path: segmentPath(s.opt.Dir, number), number: number, faults: s.opt.Faults, mapped: s.mapBytes()}
	seg.measure()
	return seg
}

// rescueSealed takes what is whole of a damaged segment that is not the newest, or sets it aside.
func (s *Store) rescueSealed(r *recovery, seg *segment, sum *summary, behind *segment, cause error) {
	q := rescue{seg: seg, cause: cause, behind: behind}
	if n := len(s.sealed); n > 0 {
		q.before = s.sealed[n-1].last
	}
	if sum != nil {
		q.runs = make(map[uint32]runSummary, len(sum.Partitions))
		for _, run := range sum.Partitions {
			q.runs[run.ID] = run
		}
	}
	seg.detach(errGone)
	out := s.salvage(q)
	behind.unmap()
	if out.copied == nil {
		s.setAside(seg, sum, cause)
		return
	}
	r.losses = append(r.losses, holeOps(out.lost)...)
	r.summaries[out.segment] = out.summary()
	s.sealed = append(s.sealed, out.segment)
}

// rescueNewest takes what is whole of the newest segment, which is damaged, and reports whether it could.
func (s *Store) rescueNewest(r *recovery, seg *segment, cause error) bool {
	q := rescue{seg: seg, cause: cause, spare: r.spare, base: func() *State {
		for i := len(s.sealed) - 2; i >= 0; i-- {
			if n, err := s.readNewest(s.sealed[i], 0); err == nil {
				return n.state
			}
		}
		return newState()
	}}
	if n := len(s.sealed); n > 1 {
		q.before = s.sealed[n-2].last
	}
	seg.detach(errGone)
	out := s.salvage(q)
	r.unknown = r.unknown || out.broken
	if out.copied == nil {
		return false
	}
	r.summaries[out.segment] = out.summary()
	r.unknown = r.unknown || out.last < r.settled
	s.sealed[len(s.sealed)-1] = out.segment
	s.state = out.state
	return true
}

// noteLosses makes durable what is lost, and keeps offsets that may have been given from being given again.
func (s *Store) noteLosses(r *recovery) error {
	s.reportGaps(r)
	if r.unknown {
		state, lost := s.durable(), make(map[uint32][]lostRange)
		for id, p := range state.Partitions {
			lost[id] = []lostRange{{Hole{p.Next, p.Next + s.opt.SegmentBytes}, s.opt.SegmentBytes}}
		}
		s.report(Damage{Path: s.opt.Dir, Err: fmt.Errorf("%w: what the newest records were is not known; every partition goes on behind the offsets that they can have had", ErrMissing), Lost: holesOf(lost)})
		r.losses = append(r.losses, holeOps(lost)...)
	}
	if len(r.losses) == 0 {
		return nil
	}
	g := pendingGroup{seq: s.seq + 1, ops: r.losses}
	s.seq++
	err := s.absorb(&g)
	if errors.Is(err, ErrFull) { // in memory until there is room
		s.pending = append(s.pending, g)
		return nil
	}
	return err
}

// reportGaps finds what is missing between the segments, where one is, or was set aside.
func (s *Store) reportGaps(r *recovery) {
	if !s.suspicious() {
		return
	}
	known := make(map[uint32][]Hole)
	for _, o := range r.losses {
		known[o.info.ID] = append(known[o.info.ID], Hole{o.offset, o.to})
	}
	lost := s.findGaps()
	for id, all := range lost {
		lost[id] = slices.DeleteFunc(all, func(l lostRange) bool {
			return slices.ContainsFunc(known[id], func(h Hole) bool { return l.From < h.To && h.From < l.To })
		})
		if len(lost[id]) == 0 {
			delete(lost, id)
		}
	}
	if len(lost) == 0 {
		return
	}
	s.report(Damage{Path: s.opt.Dir, Err: fmt.Errorf("%w: segments are not there", ErrMissing), Lost: holesOf(lost)})
	r.losses = append(r.losses, holeOps(lost)...)
}

// suspicious reports whether a segment's number is missing among the others, as that of one that retention dropped is too.
func (s *Store) suspicious() bool {
	next := s.active.Load().number
	for _, seg := range slices.Backward(s.sealed) {
		if seg.number+1 != next {
			return true
		}
		next = seg.number
	}
	return next != 1
}

// listSegments returns the numbers of the segments in the directory, ascending, and removes what a crash left half made.
func (s *Store) listSegments() ([]uint64, error) {
	files, err := os.ReadDir(s.opt.Dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, f := range files {
		if n, ok := segmentNumber(f.Name()); ok {
			numbers = append(numbers, n)
		} else if strings.HasSuffix(f.Name(), ".tmp") {
			if err := os.Remove(filepath.Join(s.opt.Dir, f.Name())); err != nil {
				return nil, err
			}
		}
	}
	return numbers, nil // ReadDir sorts, and the names sort as their numbers do
}

// openSealedSegment reads the end of a segment that is not the newest. One that is not sealed (the node died between
// damage and the next seal) is read whole for its summary.
func (s *Store) openSealedSegment(seg *segment) (*summary, error) {
	sum, err := seg.readHeader()
	if err == nil && sum != nil {
		s.touch(seg)
	}
	if err != nil || sum != nil {
		return sum, err
	}
	index := make(map[uint32][]indexEntry)
	if err := seg.scan(func(c *commit) error {
		indexInto(index, c)
		seg.last = c.seq
		return nil
	}); err != nil {
		return nil, err
	}
	for id, entries := range index {
		if err := seg.recount(id, entries); err != nil {
			return nil, err
		}
	}
	made := summarize(seg.last, index)
	seg.unmap()
	if err := seg.writable(); err != nil {
		return nil, err
	}
	if err := seg.seal(made, index); err != nil {
		return nil, err
	}
	seg.unmap()
	return &made, nil
}

// newest is what the newest segment says.
type newest struct {
	state *State
	index map[uint32][]indexEntry
	*header
}

// ErrUnfinished says that the newest commit of a file was not whole and was taken back. It had not been acknowledged, unless
// it was damaged since.
var ErrUnfinished = errors.New("the newest commit was not finished")

// ErrMissing says that commits which had been synced are not there any more.
var ErrMissing = errors.New("commits are missing")

// readNewest reads the newest segment whole. Where its newest transaction is not whole, the one before it counts, unless
// a later write says that the newest had been synced.
func (s *Store) readNewest(seg *segment, settled uint64) (n newest, err error) {
	if err := fsx.Check(seg.faults, "segment.open", seg.path); err != nil {
		return n, seg.opening(err)
	}
	if err := syncFile(seg.path); err != nil { // a process that was killed may not have synced what is here
		return n, seg.opening(err)
	}
	data, end, err := mapFile(seg.path)
	if err != nil {
		return n, seg.opening(err)
	}
	defer end()
	return n, guard(seg, func() error {
		metas, bad := boltfile.Metas(data)
		if len(metas) == 0 {
			return seg.damaged(0, bad)
		}
		var err error
		if n, err = readNewestFrom(data, metas[0], seg); err == nil {
			if n.last < settled {
				s.report(Damage{Path: seg.path, Err: fmt.Errorf("%w: it ends with commit %d, but %d had been synced", ErrMissing, n.last, settled)})
			}
			if bad != nil {
				s.report(Damage{Path: seg.path, Err: fmt.Errorf("the newest commit may be lost: %w", bad)})
			}
			return nil
		}
		if len(metas) < 2 {
			return seg.damaged(0, err)
		}
		before, e := readNewestFrom(data, metas[1], seg)
		if e != nil || before.last < settled {
			return seg.damaged(0, err)
		}
		n = before
		if err := dropMeta(seg.path, data, metas[0].Page, metas[1].Page); err != nil {
			return err
		}
		s.takeBack(Damage{Path: seg.path, Err: fmt.Errorf("%w: %w", ErrUnfinished, err)})
		return nil
	})
}

func readNewestFrom(data []byte, m boltfile.Meta, seg *segment) (newest, error) {
	n := newest{index: make(map[uint32][]indexEntry)}
	h, err := readContents(data, m, seg.number, func(h *header) (err error) {
		n.state, err = decodeState(h.state)
		return err
	}, func(c *commit) error {
		if c.err != nil {
			return fmt.Errorf("commit %d: %w", c.seq, c.err)
		}
		if n.state != nil {
			n.state.apply(c.ops, c.entries)
		}
		indexInto(n.index, c)
		return nil
	})
	n.header = h
	if err == nil && h.tx != m.TxID {
		err = fmt.Errorf("meta page %d is of transaction %d, what it leads to of %d", m.Page, m.TxID, h.tx)
	}
	if err == nil && h.after != nil {
		n.state, err = decodeState(h.after)
	}
	if h.summary != nil {
		h.last = max(h.last, h.summary.Last)
	}
	return n, err
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// dropMeta takes a meta page out of use: a copy of the other one takes its place.
func dropMeta(path string, data []byte, page, other int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	b := slices.Clone(data[other*blockSize:][:blockSize])
	binary.LittleEndian.PutUint64(b, uint64(page)) //nolint:gosec // 0 or 1
	_, err = f.WriteAt(b, int64(page)*blockSize)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// recoverState takes the state from the newest segment that is whole, and makes the active segment.
func (s *Store) recoverState(r *recovery) error {
	summaries := r.summaries
	for len(s.sealed) > 0 {
		seg := s.sealed[len(s.sealed)-1]
		n, err := s.readNewest(seg, r.settled)
		if err == nil && n.summary == nil {
			seg.checked, seg.created, seg.last = true, n.created, n.last
			err = seg.writable()
		}
		if _, damaged := errors.AsType[*DamageError](err); damaged {
			if s.rescueNewest(r, seg, err) {
				break
			}
			s.setAside(seg, summaries[seg], err)
			s.sealed = s.sealed[:len(s.sealed)-1]
			r.settled = 0 // that is told
			continue
		}
		if err != nil {
			return err
		}
		seg.checked, seg.created, seg.last = true, n.created, n.last
		r.unknown = r.unknown || n.last < r.settled
		if n.summary == nil {
			for id, entries := range n.index {
				if err := seg.recount(id, entries); err != nil {
					return err
				}
			}
			s.sealed = s.sealed[:len(s.sealed)-1]
			s.activeIndex = n.index
			s.active.Store(seg)
		} else {
			seg.sealed, seg.batchBytes = true, n.summary.bytes()
			summaries[seg] = n.summary
		}
		s.state = n.state
		break
	}
	if s.state == nil {
		s.state = newState()
	}
	if s.active.Load() == nil {
		last := uint64(0)
		if n := len(s.sealed); n > 0 {
			last = s.sealed[n-1].last
		}
		seg, err := createSegment(s.opt.Dir, s.nextNumber(), last, s.mapBytes(), s.opt.Now(), s.state, s.opt.Faults)
		if n := len(s.sealed); n > 0 && errors.Is(s.classify(err), ErrFull) { // the newest one stands for it until there is room
			seg, err = s.reactivate()
		}
		if err != nil {
			return err
		}
		s.active.Store(seg)
	}
	for id := range s.state.Partitions {
		s.logs[id] = &Log{st: s, id: id, active: s.activeIndex[id]}
	}
	for _, seg := range s.sealed {
		for _, run := range summaries[seg].Partitions {
			if l := s.logs[run.ID]; l != nil {
				l.sealed = append(l.sealed, sealedRun{runSummary: run, seg: seg})
			}
		}
	}
	for id, l := range s.logs {
		end := s.state.Partitions[id].Next
		if len(l.active) > 0 {
			end = l.active[0].base
		}
		l.sealed = unwrap(l.sealed, end)
	}
	return nil
}

// reactivate makes the newest sealed segment the active one, to be read but not to be written: the first commit that finds
// room begins the next one.
func (s *Store) reactivate() (*segment, error) {
	n := len(s.sealed)
	seg := s.sealed[n-1]
	found, err := s.readNewest(seg, 0)
	if err != nil {
		return nil, err
	}
	s.sealed, s.activeIndex = s.sealed[:n-1], found.index
	return seg, nil
}

// nextNumber returns a segment number that no file of the directory has, damaged ones included.
func (s *Store) nextNumber() uint64 {
	n := uint64(1)
	files, _ := os.ReadDir(s.opt.Dir) // it was read before
	for _, f := range files {
		name, _, _ := strings.Cut(f.Name(), segmentSuffix)
		if have, ok := segmentNumber(name + segmentSuffix); ok {
			n = max(n, have+1)
		}
	}
	return n
}

// ring is what a journal was found to hold.
type ring struct {
	all    []foundFrame
	damage error
}

// findJournal opens the journal and looks at its frames. It returns nil where there is none of use.
func (s *Store) findJournal() (*journal, ring, error) {
	j, err := openJournal(s.opt.Dir, s.opt.Faults)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ring{}, nil
	case err != nil:
		return nil, ring{}, s.moveAside(filepath.Join(s.opt.Dir, journalName), err, nil)
	}
	frames, damage := j.scan()
	return j, ring{frames, damage}, nil
}

// recoverJournal replays the groups behind the newest commit and absorbs them.
func (s *Store) recoverJournal(j *journal, found ring) (err error) {
	if j == nil {
		if s.seq > 0 {
			s.log.Error("journal is missing; groups that were not in a segment yet are lost", "dir", s.opt.Dir)
		}
	} else {
		s.journal = j
		j.settled.Store(s.seq)
		groups, gap, damage := j.replay(found.all, s.seq)
		damage = errors.Join(found.damage, damage)
		if gap {
			s.log.Error("journal: groups are missing between those that are whole", "after", s.seq)
		}
		sound := damage == nil && !gap && j.keep(groups)
		for _, g := range groups {
			s.replayGroup(g)
		}
		if len(s.skipped) > 0 {
			s.report(Damage{Path: s.opt.Dir, Err: fmt.Errorf("%w: the journal goes on behind them", ErrMissing), Lost: s.skipped})
		}
		if err := s.absorb(nil); sound && errors.Is(err, ErrFull) {
			s.log.Error("the journal cannot be absorbed yet; appends are refused", "err", err)
			return nil
		} else if err != nil {
			return err
		}
		if damage == nil && j.size == s.opt.JournalBytes {
			return nil
		}
		if damage != nil {
			if err := s.moveAside(j.path, damage, nil); err != nil {
				return err
			}
		}
		if err := j.f.Close(); err != nil {
			return err
		}
	}
	if s.journal, err = createJournal(s.opt.Dir, s.opt.JournalBytes, s.opt.Faults); err != nil && j != nil && found.damage == nil && errors.Is(s.classify(err), ErrFull) {
		s.log.Warn("journal keeps its size: there is no room for a new one", "bytes", j.size, "wanted", s.opt.JournalBytes)
		s.journal, err = openJournal(s.opt.Dir, s.opt.Faults)
	}
	if err == nil {
		s.journal.settled.Store(s.seq)
	}
	return err
}

// replayGroup makes a group of the journal pending. Batches of a partition whose creation was lost with a damaged segment
// are left out: its id will be given to another one.
func (s *Store) replayGroup(g replayed) {
	for _, o := range g.ops {
		if o.kind == opCreate && s.logs[o.info.ID] == nil {
			s.logs[o.info.ID] = &Log{st: s, id: o.info.ID}
		}
		if o.kind == opDrop {
			delete(s.logs, o.info.ID)
		}
		s.truncated(o)
		switch o.kind {
		case opReset:
			s.replayed[o.info.ID] = o.state.Next
		case opHole:
			s.replayed[o.info.ID] = max(s.replayed[o.info.ID], o.to)
		}
	}
	p := pendingGroup{seq: g.seq, ops: g.ops}
	for _, e := range g.entries {
		l := s.logs[e.Partition]
		if l == nil {
			s.log.Warn("journal: a batch of an unknown partition is left out", "group", g.seq, "partition", e.Partition)
			continue
		}
		next, ok := s.replayed[e.Partition]
		if st := s.state.Partitions[e.Partition]; !ok && st != nil {
			next = max(st.Next, st.Start)
		}
		if base := e.Batch.BaseOffset(); base > next {
			p.ops = append(p.ops, op{kind: opHole, info: PartitionInfo{ID: e.Partition}, offset: next, to: base, count: base - next})
			s.skipped[e.Partition] = append(s.skipped[e.Partition], Hole{next, base})
		}
		s.replayed[e.Partition] = e.Batch.NextOffset()
		l.pushTail(g.seq, e.Batch)
		p.entries, p.bytes = append(p.entries, e), p.bytes+int64(len(e.Batch))
	}
	s.pending = append(s.pending, p)
	s.pendingBytes += p.kept()
	s.m.Pending.Add(float64(p.bytes))
	s.seq = g.seq
}

// setAside renames a segment that is damaged.
func (s *Store) setAside(seg *segment, sum *summary, cause error) {
	seg.detach(errGone)
	lost := make(map[uint32][]Hole)
	if sum != nil {
		for _, r := range sum.Partitions {
			lost[r.ID] = append(lost[r.ID], Hole{r.Base, r.Next})
		}
	}
	if err := s.moveAside(seg.path, cause, lost); err != nil {
		s.log.Error("damaged segment cannot be renamed", "path", seg.path, "err", err)
	}
}

// freeName returns a name for a damaged file.
func freeName(path string) string {
	to := path + ".damaged"
	for i := 2; ; i++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			return to
		}
		to = fmt.Sprintf("%s.damaged-%d", path, i)
	}
}

func (s *Store) moveAside(path string, cause error, lost map[uint32][]Hole) error {
	to := freeName(path)
	if err := os.Rename(path, to); err != nil {
		return err
	}
	s.report(Damage{Path: to, Err: cause, Lost: lost})
	return fsx.SyncDir(filepath.Dir(path))
}

func (s *Store) report(d Damage) {
	s.log.Error("damaged file", "file", d.Path, "err", d.Err)
	for _, id := range slices.Sorted(maps.Keys(d.Lost)) {
		for _, h := range d.Lost[id] {
			s.log.Error("records are lost with a damaged file", "file", d.Path, "partition", id, "from", h.From, "to", h.To-1)
		}
	}
	s.damageMu.Lock()
	s.damage = append(s.damage, d)
	s.damageMu.Unlock()
}

// lookAgain reports whether a reader that failed with err should try again: its segment was dropped, or proved damaged
// and is now set aside.
func (s *Store) lookAgain(err error) bool {
	if errors.Is(err, errGone) {
		return true
	}
	var d *DamageError
	return errors.As(err, &d) && s.quarantine(d)
}

// quarantine takes a segment in which a reader found damage out of service, and what is whole of it back into it. It
// returns false where that is the active one, and cannot be sealed.
func (s *Store) quarantine(d *DamageError) bool {
	s.salvageMu.Lock()
	defer s.salvageMu.Unlock()
	seg, q, ok := s.suspect(d)
	if seg == nil {
		return ok // another reader was first
	}
	var out saved
	if !seg.salvaged { // else it is the device
		out = s.salvage(q)
	}
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	if !slices.Contains(s.sealed, seg) { // it was dropped meanwhile, and what took its place is nobody's
		if out.copied != nil {
			_ = os.Remove(seg.path)
		}
		return true
	}
	if out.copied == nil {
		sum := &summary{}
		for _, run := range q.runs {
			sum.Partitions = append(sum.Partitions, run)
		}
		s.logsMu.RLock()
		for _, l := range s.logs {
			l.forget(seg)
		}
		s.logsMu.RUnlock()
		s.sealed = slices.DeleteFunc(slices.Clone(s.sealed), func(g *segment) bool { return g == seg })
		s.setAside(seg, sum, d)
		s.measure()
		return true
	}
	s.exchange(seg, out.copied)
	if ops := holeOps(out.lost); len(ops) > 0 {
		if _, err := s.submit(ops...); err != nil {
			s.log.Warn("what is lost cannot be noted in the log", "err", err)
		}
	}
	return true
}

// suspect finds the segment of a damage and what salvage has to know of it. An active one is sealed first.
func (s *Store) suspect(d *DamageError) (*segment, rescue, bool) {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	if active := s.active.Load(); d.Segment == active.number && d.Path == active.path {
		if err := s.roll(0); err != nil {
			if err = s.classify(err); errors.Is(err, ErrFailed) {
				s.setRefused(err)
			}
			return nil, rescue{}, false
		}
	}
	i := slices.IndexFunc(s.sealed, func(g *segment) bool { return g.number == d.Segment })
	if i < 0 || s.sealed[i] != d.segment && d.segment != nil {
		return nil, rescue{}, true
	}
	seg := s.sealed[i]
	q := rescue{seg: seg, cause: d, runs: s.runsOf(seg), behind: s.active.Load()}
	if i > 0 {
		q.before = s.sealed[i-1].last
	}
	if i+1 < len(s.sealed) {
		q.behind = s.sealed[i+1]
	}
	return seg, q, true
}
