package compact

import (
	"math"
	"time"

	"github.com/culvert-mq/culvert/log/store"
)

// Partition is a compacted partition as the caller knows it when a pass begins.
type Partition struct {
	ID      uint32 // the store's
	Topic   string // for the log
	Index   int32
	Start   int64 // first offset that is in force
	Cleaned int64 // offset behind what has been compacted
	Stable  int64 // offset of the first record that may still be truncated or belongs to an open transaction

	Aborted   []store.Aborted    // aborted transactions that have records in the log
	Producers map[int64]Producer // whose last batch must stay, by id

	MinDirtyRatio   float64       // min.cleanable.dirty.ratio
	MinLag          time.Duration // min.compaction.lag.ms
	MaxLag          time.Duration // max.compaction.lag.ms
	DeleteRetention time.Duration // delete.retention.ms
}

// Producer is what a partition remembers of an idempotent producer. Its last batch stays, emptied at the most, so that
// who reads the log knows what the leader does.
type Producer struct {
	Epoch int16
	Last  int64 // offset of the last record; -1 where there is only a marker
}

// Milliseconds turns a time of a topic's configuration into a Duration; what is too long for one is the longest.
func Milliseconds(ms int64) time.Duration {
	if ms > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}

// part is a partition in one pass.
type part struct {
	Partition
	runs []run // in sealed segments, oldest first

	bound  int64 // nothing at or past it is touched
	forced bool  // it may wait no longer, or the map had no room for all of it
	chosen bool

	end   int64 // the map knows all keys from Cleaned to here
	stuck bool  // a batch at end cannot be read
	clear bool  // no segment before the one looked at has anything of it that waits to be removed
	left  int64 // Cleaned may not pass this

	txns transactions
}

// run is what a part has in one segment.
type run struct {
	store.Run
	created time.Time // of the segment
}

// dirt is how much of a partition has not been compacted.
type dirt struct {
	dirty, all int64         // bytes of batches before the bound; dirty from the given offset on
	waiting    time.Duration // since when the oldest of the dirty ones may have been there
}

// ratio is the dirty share, 0 to 1.
func (d dirt) ratio() float64 {
	if d.all <= 0 {
		return 0
	}
	return float64(d.dirty) / float64(d.all)
}

// limit sets bound: the first offset that must not be touched, because it is not stable, or because it is younger than
// the lag. Whole runs are younger than the lag, by their newest record; while the time is not known all are.
func (p *part) limit(now time.Time, timed bool) {
	p.bound = 0
	for _, r := range p.runs {
		young := p.MinLag > 0 && r.Next > p.Cleaned && (!timed || r.MaxTime > now.UnixMilli()-p.MinLag.Milliseconds())
		if r.Base >= p.Stable || young {
			return
		}
		p.bound = min(r.Next, p.Stable)
	}
}

// dirt looks at what lies between offset from and the bound.
func (p *part) dirt(from int64, now time.Time) dirt {
	var d dirt
	for _, r := range p.runs {
		if r.Base >= p.bound {
			break
		}
		d.all += r.Bytes
		if r.Next <= from {
			continue
		}
		part := min(r.Next, p.bound) - max(r.Base, from)
		d.dirty += int64(float64(r.Bytes) * (float64(part) / float64(max(r.Next-r.Base, 1))))
		if d.waiting == 0 {
			d.waiting = max(now.Sub(r.created), 1)
		}
	}
	return d
}
