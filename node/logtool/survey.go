package logtool

import (
	"context"
	"errors"
	"io/fs"

	"github.com/culvert-mq/culvert/log/store"
)

// survey is what has to be known of a log before its files can be judged: how it ends, and what is in force where.
type survey struct {
	t       *Target
	scan    *store.JournalReader // nil where there is none
	settled uint64
	before  *store.State         // behind the newest segment; of an empty log where nothing can be made out
	final   *store.State         // behind the journal
	newest  *store.SegmentReport // nil where there is none
	limits  *store.Limits
	names   names
	exact   bool // before follows from files that are whole
}

// survey reads the journal, the newest segment, and the headers of the others. Where a node writes meanwhile, what is read
// may not fit together: then it is read again.
func (t *Target) survey(ctx context.Context) (*survey, error) {
	for try := 1; ; try++ {
		s := &survey{t: t, names: make(names)}
		fits, err := s.read(ctx)
		if err == nil && (fits || t.Owner == Nobody || try == settleTries) {
			return s, nil
		}
		s.close()
		if err != nil {
			return nil, err
		}
		if err := t.list(); err != nil {
			return nil, err
		}
	}
}

// read reports whether the journal fits the segments. It is read first: a group that is overwritten meanwhile is then found
// in a segment.
func (s *survey) read(ctx context.Context) (fits bool, err error) {
	if s.t.Journal != "" {
		if s.scan, err = store.ScanJournal(s.t.Journal); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if s.scan != nil {
			s.settled = s.scan.Settled()
		}
	}
	if err := s.findEnd(ctx); err != nil {
		return false, err
	}
	fits, truncated := true, map[uint32]int64(nil)
	s.final = s.before
	if s.scan != nil {
		r, err := s.journal(nil, nil)
		if err != nil {
			return false, err
		}
		s.final, fits, truncated = r.After, len(r.List) == 0, r.Truncated
	}
	s.names.learn(s.final)
	s.limits = store.NewLimits(s.final)
	for _, f := range s.t.Segments {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		r := s.newest
		if f.Path != r.Path {
			if r, err = store.InspectSegment(f.Path, store.InspectOptions{HeaderOnly: true}); errors.Is(err, fs.ErrNotExist) {
				continue // a running node has let it go
			} else if err != nil {
				return false, err
			}
		}
		s.limits.Add(r)
	}
	s.limits.Add(&store.SegmentReport{Number: journalPlace, Truncated: truncated})
	return fits, nil
}

// journal inspects the journal. What is wrong with it while a node writes it is no damage for all one knows.
func (s *survey) journal(live func(uint32) (from, to int64), batch func(store.BatchReport) error) (*store.JournalReport, error) {
	opt := store.JournalOptions{State: s.before, Inexact: !s.exact, Live: live, Batch: batch}
	if s.newest != nil {
		opt.Absorbed = s.newest.Last
	}
	r, err := s.scan.Inspect(opt)
	if err == nil && s.t.Owner != Nobody {
		for i := range r.List {
			r.List[i].Harmless = true
		}
		r.More = 0
	}
	return r, err
}

// journalPlace stands for the journal among the segments.
const journalPlace = ^uint64(0)

func (s *survey) close() {
	if s.scan != nil {
		_ = s.scan.Close() // it was only read
	}
}

// findEnd finds the newest segment of which the state can be made out. What newer ones hold is added to where its
// partitions end.
func (s *survey) findEnd(ctx context.Context) error {
	var above []*store.SegmentReport
	s.exact = true
	for i := len(s.t.Segments) - 1; i >= 0 && s.before == nil; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := s.t.settle(s.t.Segments[i].Path, s.options(s.t.Segments[i]))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if s.newest == nil {
			s.newest = r
		}
		s.names.learn(r.Begin)
		s.exact = s.exact && r.Exact
		s.before = r.After
		above = append(above, r)
	}
	if s.before == nil {
		s.before = &store.State{Partitions: make(map[uint32]*store.PartitionState), NextID: 1}
	}
	for _, r := range above {
		for _, run := range r.Runs {
			p := s.before.Partitions[run.Partition]
			if p == nil && s.before.NextID == 1 { // nothing is known
				p = &store.PartitionState{PartitionInfo: store.PartitionInfo{ID: run.Partition, Index: -1}}
				s.before.Partitions[run.Partition] = p
			}
			if p != nil && !r.Exact {
				p.Next = max(p.Next, run.Next)
			}
		}
	}
	return nil
}

// options are those of inspecting a segment.
func (s *survey) options(f File) store.InspectOptions {
	newest := f.Path == s.t.Segments[len(s.t.Segments)-1].Path
	return store.InspectOptions{Newest: newest, Settled: s.settled}
}
