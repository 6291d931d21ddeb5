package upstream

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// mode is what a flow is doing.
type mode int

const (
	running  mode = iota // reads when there is something to read and memory to hold it
	draining             // a record failed: nothing is read until all that is on its way has its answer
	held                 // waits until retryAt
	probing              // sent one record after having been held, and waits for its answer
	careful              // queued for, or owned by, the goroutine that looks for the refused record
)

// flow is the forwarding of one source partition. The pump reads for it, the producer's goroutine confirms; in mode
// careful the prober does what the pump does otherwise.
type flow struct {
	id      PartitionID
	src     Partition
	central *centralTopic
	stop    func() // of the watch

	mu       sync.Mutex
	mode     mode
	position int64    // everything below is confirmed, refused or lost
	next     int64    // where reading continues
	chunks   []*chunk // [position, next), in order
	skip     []int64  // offsets at and after position that were confirmed before the last failure
	pending  int      // records with the producer
	held     int64    // bytes of the budget
	removed  bool     // no longer to be forwarded

	damage     error       // why the last damaged batch could not be read
	failing    atomic.Bool // a record failed; read without mu by who is handing records to the producer
	cause      error       // why the flow is draining, held or careful
	failedAt   time.Time   // when it began to drain
	failures   int         // in a row
	retryAt    time.Time   // in mode held
	suspect    bool        // there may be a record below windowEnd that the centre refuses
	windowEnd  int64       // see suspect
	probeLimit int         // how many records the prober sends at a time
	oldest     int64       // timestamp of the record at position in ms, or of the last one confirmed
	behindAt   time.Time   // since when there has been something to read; zero when there is not

	stored  int64 // position that was stored last, -1 if none was
	total   counts
	counted counts    // what of total the metrics have
	told    counts    // what of total the log has
	toldAt  time.Time // when it had it
}

// counts are what a partition adds up since the forwarder started.
type counts struct {
	sentRecords, sentBytes           int64 // handed to the producer, repeated ones included
	confirmedRecords, confirmedBytes int64
	lost, damaged, refused           int64
}

func (c counts) minus(o counts) counts {
	return counts{
		c.sentRecords - o.sentRecords, c.sentBytes - o.sentBytes,
		c.confirmedRecords - o.confirmedRecords, c.confirmedBytes - o.confirmedBytes,
		c.lost - o.lost, c.damaged - o.damaged, c.refused - o.refused,
	}
}

func newFlow(p Partition, central *centralTopic, position, stored int64) *flow {
	return &flow{id: idOf(p), src: p, central: central, position: position, next: position, stored: stored, oldest: -1}
}

// add puts a chunk that was read at next behind the others. It refuses one that was read for a state that is past.
// Everything in the chunk then counts as handed to the producer; the caller must see to it that done is called for
// each item.
func (f *flow) add(c *chunk, as mode) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mode != as || f.removed {
		return false
	}
	if len(f.chunks) == 0 && len(c.items) > 0 {
		f.oldest = c.items[0].ts
	}
	c.pending = len(c.items)
	f.pending += c.pending
	f.held += c.bytes
	f.next = c.next
	f.chunks = append(f.chunks, c)
	for i := range c.items {
		f.total.sentBytes += int64(len(c.items[i].rec.Key) + len(c.items[i].rec.Value))
	}
	f.total.sentRecords += int64(len(c.items))
	f.advance()
	return true
}

// done takes the answer for one item. freed is the memory that it gave back; drained tells that a failure is to be
// settled now.
func (f *flow) done(c *chunk, i int, err error, now time.Time) (freed int64, drained bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	it := &c.items[i]
	c.pending--
	f.pending--
	before := f.held
	if err == nil {
		it.done = true
		f.total.confirmedRecords++
		f.total.confirmedBytes += int64(len(it.rec.Key) + len(it.rec.Value))
		if f.mode == probing {
			f.mode, f.cause, f.failures = running, nil, 0
		}
		f.advance()
	} else {
		it.err = err
		if f.mode == running || f.mode == probing {
			f.drain(err, now)
		}
	}
	if c.pending == 0 && c.settled != nil {
		close(c.settled)
	}
	return before - f.held, f.mode == draining && f.pending == 0
}

// drain stops reading until nothing is on its way. Called with mu held.
func (f *flow) drain(cause error, now time.Time) {
	f.mode, f.cause, f.failedAt = draining, cause, now
	f.failing.Store(true)
}

// advance moves the position over what is done, and lets go of chunks that are done as a whole. Called with mu held.
func (f *flow) advance() {
	for len(f.chunks) > 0 {
		c := f.chunks[0]
		for c.head < len(c.items) && c.items[c.head].done {
			f.position = c.items[c.head].offset + 1
			f.oldest = c.items[c.head].ts
			c.head++
		}
		if c.head == len(c.items) {
			f.position = c.next
		}
		for len(c.losses) > 0 && c.losses[0].to <= f.position {
			if l := c.losses[0]; l.cause == nil {
				f.total.lost += l.count
			} else {
				f.total.damaged += l.count
				f.damage = l.cause
			}
			c.losses = c.losses[1:]
		}
		if c.head < len(c.items) {
			f.oldest = c.items[c.head].ts
			return
		}
		f.held -= c.bytes
		f.chunks[0] = nil
		f.chunks = f.chunks[1:]
	}
	f.chunks = nil
	f.skip = after(f.skip, f.position)
}

// rewind drops everything that was read beyond the position, remembering what need not be sent again: records that are
// confirmed, unless they overtook a failed record of the same central partition, or one that had not been given a
// partition yet. It returns the memory that is given back, and how many records will be sent again. No item may be
// pending. Called with mu held.
func (f *flow) rewind() (freed, again int64) {
	var confirmed []int64
	failed := map[int32]bool{} // central partitions that have lost a record
	var lostTrack bool
	for _, c := range f.chunks {
		freed += c.bytes
		for i := c.head; i < len(c.items); i++ {
			switch it := &c.items[i]; {
			case !it.done && it.rec.Partition < 0:
				lostTrack = true
			case !it.done:
				failed[it.rec.Partition] = true
			case !lostTrack && !failed[it.rec.Partition]:
				confirmed = append(confirmed, it.offset)
				continue
			}
			again++
		}
	}
	f.skip = union(after(f.skip, f.position), confirmed)
	f.windowEnd = max(f.windowEnd, f.next)
	f.failing.Store(false)
	f.held -= freed
	f.chunks, f.next = nil, f.position
	return freed, again
}

// hold makes the flow wait before it is tried again. Called with mu held.
func (f *flow) hold(cause error, now time.Time, most time.Duration) {
	f.failures++
	f.mode, f.cause = held, cause
	f.retryAt = now.Add(backoff(f.failures, holdBackoff, most))
}

// flowSet is an ordered list of flows that readers may keep while it changes.
type flowSet struct{ list []*flow }

func (s *flowSet) with(f *flow) *flowSet {
	list := append(slices.Clone(s.list), f)
	slices.SortFunc(list, func(a, b *flow) int {
		return cmp.Or(cmp.Compare(a.id.Topic, b.id.Topic), cmp.Compare(a.id.Index, b.id.Index))
	})
	return &flowSet{list}
}

func (s *flowSet) without(f *flow) *flowSet {
	return &flowSet{slices.DeleteFunc(slices.Clone(s.list), func(o *flow) bool { return o == f })}
}
