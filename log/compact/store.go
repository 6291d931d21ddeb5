package compact

import (
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// Store is what a pass needs of the log. Its methods may be called while the log takes appends, and while retention moves
// starts and drops segments.
type Store interface {
	// Segments returns all segments, oldest first, the active one last, with the runs that are in force.
	Segments() []store.SegmentInfo
	// Scan hands the batches of a partition from the one that holds offset from up to offset to (exclusive) to fn, in
	// order; those that are gone are left out. The bytes of a batch are valid until fn returns. An error of fn ends the
	// scan and is returned. Scan is asked for what lies in one sealed segment at a time.
	Scan(id uint32, from, to int64, fn func(b record.Batch) error) error
	// Rewrite replaces a sealed segment by one that holds what keep returns for each of its batches in force: the batch
	// itself, another one of the same base and last offset, or nil. Keep is asked by commit, then partition, then offset.
	// After an error, and after a crash, either the old segment is there or the new one. pace is told of bytes that were
	// read and written; its error ends the rewriting. Error: store.ErrNoSegment when the segment has gone.
	Rewrite(number uint64, keep func(id uint32, b record.Batch) (record.Batch, error), pace func(bytes int64) error) (freed int64, err error)
	// SetCleaned makes durable how far a partition has been compacted.
	SetCleaned(id uint32, offset int64) error
}

// segment is a sealed segment in a pass.
type segment struct {
	store.SegmentInfo
	parts []*part // of the pass that have something in it, by id
}

// base is the offset from which on p has something in the segment that is in force.
func (s *segment) base(p *part) int64 { return max(s.Runs[p.ID].Base, p.Start) }
