package store

import (
	"sync/atomic"
	"time"

	"github.com/culvert-mq/culvert/log/record"
)

const (
	// verifiedFor is how long a batch that was found whole is taken to be whole: the forwarder and consumers read the same
	// records one shortly after the other, and summing them up costs as much as sending them. What the device may do to a
	// page in that time, each reader's own check finds.
	verifiedFor = 10 * time.Second
	// verifiedLeast is the size from which on it is worth remembering.
	verifiedLeast = 8 << 10
	verifiedSlots = 1 << 17
)

// verified remembers batches that were found whole a moment ago: a hash of where each is, and when.
type verified struct {
	slots [verifiedSlots]atomic.Uint64 // hash 40, time 24
	start time.Time
}

// clock returns the time in seconds, of which 24 bits are kept.
func (v *verified) clock() uint64 { return uint64(time.Since(v.start)/time.Second) & (1<<24 - 1) } //nolint:gosec // not negative

func verifiedHash(seg *segment, id uint32, offset int64) uint64 {
	h := seg.serial*0x9E3779B97F4A7C15 ^ uint64(id)*0xC2B2AE3D27D4EB4F ^ uint64(offset)*0x165667B19E3779F9 //nolint:gosec // a hash
	h ^= h >> 32
	h *= 0xD6E8FEB86659FD93
	return h ^ h>>29
}

// recently reports whether a batch was found whole a moment ago, as of now.
func (v *verified) recently(seg *segment, id uint32, b record.Batch, now uint64) bool {
	if len(b) < verifiedLeast {
		return false
	}
	h := verifiedHash(seg, id, b.BaseOffset())
	s := v.slots[h%verifiedSlots].Load()
	return s>>24 == h>>24 && now-s&(1<<24-1) < uint64(verifiedFor/time.Second)
}

// note remembers that a batch was found whole.
func (v *verified) note(seg *segment, id uint32, b record.Batch, now uint64) {
	if len(b) >= verifiedLeast {
		h := verifiedHash(seg, id, b.BaseOffset())
		v.slots[h%verifiedSlots].Store(h>>24<<24 | now)
	}
}
