package replica

import (
	"github.com/culvert-mq/culvert/sync/meta"
)

// shelf is a sealed segment as the planning of what gives way sees it.
type shelf struct {
	number  uint64
	bytes   int64 // of the file
	batches int64 // bytes of the batches in it, those of deleted partitions, which are no run of it any more, included
	runs    []run
}

// run is what a shelf has of one partition: offsets base to next, of so many bytes of batches.
type run struct {
	id         uint32
	base, next int64
	bytes      int64
}

// tenant is a partition as the planning sees it. One that is not known keeps what it has.
type tenant struct {
	start    int64
	priority int32
	deletes  bool // it may lose records
}

// need is how much space is to be made, in bytes.
type need struct {
	room int64 // what ordinary records must make: it has some to spare
	hard int64 // what alarms must make: without it a limit is exceeded
	copy int64 // what a rewritten segment may take while the old one is there, too
}

// plan is what gives way.
type plan struct {
	starts  map[uint32]int64 // new start offsets, by partition
	rewrite []uint64         // segments to be written anew without what is dead in them, in this order
	frees   int64            // bytes, estimated
}

const (
	// rewriteShare is the share of dead bytes, one in so many, from which a segment is worth rewriting to make room for
	// or out of ordinary records: no more than so many bytes are written for one that is freed.
	rewriteShare = 16
	// rewriteShareAlarms is the same before alarms have to go.
	rewriteShareAlarms = 64
)

// planRoom decides what gives way so that there is room: first what is dead already, then whole runs of the topics that
// may lose records, by priority, lowest first, and within a priority oldest first. Alarms are last, and give way only to a
// limit that is exceeded.
//
// The shelves come oldest first. The plan frees what it can where that is not enough.
func planRoom(shelves []shelf, tenants map[uint32]tenant, n need) plan {
	p := plan{starts: make(map[uint32]int64)}
	start := func(id uint32) int64 {
		if s, ok := p.starts[id]; ok {
			return s
		}
		return tenants[id].start
	}
	share := int64(rewriteShare)
	freed := make([]int64, len(shelves))
	count := func(i int) {
		p.frees -= freed[i]
		freed[i] = shelves[i].frees(start, share, n.copy)
		p.frees += freed[i]
	}
	for i := range shelves {
		count(i)
	}
	var giving [meta.MaxPriority + 1]bool
	for _, t := range tenants {
		giving[t.priority] = giving[t.priority] || t.deletes
	}
	wanted := n.room
	for priority := int32(0); priority <= meta.MaxPriority && p.frees < wanted; priority++ {
		if priority == meta.AlarmPriority {
			share, wanted = rewriteShareAlarms, min(n.room, n.hard)
			for i := range shelves {
				count(i)
			}
		}
		for i := 0; i < len(shelves) && giving[priority] && p.frees < wanted; i++ {
			moved := false
			for _, r := range shelves[i].runs {
				if t, ok := tenants[r.id]; ok && t.deletes && t.priority == priority && start(r.id) < r.next {
					p.starts[r.id] = r.next
					moved = true
				}
			}
			if moved {
				count(i)
			}
		}
	}
	for i := range shelves {
		if freed[i] > 0 && shelves[i].live(start) > 0 {
			p.rewrite = append(p.rewrite, shelves[i].number)
		}
	}
	return p
}

// live returns how many bytes of batches in the shelf are not before their partition's start. A run that is in part counts
// by offsets.
func (s *shelf) live(start func(id uint32) int64) (n int64) {
	for _, r := range s.runs {
		switch at := start(r.id); {
		case at <= r.base:
			n += r.bytes
		case at < r.next:
			n += max(1, int64(float64(r.bytes)*(float64(r.next-at)/float64(r.next-r.base))))
		}
	}
	return n
}

// frees estimates how many bytes of the file come free: all of it where nothing is left, and the dead share where that is
// worth, and possible, rewriting.
func (s *shelf) frees(start func(id uint32) int64, share, copyRoom int64) int64 {
	live := s.live(start)
	if live == 0 {
		return s.bytes
	}
	dead := s.batches - live
	part := int64(float64(s.bytes) * (float64(dead) / float64(s.batches)))
	if dead < s.batches/share || part <= 0 || s.bytes-part > copyRoom {
		return 0
	}
	return part
}
