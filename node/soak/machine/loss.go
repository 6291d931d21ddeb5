package machine

import (
	"fmt"
	"math/rand/v2"
)

// A Loss tells what a cut did to the writes that were in the disk's cache.
type Loss struct {
	Kind    string
	Flushes int64 // since the disk was opened
	Writes  int   // that were not flushed
	Bytes   int64 // of those
	Dropped int   // of which nothing is left
	Torn    int   // of which some sectors are left
}

func (l Loss) String() string {
	return fmt.Sprintf("%s: of %d unflushed writes (%d bytes) %d dropped, %d torn", l.Kind, l.Writes, l.Bytes, l.Dropped, l.Torn)
}

// The superblock of ext4 lies in two sectors, is written outside its journal, and has one checksum: a disk that tears
// it asks for fsck, whatever runs on it. It is kept or dropped as a whole; everything else can be torn.
const (
	superblockAt    = 1024
	superblockBytes = 1024
)

// fates decides for each write which of its sectors are kept.
func fates(rnd *rand.Rand, cache []write, loss *Loss) [][]bool {
	all := make([][]bool, len(cache))
	var decide func(i int) fate
	way := 0
	if rnd != nil {
		way = rnd.IntN(5)
	}
	switch way {
	case 0:
		loss.Kind = "all"
		decide = func(int) fate { return dropped }
	case 1:
		// As far as the disk had come, in order.
		loss.Kind = "end"
		upTo := rnd.IntN(len(cache) + 1)
		decide = func(i int) fate {
			switch {
			case i < upTo:
				return kept
			case i == upTo:
				return torn
			}
			return dropped
		}
	case 2:
		loss.Kind = "one"
		gone := rnd.IntN(len(cache) + 1)
		decide = func(i int) fate {
			if i == gone {
				return dropped
			}
			return kept
		}
	case 3:
		loss.Kind = "torn"
		decide = func(int) fate { return fate(rnd.IntN(3)) }
	default:
		share := []float64{0.1, 0.5, 0.9}[rnd.IntN(3)]
		loss.Kind = fmt.Sprintf("%.0f%%", 100*(1-share))
		decide = func(int) fate {
			if rnd.Float64() < share {
				return kept
			}
			return dropped
		}
	}
	for i, w := range cache {
		f := decide(i)
		if w.safe {
			f = kept
		}
		sectors := make([]bool, len(w.data)/Sector)
		if f == torn {
			tear(rnd, w, sectors)
		}
		for s := range sectors {
			sectors[s] = sectors[s] || f == kept
		}
		all[i] = sectors
		loss.count(sectors)
	}
	return all
}

type fate int

const (
	dropped fate = iota
	kept
	torn
)

// tear keeps some sectors of a write: those up to one, those from one on, or any.
func tear(rnd *rand.Rand, w write, sectors []bool) {
	at, way := rnd.IntN(len(sectors)+1), rnd.IntN(3)
	for s := range sectors {
		switch way {
		case 0:
			sectors[s] = s < at
		case 1:
			sectors[s] = s >= at
		default:
			sectors[s] = rnd.IntN(2) == 0
		}
	}
	whole := rnd.IntN(2) == 0
	for s := range sectors {
		if at := w.at + int64(s)*Sector; at >= superblockAt && at < superblockAt+superblockBytes {
			sectors[s] = whole
		}
	}
}

func (l *Loss) count(sectors []bool) {
	there := 0
	for _, k := range sectors {
		if k {
			there++
		}
	}
	switch there {
	case len(sectors):
	case 0:
		l.Dropped++
	default:
		l.Torn++
	}
}
