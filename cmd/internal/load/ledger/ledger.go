package ledger

import "slices"

// maxGaps bounds what a stream remembers of its gaps. Past it the oldest gap counts as lost for good: a message of it that
// still comes is then a duplicate.
const maxGaps = 1024

// Stream accounts for one sequence 0, 1, 2, ... that should arrive whole and in order. The zero value waits for 0.
type Stream struct {
	next       int64 // one past the highest number seen
	received   int64
	duplicates int64
	late       int64
	forgotten  int64 // numbers in gaps that were dropped from gaps
	gaps       []gap // ascending
}

type gap struct{ from, to int64 } // to is exclusive

// Note takes the arrival of number n. Negative numbers are ignored.
func (s *Stream) Note(n int64) {
	switch {
	case n < 0:
		return
	case n == s.next:
		s.next++
	case n > s.next:
		if len(s.gaps) == maxGaps {
			s.forgotten += s.gaps[0].to - s.gaps[0].from
			s.gaps = slices.Delete(s.gaps, 0, 1)
		}
		s.gaps = append(s.gaps, gap{s.next, n})
		s.next = n + 1
	case s.fill(n):
		s.late++
	default:
		s.duplicates++
	}
	s.received++
}

// fill takes n out of the gap it lies in.
func (s *Stream) fill(n int64) bool {
	i, found := slices.BinarySearchFunc(s.gaps, n, func(g gap, n int64) int {
		switch {
		case n < g.from:
			return 1
		case n >= g.to:
			return -1
		}
		return 0
	})
	if !found {
		return false
	}
	g := s.gaps[i]
	switch {
	case g.to-g.from == 1:
		s.gaps = slices.Delete(s.gaps, i, i+1)
	case n == g.from:
		s.gaps[i].from++
	case n == g.to-1:
		s.gaps[i].to--
	default:
		s.gaps[i].to = n
		s.gaps = slices.Insert(s.gaps, i+1, gap{n + 1, g.to})
	}
	return true
}

// Next is one past the highest number seen.
func (s *Stream) Next() int64 { return s.next }

// Tally is what a stream or several streams come to.
type Tally struct {
	Expected   int64 `json:"expected"`     // messages that should be there
	Received   int64 `json:"received"`     // arrivals, duplicates included
	Missing    int64 `json:"missing"`      // never arrived
	Duplicates int64 `json:"duplicates"`   // arrived again
	OutOfOrder int64 `json:"out_of_order"` // arrived after a higher number
	Unexpected int64 `json:"unexpected"`   // numbers at or past the expected end
}

// Tally closes the account of a stream of which the numbers below expected were sent.
func (s *Stream) Tally(expected int64) Tally {
	t := Tally{Expected: expected, Received: s.received, Duplicates: s.duplicates, OutOfOrder: s.late,
		Missing: s.forgotten, Unexpected: max(s.next-expected, 0)}
	for _, g := range s.gaps {
		t.Missing += g.to - g.from
		// What is missing past the end is neither missing nor there.
		if over := g.to - max(g.from, expected); over > 0 {
			t.Missing -= over
			t.Unexpected -= over
		}
	}
	t.Missing += max(expected-s.next, 0)
	return t
}

// Add adds another stream's tally.
func (t *Tally) Add(o Tally) {
	t.Expected += o.Expected
	t.Received += o.Received
	t.Missing += o.Missing
	t.Duplicates += o.Duplicates
	t.OutOfOrder += o.OutOfOrder
	t.Unexpected += o.Unexpected
}

// Exact reports whether everything arrived once and in order.
func (t Tally) Exact() bool {
	return t.Missing == 0 && t.Duplicates == 0 && t.OutOfOrder == 0 && t.Unexpected == 0
}
