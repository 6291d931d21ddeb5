package config

import (
	"slices"
	"strings"
)

// nearest returns the candidates that name was probably meant to be, best first; none when nothing is near.
func nearest(name string, candidates []string) []string {
	wanted := plain(name)
	limit := max(1, min(3, len(wanted)/3))
	best := limit + 1
	var found []string
	for _, c := range candidates {
		d := distance(wanted, plain(c), limit)
		if d < best {
			best, found = d, found[:0]
		}
		if d == best && d <= limit {
			found = append(found, c)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// plain takes away the differences that are no typing errors: case, and dashes for underscores.
func plain(s string) string {
	if len(s) > maxNameLength {
		s = s[:maxNameLength]
	}
	return strings.ReplaceAll(strings.ToLower(s), "-", "_")
}

// distance counts the insertions, deletions, replacements and swaps of neighbours between a and b, or returns more
// than limit as soon as it is clear that there are more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	var before, last, row []int
	last = make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row = make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// didYouMean turns candidates into a hint.
func didYouMean(candidates []string) string {
	switch len(candidates) {
	case 0:
		return ""
	case 1:
		return "did you mean " + candidates[0] + "?"
	}
	const most = 4
	candidates = candidates[:min(len(candidates), most)]
	last := len(candidates) - 1
	return "did you mean " + strings.Join(candidates[:last], ", ") + " or " + candidates[last] + "?"
}
