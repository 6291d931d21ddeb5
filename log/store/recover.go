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
		for _, o := range g.ops {
			state.applyOp(o)
		}
		for _, e := range g.entries {
			if p := state.Partitions[e.Partition]; p != nil {
				p.Apply(e.Batch)
			}
		}
	}
	return state
}

func (s *Store) recover() error {
	start := time.Now()
	numbers, err := s.listSegments()
	if err != nil {
		return err
	}
	summaries := make(map[*segment]*summary)
	for i, n := range numbers {
		seg := &segment{path: segmentPath(s.opt.Dir, n), number: n, faults: s.opt.Faults, mapped: s.mapBytes()}
		seg.measure()
		sum, err := s.openSealedSegment(seg, i == len(numbers)-1)
		switch {
		case s.setAside(seg, sum, err):
		case err != nil:
			return err
		default:
			summaries[seg] = sum
			s.sealed = append(s.sealed, seg)
		}
	}
	if err := s.recoverState(summaries); err != nil {
		return err
	}
	s.seq = s.active.Load().last
	if err := s.recoverJournal(); err != nil {
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

// openSealedSegment reads the end of a segment. The newest one may be unsealed; another one that is (the node died
// between damage and the next seal) is read whole for its summary.
func (s *Store) openSealedSegment(seg *segment, newest bool) (*summary, error) {
	sum, _, err := seg.readHeader(false)
	if err == nil && sum != nil {
		s.touch(seg)
	}
	if err != nil || sum != nil || newest {
		return sum, err
	}
	index := make(map[uint32][]indexEntry)
	if err := seg.scan(func(seq uint64, _ []op, entries []Entry) error {
		indexCommit(seq, entries, func(id uint32, e indexEntry) { index[id] = append(index[id], e) })
		return nil
	}); err != nil {
		return nil, err
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

// recoverState takes the state from the newest segment that is whole, and makes the active segment.
func (s *Store) recoverState(summaries map[*segment]*summary) error {
	for len(s.sealed) > 0 {
		seg := s.sealed[len(s.sealed)-1]
		index := make(map[uint32][]indexEntry)
		_, state, err := seg.readHeader(true)
		if err == nil {
			err = seg.scan(func(seq uint64, ops []op, entries []Entry) error {
				for _, o := range ops {
					state.applyOp(o)
				}
				for _, e := range entries {
					if p := state.Partitions[e.Partition]; p != nil {
						p.Apply(e.Batch)
					}
				}
				indexCommit(seq, entries, func(id uint32, e indexEntry) { index[id] = append(index[id], e) })
				return nil
			})
		}
		if s.setAside(seg, summaries[seg], err) {
			s.sealed = s.sealed[:len(s.sealed)-1]
			continue
		}
		if err != nil {
			return err
		}
		if !seg.sealed {
			if err := checkMetas(seg.path); err != nil {
				s.report(Damage{Path: seg.path, Err: fmt.Errorf("the newest commit may be lost: %w", err)})
			}
			seg.unmap()
			if err := seg.writable(); s.setAside(seg, nil, err) {
				s.sealed = s.sealed[:len(s.sealed)-1]
				continue
			} else if err != nil {
				return err
			}
			s.sealed = s.sealed[:len(s.sealed)-1]
			s.activeIndex = index
			s.active.Store(seg)
		}
		s.state = state
		break
	}
	if s.state == nil {
		s.state = newState()
	}
	if s.active.Load() == nil {
		seg, err := createSegment(s.opt.Dir, s.nextNumber(), s.mapBytes(), s.opt.Now(), s.state, s.opt.Faults)
		if err != nil {
			return err
		}
		s.active.Store(seg)
	}
	if n := len(s.sealed); n > 0 { // nothing may have been committed since the last one was sealed
		active := s.active.Load()
		active.last = max(active.last, s.sealed[n-1].last)
	}
	for id := range s.state.Partitions {
		s.logs[id] = &Log{st: s, id: id, active: s.activeIndex[id]}
	}
	for _, seg := range s.sealed {
		for _, run := range summaries[seg].Partitions {
			if l := s.logs[run.ID]; l != nil {
				l.sealed = append(l.sealed, sealedRun{run, seg})
			}
		}
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

// recoverJournal replays the groups behind the newest commit and absorbs them.
func (s *Store) recoverJournal() error {
	j, err := openJournal(s.opt.Dir, s.opt.Faults)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if s.seq > 0 {
			s.log.Error("journal is missing; groups that were not in a segment yet are lost", "dir", s.opt.Dir)
		}
	case err != nil:
		path := filepath.Join(s.opt.Dir, journalName)
		if err := s.moveAside(path, err, nil); err != nil {
			return err
		}
	default:
		s.journal = j
		groups, gap, damage := j.replay(s.seq)
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
			lost[r.ID] = Run{r.Base, r.Next, r.MaxTime, r.Bytes}
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
