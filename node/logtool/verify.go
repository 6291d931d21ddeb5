package logtool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/culvert-mq/culvert/log/store"
)

// Verdict is what verifying a log found.
type Verdict struct {
	Dir      string    `json:"dir"`
	InUse    int       `json:"in_use_by"` // process id of the node that runs on it; 0 for none, -1 for an unknown one
	Segments int       `json:"segments"`
	Commits  int64     `json:"commits"`
	Pending  int64     `json:"pending_groups"` // of the journal, that are in no segment yet
	Batches  int64     `json:"batches"`
	Records  int64     `json:"records"`
	Bytes    int64     `json:"bytes"`    // of the batches
	Damaged  int       `json:"damaged"`  // problems that are not harmless
	Notes    int       `json:"notes"`    // those that are
	Gone     []Range   `json:"gone"`     // offsets that are in force and cannot be read, as far as is known
	Blurred  bool      `json:"blurred"`  // more may be gone: it cannot be made out where the log ended
	Problems []Problem `json:"problems"` // the first [MaxProblems]
}

// MaxProblems bounds the problems that a verdict keeps.
const MaxProblems = 10_000

// Whole tells whether nothing is damaged.
func (v *Verdict) Whole() bool { return v.Damaged == 0 }

// verification is a verdict in the making.
type verification struct {
	*Verdict
	t     *Target
	s     *survey
	names names
	gone  spans
	there spans // offsets of what is in force and whole; nil where nobody asks
	tell  func(Problem)
}

func (v *verification) add(p Problem) {
	if p.Harmless {
		v.Notes++
	} else {
		v.Damaged++
	}
	if len(v.Problems) < MaxProblems {
		v.Problems = append(v.Problems, p)
	}
	v.tell(p)
}

// addAll takes the problems of a file, in which the offsets that live returns are in force; nil is all.
func (v *verification) addAll(p store.Problems, live func(uint32) (from, to int64)) {
	for _, one := range p.List {
		v.add(v.names.problem(one))
		if one.Harmless || one.Partition == 0 {
			continue
		}
		from, to := one.From, one.To
		if live != nil {
			least, limit := live(one.Partition)
			from, to = max(from, least), min(to, limit)
		}
		v.gone.add(one.Partition, from, to)
	}
	if v.Damaged += p.More; p.More > 0 {
		v.tell(Problem{File: filepath.Base(p.List[0].Path), Text: fmt.Sprintf("and %d problems more", p.More)})
	}
}

// Verify reads everything and checks it: every checksum, the sums of commits, indexes and summaries against what is there,
// the order of offsets, and the states that segments begin with against what follows from the commits before. Each problem
// is told as it is found.
func (t *Target) Verify(ctx context.Context, tell func(Problem)) (*Verdict, error) {
	return t.verify(ctx, tell, nil)
}

// verify does what Verify does, and notes in there, unless it is nil, which offsets are.
func (t *Target) verify(ctx context.Context, tell func(Problem), there spans) (*Verdict, error) {
	v := &verification{Verdict: &Verdict{Dir: t.Dir, InUse: t.Owner, Gone: []Range{}, Problems: []Problem{}}, t: t, gone: make(spans), there: there, tell: tell}
	if t.File != "" {
		if err := v.file(ctx); err != nil {
			return nil, err
		}
		v.Gone = v.gone.ranges(v.names)
		return v.Verdict, nil
	}
	s, err := t.survey(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	v.s, v.names = s, s.names
	if err := v.segments(ctx); err != nil {
		return nil, err
	}
	if s.scan != nil {
		r, err := s.journal(s.limits.In(journalPlace), v.batch)
		if err != nil {
			return nil, err
		}
		v.Pending = r.Pending
		v.count(r.Batches, r.Records, r.BatchBytes)
		v.addAll(r.Problems, s.limits.In(journalPlace))
	}
	for _, f := range t.SetAside {
		v.add(Problem{File: filepath.Base(f.Path), Harmless: true, Text: "it was set aside because it is damaged; the log does not need it"})
	}
	v.gone.restrict(s.final)
	v.Blurred = !s.exact
	v.Gone = v.gone.ranges(v.names)
	return v.Verdict, nil
}

func (v *verification) batch(b store.BatchReport) error {
	if b.Live && v.there != nil {
		v.there.join(b.Partition, b.Batch.BaseOffset(), b.Batch.NextOffset())
	}
	return nil
}

func (v *verification) count(batches, records, bytes int64) {
	v.Batches, v.Records, v.Bytes = v.Batches+batches, v.Records+records, v.Bytes+bytes
}

func (v *verification) file(ctx context.Context) error {
	f, err := v.t.openFile(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	v.names = f.names
	if f.scan != nil {
		r, err := f.scan.Inspect(store.JournalOptions{Alone: true})
		if err != nil {
			return err
		}
		v.Pending = r.Pending
		v.count(r.Batches, r.Records, r.BatchBytes)
		v.addAll(r.Problems, nil)
		return nil
	}
	f.opt.Checksums = true
	r, err := v.t.settle(v.t.File, f.opt)
	if err != nil {
		return err
	}
	v.addSegment(r, nil)
	return nil
}

func (v *verification) addSegment(r *store.SegmentReport, live func(uint32) (from, to int64)) {
	v.Segments++
	v.Commits += r.Commits
	v.count(r.Batches, r.Records, r.BatchBytes)
	v.addAll(r.Problems, live)
}

// segments verifies each segment, and what follows from one for the next.
func (v *verification) segments(ctx context.Context) error {
	var before *store.SegmentReport // the newest one of which it is known how it ends
	held := make(spans)             // in those behind it
	for _, f := range v.t.Segments {
		opt := v.s.options(f)
		opt.Checksums, opt.Live = true, v.s.limits.In(f.Number)
		opt.Commit = func(uint64) error { return ctx.Err() }
		if v.there != nil {
			opt.Batch = v.batch
		}
		r, err := v.t.settle(f.Path, opt)
		if errors.Is(err, fs.ErrNotExist) { // a running node has let it go
			before, held = nil, make(spans)
			continue
		}
		if err != nil {
			return err
		}
		v.names.learn(r.Begin)
		v.names.learn(r.After)
		v.addSegment(r, opt.Live)
		if !r.Sealed && !opt.Newest && r.Damaged() == 0 {
			v.add(Problem{File: filepath.Base(r.Path), Harmless: true, Text: "it is not sealed; the node does that when it starts"})
		}
		v.follow(before, r, held)
		if r.After != nil {
			before, held = r, make(spans)
			continue
		}
		for _, run := range r.Runs {
			held.add(run.Partition, run.Base, run.Next)
		}
	}
	return nil
}

// follow compares how a segment begins with how the one before it ends. Those in between, of which that is not known, held
// some offsets.
func (v *verification) follow(before, r *store.SegmentReport, held spans) {
	if r.Begin == nil || r.Rewritten && len(r.Begin.Partitions) == 0 { // of one that was salvaged it need not be known
		return
	}
	if before == nil {
		before = &store.SegmentReport{Exact: true, After: &store.State{NextID: 1}}
	}
	if before.Exact && before.Last == r.Before {
		if r.Rewritten { // it says itself what it leads to
			return
		}
		for _, d := range store.CompareStates(r.Begin, before.After) {
			p := Problem{File: filepath.Base(r.Path), Text: "the state that it begins with does not follow from the log: " + d.Text}
			if d.Partition != 0 {
				p.Of = &Range{Place: v.names.place(d.Partition)}
			}
			v.add(p)
		}
		return
	}
	file, text := filepath.Base(before.Path), "it ends before these records, and the next one begins behind them"
	if before.Number+1 < r.Number {
		file, text = fmt.Sprintf("%020d.seg", r.Number-1), "it, or one before it, is missing, and these records with it"
	}
	for _, run := range r.Runs {
		held.add(run.Partition, run.Base, run.Next)
	}
	for _, id := range slices.Sorted(maps.Keys(r.Begin.Partitions)) {
		p, from := r.Begin.Partitions[id], int64(0)
		if q := before.After.Partitions[id]; q != nil {
			from = q.Next
		}
		_, limit := v.s.limits.Before(r.Number)(id)
		for _, g := range notKnown(v.s.final.Partitions[id], from, min(p.Next, limit), slices.Concat(held[id], v.gone[id])) {
			v.add(Problem{File: file, Of: &Range{v.names.place(id), g.from, g.to}, Text: text})
			v.gone.add(id, g.from, g.to)
		}
	}
}

// notKnown returns what is in force of the offsets of a partition, is held nowhere, and is in none of its holes. What
// compaction has looked at it may have taken.
func notKnown(p *store.PartitionState, from, to int64, held []span) []span {
	if p == nil {
		return nil
	}
	left := []span{{max(from, p.Start), min(to, p.Next)}}
	for _, h := range p.Holes {
		left = subtract(left, span{h.From, h.To})
	}
	for _, h := range held {
		left = subtract(left, h)
	}
	return subtract(left, span{0, p.Cleaned})
}
