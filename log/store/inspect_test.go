package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// inspected is what the files of a directory say.
type inspected struct {
	segments []*SegmentReport
	journal  *JournalReport
	records  map[uint32][]int64 // base offsets of the batches in force, by partition
	final    *State
	problems []string
}

func (in *inspected) note(p Problems) {
	for _, one := range p.List {
		in.problems = append(in.problems, fmt.Sprintf("%s partition %d %d-%d harmless %v: %v", filepath.Base(one.Path), one.Partition, one.From, one.To, one.Harmless, one))
	}
}

// inspectDir inspects all files of a directory.
func inspectDir(t fatal, dir string) *inspected {
	t.Helper()
	return inspectEach(t, dir, nil)
}

// inspectEach does, and hands on every batch that is whole.
func inspectEach(t fatal, dir string, fn func(BatchReport)) *inspected {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	in := &inspected{records: make(map[uint32][]int64)}
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	check(err)
	scan, err := ScanJournal(filepath.Join(dir, JournalFile))
	check(err)
	defer scan.Close()
	opt := func(i int) InspectOptions {
		return InspectOptions{Checksums: true, Newest: i == len(files)-1, Settled: scan.Settled()}
	}
	last, err := InspectSegment(files[len(files)-1], opt(len(files)-1))
	check(err)
	state, err := scan.Inspect(JournalOptions{Absorbed: last.Last, State: last.After, Inexact: !last.Exact})
	check(err)
	if state.After == nil {
		state.After = newState()
	}
	limits := NewLimits(state.After)
	for i, f := range files {
		o := opt(i)
		if i < len(files)-1 {
			o.HeaderOnly = true
		}
		r, err := InspectSegment(f, o)
		check(err)
		limits.Add(r)
	}
	limits.Add(&SegmentReport{Number: 1 << 60, Truncated: state.Truncated})
	batch := func(b BatchReport) error {
		if fn != nil {
			fn(b)
		}
		if b.Live {
			in.records[b.Partition] = append(in.records[b.Partition], b.Batch.BaseOffset())
		}
		return nil
	}
	for i, f := range files {
		o := opt(i)
		number, _ := SegmentNumber(filepath.Base(f))
		o.Live, o.Batch = limits.In(number), batch
		r, err := InspectSegment(f, o)
		check(err)
		in.segments = append(in.segments, r)
		in.note(r.Problems)
	}
	in.journal, err = scan.Inspect(JournalOptions{Absorbed: last.Last, State: last.After, Inexact: !last.Exact, Live: limits.In(1 << 60), Batch: batch})
	check(err)
	in.note(in.journal.Problems)
	in.final = in.journal.After
	for i, r := range in.segments[1:] {
		before := in.segments[i]
		if r.Begin == nil || !before.Exact || before.Last != r.Before {
			continue
		}
		for _, d := range CompareStates(r.Begin, before.After) {
			in.problems = append(in.problems, fmt.Sprintf("%s: state of partition %d: %s", r.Path, d.Partition, d.Text))
		}
	}
	return in
}

// checkInspected compares what the files say with the model.
func (m *model) checkInspected(rt *rapid.T, dir string) {
	in := inspectDir(rt, dir)
	if len(in.problems) > 0 {
		rt.Fatalf("problems: %q", in.problems)
	}
	if len(in.final.Partitions) != len(m.live) {
		rt.Fatalf("%d partitions, want %d", len(in.final.Partitions), len(m.live))
	}
	for _, n := range m.live {
		want := &State{Partitions: map[uint32]*PartitionState{n.src.id: n.state}}
		got := &State{Partitions: map[uint32]*PartitionState{n.src.id: in.final.Partitions[n.src.id]}}
		for _, d := range CompareStates(got, want) {
			rt.Fatalf("partition %d: %s", d.Partition, d.Text)
		}
		var bases []int64
		for _, b := range n.batches {
			if b.NextOffset() > n.state.Start {
				bases = append(bases, b.BaseOffset())
			}
		}
		if !slices.Equal(bases, in.records[n.src.id]) {
			rt.Fatalf("partition %d from %d: batches at %v, want %v", n.src.id, n.state.Start, in.records[n.src.id], bases)
		}
	}
}

func TestFilesSayWhatTheStoreHolds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{opt: testOptions(t.TempDir())}
		m.opt.SegmentBytes, m.opt.JournalBytes, m.opt.DirectBytes, m.opt.AbsorbBytes = 128<<10, 96<<10, 16<<10, 24<<10
		m.open(rt)
		must := func(err error) {
			if err != nil {
				rt.Fatal(err)
			}
		}
		steps := map[string]func(*rapid.T){
			"reclaim": func(*rapid.T) {
				_, err := m.st.Reclaim()
				must(err)
			},
			"inspect closed": func(rt *rapid.T) {
				m.close(rt)
				m.checkInspected(rt, m.opt.Dir)
				m.open(rt)
			},
			"inspect killed": func(rt *rapid.T) {
				dir := copyDir(t, m.opt.Dir)
				m.checkInspected(rt, dir)
				must(os.RemoveAll(dir))
			},
		}
		m.appends(steps, must)
		m.changes(steps, must)
		rt.Repeat(steps)
		m.close(rt)
		m.checkInspected(rt, m.opt.Dir)
	})
}
