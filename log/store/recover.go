package store

import (
	"errors"
	"fmt"
	"io/fs"
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
	Path string         // where the file is now
	Err  error          // what is wrong with it
	Lost map[uint32]Run // what it held, per partition id, as far as that is known
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
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
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
		activeIndex: make(map[uint32][]indexEntry), logs: make(map[uint32]*Log),
	}
	s.room = sync.NewCond(&s.mu)
	s.SetLinger(opt.Linger)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("open log in %s: %w", opt.Dir, err)
	}
	if err = s.spaceLeft(); err == nil && len(s.pending) > 0 {
		err = fmt.Errorf("%w: the journal could not be absorbed", ErrFull)
	}
	s.setRefused(err)
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
	j, frames, jerr := s.findJournal()
	if jerr != nil {
		return jerr
	}
	summaries := make(map[*segment]*summary)
	for i, n := range numbers {
		seg := &segment{path: segmentPath(s.opt.Dir, n), number: n, faults: s.opt.Faults, mapped: s.mapBytes()}
		seg.measure()
		if i == len(numbers)-1 { // recoverState reads it
			s.sealed = append(s.sealed, seg)
			break
		}
		sum, err := s.openSealedSegment(seg)
		switch {
		case s.setAside(seg, sum, err):
		case err != nil:
			return err
		default:
			summaries[seg] = sum
			s.sealed = append(s.sealed, seg)
		}
	}
	if err := s.recoverState(summaries, newestSettled(frames.all)); err != nil {
		return err
	}
	s.seq = s.active.Load().last
	if err := s.recoverJournal(j, frames); err != nil {
		return err
	}
	for _, p := range s.state.Partitions {
		p.Next = max(p.Next, p.Start) // the records up to the start may be lost with a damaged segment, the start not
	}
	s.nextID = s.durable().NextID
	s.measure()
	s.log.Info("log opened", "dir", s.opt.Dir, "segments", len(s.sealed)+1, "partitions", len(s.state.Partitions), "group", s.seq, "took", time.Since(start).Round(time.Millisecond))
	return nil
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
		if err := dropMeta(seg.path, metas[0].Page); err != nil {
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
	if err == nil && h.after != nil {
		n.state, err = decodeState(h.after)
	}
	if h.summary != nil {
		h.last = max(h.last, h.summary.Last)
	}
	return n, err
}

// dropMeta takes a meta page out of use, so that bbolt goes by the other one.
func dropMeta(path string, page int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(zeros[:], int64(page)*blockSize)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// recoverState takes the state from the newest segment that is whole, and makes the active segment.
func (s *Store) recoverState(summaries map[*segment]*summary, settled uint64) error {
	for len(s.sealed) > 0 {
		seg := s.sealed[len(s.sealed)-1]
		n, err := s.readNewest(seg, settled)
		if s.setAside(seg, summaries[seg], err) {
			s.sealed = s.sealed[:len(s.sealed)-1]
			settled = 0 // that is told
			continue
		}
		if err != nil {
			return err
		}
		seg.checked, seg.created, seg.last = true, n.created, n.last
		if n.summary == nil {
			if err := seg.writable(); s.setAside(seg, nil, err) {
				s.sealed = s.sealed[:len(s.sealed)-1]
				continue
			} else if err != nil {
				return err
			}
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
	s.journal, err = createJournal(s.opt.Dir, s.opt.JournalBytes, s.opt.Faults)
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
	}
	p := pendingGroup{seq: g.seq, ops: g.ops}
	for _, e := range g.entries {
		l := s.logs[e.Partition]
		if l == nil {
			s.log.Warn("journal: a batch of an unknown partition is left out", "group", g.seq, "partition", e.Partition)
			continue
		}
		l.pushTail(g.seq, e.Batch)
		p.entries, p.bytes = append(p.entries, e), p.bytes+int64(len(e.Batch))
	}
	s.pending = append(s.pending, p)
	s.pendingBytes += p.kept()
	s.m.Pending.Add(float64(p.bytes))
	s.seq = g.seq
}

// setAside renames a segment that err says is damaged and reports whether it did.
func (s *Store) setAside(seg *segment, sum *summary, err error) bool {
	if _, ok := errors.AsType[*DamageError](err); !ok {
		return false
	}
	seg.detach(errGone)
	lost := make(map[uint32]Run)
	if sum != nil {
		for _, r := range sum.Partitions {
			lost[r.ID] = r.run()
		}
	}
	if err := s.moveAside(seg.path, err, lost); err != nil {
		s.log.Error("damaged segment cannot be renamed", "path", seg.path, "err", err)
	}
	return true
}

func (s *Store) moveAside(path string, cause error, lost map[uint32]Run) error {
	to := path + ".damaged"
	for i := 2; ; i++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = fmt.Sprintf("%s.damaged-%d", path, i)
	}
	if err := os.Rename(path, to); err != nil {
		return err
	}
	for id, r := range lost {
		s.log.Error("records are lost with a damaged file", "file", to, "partition", id, "from", r.Base, "to", r.Next-1)
	}
	s.report(Damage{Path: to, Err: cause, Lost: lost})
	return fsx.SyncDir(filepath.Dir(path))
}

func (s *Store) report(d Damage) {
	s.log.Error("damaged file", "file", d.Path, "err", d.Err)
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

// quarantine takes a sealed segment in which a reader found damage out of service. It returns false for the active one.
func (s *Store) quarantine(d *DamageError) bool {
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	i := slices.IndexFunc(s.sealed, func(g *segment) bool { return g.number == d.Segment })
	if i < 0 {
		return d.Segment != s.active.Load().number // another reader was first
	}
	seg := s.sealed[i]
	s.logsMu.RLock()
	sum := &summary{Last: seg.last}
	for _, l := range s.logs {
		if r, ok := l.forget(seg); ok {
			sum.Partitions = append(sum.Partitions, r)
		}
	}
	s.logsMu.RUnlock()
	s.sealed = slices.Delete(slices.Clone(s.sealed), i, i+1)
	s.setAside(seg, sum, d)
	s.measure()
	return true
}
