package ledger

import (
	"testing"

	"pgregory.net/rapid"
)

func TestStreamTellsMissingDoubledAndLate(t *testing.T) {
	for name, tc := range map[string]struct {
		arrivals []int64
		expected int64
		want     Tally
	}{
		"whole and in order":        {[]int64{0, 1, 2}, 3, Tally{Expected: 3, Received: 3}},
		"nothing":                   {nil, 2, Tally{Expected: 2, Missing: 2}},
		"the end is missing":        {[]int64{0}, 3, Tally{Expected: 3, Received: 1, Missing: 2}},
		"the start is missing":      {[]int64{1, 2}, 3, Tally{Expected: 3, Received: 2, Missing: 1}},
		"a gap":                     {[]int64{0, 3}, 4, Tally{Expected: 4, Received: 2, Missing: 2}},
		"doubled":                   {[]int64{0, 1, 1, 0}, 2, Tally{Expected: 2, Received: 4, Duplicates: 2}},
		"late":                      {[]int64{0, 2, 1}, 3, Tally{Expected: 3, Received: 3, OutOfOrder: 1}},
		"late and doubled":          {[]int64{0, 2, 1, 1}, 3, Tally{Expected: 3, Received: 4, OutOfOrder: 1, Duplicates: 1}},
		"a gap filled in its midst": {[]int64{5, 2, 0, 4}, 6, Tally{Expected: 6, Received: 4, OutOfOrder: 3, Missing: 2}},
		"more than were sent":       {[]int64{0, 1, 2}, 2, Tally{Expected: 2, Received: 3, Unexpected: 1}},
		"a gap past the end":        {[]int64{0, 9}, 2, Tally{Expected: 2, Received: 2, Missing: 1, Unexpected: 1}},
		"negative numbers":          {[]int64{-1, 0}, 1, Tally{Expected: 1, Received: 1}},
	} {
		var s Stream
		for _, n := range tc.arrivals {
			s.Note(n)
		}
		if got := s.Tally(tc.expected); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestStreamAgreesWithANaiveCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		arrivals := rapid.SliceOf(rapid.Int64Range(0, 40)).Draw(t, "arrivals")
		expected := rapid.Int64Range(0, 40).Draw(t, "expected")
		var s Stream
		want, seen, highest := Tally{Expected: expected, Received: int64(len(arrivals))}, map[int64]bool{}, int64(-1)
		for _, n := range arrivals {
			s.Note(n)
			switch {
			case seen[n]:
				want.Duplicates++
			case n < highest:
				want.OutOfOrder++
			}
			seen[n], highest = true, max(highest, n)
		}
		for n := range expected {
			if !seen[n] {
				want.Missing++
			}
		}
		for n := range seen {
			if n >= expected {
				want.Unexpected++
			}
		}
		if got := s.Tally(expected); got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func TestStreamStaysBoundedUnderEndlessGaps(t *testing.T) {
	var s Stream
	const n = 10 * maxGaps
	for i := range int64(n) {
		s.Note(2*i + 1)
	}
	if len(s.gaps) > maxGaps {
		t.Errorf("%d gaps remembered", len(s.gaps))
	}
	if got := s.Tally(2 * n); got.Missing != n || got.Received != n {
		t.Errorf("%+v", got)
	}
}
