package store

// Limits tells which offsets of a partition are in force in which segment: from its start up to where a later segment, or
// the journal, truncated it. It is made of the segments' headers in the order of their numbers.
type Limits struct {
	final    *State
	segments map[uint64]int     // place by number
	least    []map[uint32]int64 // by place: the first offset of a partition that is there or behind
}

// NewLimits makes the limits of segments; headers come from InspectSegment with HeaderOnly, or without, ascending. final is
// the state behind the journal.
func NewLimits(final *State) *Limits { return &Limits{final: final, segments: make(map[uint64]int)} }

// Add adds the next segment.
func (l *Limits) Add(r *SegmentReport) {
	least := make(map[uint32]int64)
	lower := func(id uint32, offset int64) { lowest(least, id, offset) }
	if r.Begin != nil {
		for id, p := range r.Begin.Partitions {
			lower(id, p.Next)
		}
	}
	for _, run := range r.Runs {
		if r.Sealed {
			lower(run.Partition, run.Base)
		}
	}
	for id, offset := range r.Truncated {
		lower(id, offset)
	}
	l.segments[r.Number] = len(l.least)
	l.least = append(l.least, least)
}

// In returns the limits in the segment of a number, as InspectOptions.Live wants them; those in the journal for a number
// that was not added.
func (l *Limits) In(number uint64) func(id uint32) (from, to int64) {
	place, ok := l.segments[number]
	if !ok {
		place = len(l.least)
	}
	return l.behind(place + 1)
}

// Before returns the limits in what there was before the segment of a number, which was added.
func (l *Limits) Before(number uint64) func(id uint32) (from, to int64) {
	return l.behind(l.segments[number])
}

// behind returns the limits in what the segments from a place on may have truncated.
func (l *Limits) behind(place int) func(id uint32) (from, to int64) {
	return func(id uint32) (from, to int64) {
		p := l.final.Partitions[id]
		if p == nil {
			return 0, 0
		}
		to = p.Next
		for _, later := range l.least[min(place, len(l.least)):] {
			if offset, ok := later[id]; ok {
				to = min(to, offset)
			}
		}
		return p.Start, to
	}
}
