package logtool

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/culvert-mq/culvert/log/store"
)

// Inventory is what a log, or one file of it, holds.
type Inventory struct {
	Dir        string      `json:"dir"`
	InUse      int         `json:"in_use_by"` // process id of the node that runs on it; 0 for none, -1 for an unknown one
	Segments   []Segment   `json:"segments"`
	Journal    *Journal    `json:"journal"`    // null where there is none
	Partitions []Partition `json:"partitions"` // by topic; empty for a single file
	SetAside   []string    `json:"set_aside"`  // damaged files of before
	Problems   []Problem   `json:"problems"`   // those that show without reading every record
}

// States of a file.
const (
	StateOK      = "ok"
	StateNote    = "note" // nothing that was acknowledged is concerned
	StateDamaged = "damaged"
)

// Segment is what a segment holds. Batches and what is counted with them are those that are whole, dead ones too.
type Segment struct {
	Number      uint64    `json:"number"`
	File        string    `json:"file"`
	Sealed      bool      `json:"sealed"`
	Active      bool      `json:"active"`    // it is the newest one
	Rewritten   bool      `json:"rewritten"` // without what was dead
	Created     time.Time `json:"created"`   // zero where that cannot be read
	FirstCommit uint64    `json:"first_commit"`
	LastCommit  uint64    `json:"last_commit"`
	Commits     int64     `json:"commits"`
	Batches     int64     `json:"batches"`
	Records     int64     `json:"records"`
	Bytes       int64     `json:"bytes"`      // of the batches
	FileBytes   int64     `json:"file_bytes"` // of the file
	Runs        []Run     `json:"partitions"`
	State       string    `json:"state"`
}

// Run is a partition's part of a file.
type Run struct {
	Range
	Batches     int64 `json:"batches"`
	Records     int64 `json:"records"`
	Bytes       int64 `json:"bytes"`
	LiveRecords int64 `json:"live_records"` // in force: neither before the start, nor truncated or dropped
	MaxTime     int64 `json:"max_timestamp"`
}

// Journal is what a journal holds. Batches and what is counted with them are those that are in no segment yet.
type Journal struct {
	File        string `json:"file"`
	Size        int64  `json:"size"` // of the ring, bytes
	Groups      int64  `json:"groups"`
	First       uint64 `json:"first_group"`
	Last        uint64 `json:"last_group"`
	Settled     uint64 `json:"settled"` // newest group that is known to be synced in a segment
	Pending     int64  `json:"pending"`
	PendingFrom uint64 `json:"pending_from"`
	PendingTo   uint64 `json:"pending_to"`
	Batches     int64  `json:"batches"`
	Records     int64  `json:"records"`
	Bytes       int64  `json:"bytes"`
	Runs        []Run  `json:"partitions"`
	State       string `json:"state"`
}

// Partition is what the log says of a partition. Records that were accepted are those up to Next; what is stored and what
// is counted as gone add up to it.
type Partition struct {
	Place
	TopicID    [16]byte `json:"-"`
	Start      int64    `json:"start"`
	Next       int64    `json:"next"`
	Stored     int64    `json:"stored"`
	Expired    int64    `json:"expired"`
	Lost       int64    `json:"lost"` // before they were forwarded
	Superseded int64    `json:"superseded"`
	Damaged    int64    `json:"damaged"`
	Cleaned    int64    `json:"cleaned"`
	Epochs     []Epoch  `json:"epochs"`
	Producers  int      `json:"producers"`
	Open       int      `json:"open_transactions"`
	Aborted    int      `json:"aborted_transactions"`
	Holes      []Hole   `json:"holes"`
}

// Epoch is a leader epoch and the offset at which it began.
type Epoch struct {
	Epoch int32 `json:"epoch"`
	Start int64 `json:"start"`
}

// Hole is a range of offsets whose records are known to be lost, To exclusive.
type Hole struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// Inspect tells what a log holds, without reading the records themselves.
func (t *Target) Inspect(ctx context.Context) (*Inventory, error) {
	in := &Inventory{Dir: t.Dir, InUse: t.Owner, Segments: []Segment{}, Partitions: []Partition{}, SetAside: []string{}, Problems: []Problem{}}
	if t.File != "" {
		return in, t.inspectFile(ctx, in)
	}
	for _, f := range t.SetAside {
		in.SetAside = append(in.SetAside, filepath.Base(f.Path))
	}
	s, err := t.survey(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	stored := make(map[uint32]int64)
	for _, f := range t.Segments {
		opt := s.options(f)
		opt.Live, opt.Commit = s.limits.In(f.Number), func(uint64) error { return ctx.Err() }
		r, err := t.settle(f.Path, opt)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.names.learn(r.After)
		for _, run := range r.Runs {
			stored[run.Partition] += run.LiveRecords
		}
		in.addSegment(s.names, r)
	}
	if n := len(in.Segments); n > 0 {
		in.Segments[n-1].Active = !in.Segments[n-1].Sealed
	}
	if s.scan != nil {
		r, err := s.journal(s.limits.In(journalPlace), nil)
		if err != nil {
			return nil, err
		}
		for _, run := range r.Runs {
			stored[run.Partition] += run.LiveRecords
		}
		in.addJournal(s.names, r)
	}
	in.addPartitions(s.final, stored)
	return in, nil
}

func (t *Target) inspectFile(ctx context.Context, in *Inventory) error {
	f, err := t.openFile(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	if f.scan != nil {
		r, err := f.scan.Inspect(store.JournalOptions{Alone: true})
		if err == nil {
			in.addJournal(f.names, r)
		}
		return err
	}
	r, err := t.settle(t.File, f.opt)
	if err == nil {
		in.addSegment(f.names, r)
		in.Segments[0].Active = f.opt.Newest && !r.Sealed
	}
	return err
}

func (in *Inventory) addSegment(n names, r *store.SegmentReport) {
	in.Segments = append(in.Segments, Segment{
		Number: r.Number, File: filepath.Base(r.Path), Sealed: r.Sealed, Rewritten: r.Rewritten, Created: r.Created,
		FirstCommit: r.First, LastCommit: r.Last, Commits: r.Commits, Batches: r.Batches, Records: r.Records,
		Bytes: r.BatchBytes, FileBytes: r.Bytes, Runs: n.runs(r.Runs), State: in.note(n, r.Problems),
	})
}

func (in *Inventory) addJournal(n names, r *store.JournalReport) {
	in.Journal = &Journal{
		File: filepath.Base(r.Path), Size: r.Size, Groups: r.Groups, First: r.First, Last: r.Last, Settled: r.Settled,
		Pending: r.Pending, PendingFrom: r.PendingFrom, PendingTo: r.PendingTo, Batches: r.Batches, Records: r.Records,
		Bytes: r.BatchBytes, Runs: n.runs(r.Runs), State: in.note(n, r.Problems),
	}
}

// note takes the problems of a file and returns its state.
func (in *Inventory) note(n names, p store.Problems) string {
	for _, one := range p.List {
		in.Problems = append(in.Problems, n.problem(one))
	}
	switch {
	case p.Damaged() > 0:
		return StateDamaged
	case len(p.List) > 0:
		return StateNote
	}
	return StateOK
}

func (n names) runs(runs []store.PartitionRun) []Run {
	all := make([]Run, 0, len(runs))
	for _, r := range runs {
		all = append(all, Run{Range: Range{n.place(r.Partition), r.Base, r.Next}, Batches: r.Batches, Records: r.Records, Bytes: r.Bytes, LiveRecords: r.LiveRecords, MaxTime: r.MaxTime})
	}
	return all
}

func (in *Inventory) addPartitions(final *store.State, stored map[uint32]int64) {
	for _, id := range slices.Sorted(maps.Keys(final.Partitions)) {
		p := final.Partitions[id]
		row := Partition{
			Place: Place{p.Topic, p.Index, id}, TopicID: p.TopicID, Start: p.Start, Next: p.Next, Stored: stored[id],
			Expired: p.Expired, Lost: p.Lost, Damaged: p.Damaged, Cleaned: p.Cleaned, Producers: len(p.Producers), Aborted: len(p.Aborted),
			Epochs: []Epoch{}, Holes: []Hole{},
		}
		row.Superseded = row.Next - row.Stored - row.Expired - row.Lost - row.Damaged
		for _, e := range p.Epochs {
			row.Epochs = append(row.Epochs, Epoch(e))
		}
		for _, pr := range p.Producers {
			if pr.TxnStart >= 0 {
				row.Open++
			}
		}
		for _, h := range p.Holes {
			row.Holes = append(row.Holes, Hole(h))
		}
		in.Partitions = append(in.Partitions, row)
	}
	slices.SortStableFunc(in.Partitions, func(a, b Partition) int { return comparePlaces(a.Place, b.Place) })
}
