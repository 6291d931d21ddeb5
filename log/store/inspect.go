package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/log/record"
)

// JournalFile is the name of the journal in the log's directory, JournalMagic what it begins with.
const (
	JournalFile  = journalName
	JournalMagic = journalMagic
)

// SegmentNumber returns the number of the segment that a file of this name is, or was before it was set aside.
func SegmentNumber(name string) (number uint64, ok bool) {
	stem, _, found := strings.Cut(name, segmentSuffix)
	if !found {
		return 0, false
	}
	return segmentNumber(stem + segmentSuffix)
}

// ErrMeta says that one of the two pages is damaged from which all of a segment is reached. What the other one does not lead
// to is still in the file until something is written to it.
var ErrMeta = errors.New("a meta page is damaged")

// Problem is one thing in a file that is not what was written.
type Problem struct {
	Path      string
	Commit    uint64 // sequence of the commit, or of the journal's group, that it is in; 0 where it is in none
	Partition uint32 // id; 0 where it is of none, or of several
	From, To  int64  // offsets that cannot be read because of it, To exclusive; equal where that is not known
	Harmless  bool   // nothing that was acknowledged is concerned
	Err       error
}

// Error tells all but the path and what is known of the partition.
func (p Problem) Error() string {
	if p.Commit != 0 {
		return fmt.Sprintf("commit %d: %v", p.Commit, p.Err)
	}
	return p.Err.Error()
}

// Unwrap returns what is wrong: ErrUnfinished, ErrMissing, ErrVersion, or in words only.
func (p Problem) Unwrap() error { return p.Err }

// maxProblems bounds the problems that a report keeps.
const maxProblems = 1000

// Problems are what is wrong with a file.
type Problems struct {
	List []Problem
	More int // that are not in the list
}

func (p *Problems) add(one Problem) int {
	if len(p.List) == maxProblems {
		p.More++
		return -1
	}
	p.List = append(p.List, one)
	return len(p.List) - 1
}

// Damaged returns the number of problems that are not harmless.
func (p *Problems) Damaged() int {
	n := p.More
	for _, one := range p.List {
		if !one.Harmless {
			n++
		}
	}
	return n
}

// InspectOptions says what InspectSegment looks at.
type InspectOptions struct {
	// HeaderOnly reads the header, with index and summary, and none of the commits. What is wrong is not looked for.
	HeaderOnly bool
	// Checksums reads every batch whole. Else of each the header is looked at.
	Checksums bool
	// Newest says that the file is the newest segment of its log, whose newest commit may have been written when the
	// machine stopped, unless Settled, which the journal knows, says that it had been synced.
	Newest  bool
	Settled uint64
	// Live, if not nil, returns the offsets of a partition that are in force in this file, to exclusive. Batches outside,
	// and those that a later commit of the file truncated, are dead.
	Live func(id uint32) (from, to int64)
	// Commit, if not nil, is called for every commit that can be reached, after its batches. Batch, if not nil, is called
	// for every batch that is whole, by commit, then partition, then offset; a batch is valid until it returns. Their
	// error ends the reading, and is returned.
	Commit func(seq uint64) error
	Batch  func(BatchReport) error
}

// BatchReport is a batch that is whole.
type BatchReport struct {
	Commit    uint64 // or group of the journal
	Partition uint32
	Batch     record.Batch
	Live      bool
}

// PartitionRun sums up a partition's batches in one file.
type PartitionRun struct {
	Partition uint32
	Run
	Batches     int64
	LiveRecords int64 // of those in force
	LiveBytes   int64 // of their batches
}

// SegmentReport is what a segment's file holds, and what is wrong with it.
type SegmentReport struct {
	Path        string
	Number      uint64
	Bytes       int64            // of the file
	Created     time.Time        // zero where that cannot be read
	Before      uint64           // sequence of the newest commit in the segment before
	First, Last uint64           // sequences of the oldest and the newest commit. Where there are none First is 0 and Last is Before
	Sealed      bool             // it has a summary
	Rewritten   bool             // it replaces the one that was written, without what was dead
	Commits     int64            // whole or not
	Batches     int64            // whole, as are those that are counted below
	Records     int64            //
	BatchBytes  int64            //
	Runs        []PartitionRun   // by partition; with HeaderOnly those of the summary
	Truncated   map[uint32]int64 // least offset that a commit truncated a partition to; nil with HeaderOnly
	Begin       *State           // before the first commit; nil where it cannot be read
	After       *State           // behind the last one; nil where it cannot be made out
	Exact       bool             // After follows from a file without damage
	Moved       bool             // the file was changed while it was read
	Problems
}

// InspectSegment reads a segment's file without trusting it. It neither writes nor locks, so that it works on a card that
// is mounted read-only and beside a running node, where the newest segment may change while it is read: see Moved. What is
// wrong with the file is told by the report; an error says that the file cannot be read at all, or is that of a callback.
// Memory is bounded by the largest commit and the state of all partitions.
func InspectSegment(path string, opt InspectOptions) (*SegmentReport, error) {
	im, err := openImage(path)
	if err != nil {
		return nil, err
	}
	defer im.close()
	number, _ := SegmentNumber(filepath.Base(path))
	return inspectImage(im, number, opt)
}

// inspectImage inspects the segment of a number, 0 for any.
func inspectImage(im *image, number uint64, opt InspectOptions) (*SegmentReport, error) {
	metas, bad := im.metas()
	if len(metas) == 0 {
		rep := &SegmentReport{Path: im.path, Number: number, Bytes: int64(len(im.data))}
		for _, err := range split(bad) {
			rep.add(Problem{Path: im.path, Err: err})
		}
		return rep, nil
	}
	rep, err := inspectFrom(im, number, metas, opt)
	if err != nil {
		return nil, err
	}
	for _, err := range split(bad) {
		rep.add(Problem{Path: im.path, Err: fmt.Errorf("%w: %w", ErrMeta, err)})
	}
	for _, p := range im.unreadable() {
		rep.add(p)
	}
	now, _ := im.metas()
	rep.Moved = im.vanished || len(now) != len(metas) || now[0] != metas[0]
	return rep, nil
}

// inspectFrom reads a segment from the meta page that counts.
func inspectFrom(im *image, number uint64, metas []boltfile.Meta, opt InspectOptions) (*SegmentReport, error) {
	read := func(m boltfile.Meta, opt InspectOptions) (*SegmentReport, error) {
		p := newPass(im, number, opt)
		return p.run(m)
	}
	if opt.HeaderOnly {
		return read(metas[0], opt)
	}
	quiet := opt
	quiet.Batch, quiet.Checksums = nil, opt.Newest || opt.Checksums && opt.Batch == nil
	rep, err := read(metas[0], quiet)
	if err != nil {
		return nil, err
	}
	picked := metas[0]
	var note []Problem
	if len(metas) > 1 && rep.Damaged() > 0 {
		older, err := read(metas[1], quiet)
		if err != nil {
			return nil, err
		}
		switch {
		case opt.Newest && older.Damaged() == 0 && older.Last >= opt.Settled:
			note = []Problem{{Path: im.path, Commit: rep.Last, Harmless: true, Err: fmt.Errorf("%w; the one before it counts: %w", ErrUnfinished, rep.List[0].Err)}}
			rep, picked = older, metas[1]
		case older.Batches > rep.Batches:
			note = append(rep.List, Problem{Path: im.path, Err: errors.New("the transaction before the newest one leads to more, and is shown")})
			rep, picked = older, metas[1]
		}
	}
	if opt.Batch != nil {
		if rep, err = read(picked, opt); err != nil {
			return nil, err
		}
	}
	if opt.Newest && rep.Last < opt.Settled {
		note = append(note, Problem{Path: im.path, Err: fmt.Errorf("%w: it ends with commit %d, but %d had been synced", ErrMissing, rep.Last, opt.Settled)})
	}
	for _, p := range note {
		rep.add(p)
	}
	return rep, nil
}

// split returns the errors that were joined.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok { // what errors.Join returned itself
		return j.Unwrap()
	}
	return []error{err}
}

// regular returns the size of a file that holds data, which is not so of directories, pipes and devices.
func regular(path string) (int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	return st.Size(), nil
}
