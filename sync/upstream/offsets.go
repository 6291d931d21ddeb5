package upstream

import "slices"

// Sets of offsets are ascending slices: they exist only while a partition recovers from a failure, and are as long as
// the records that were confirmed behind the failed one.

func contains(set []int64, offset int64) bool {
	if len(set) == 0 {
		return false
	}
	_, ok := slices.BinarySearch(set, offset)
	return ok
}

// countBetween counts the offsets that are at least from and below to.
func countBetween(set []int64, from, to int64) int64 {
	i, _ := slices.BinarySearch(set, from)
	j, _ := slices.BinarySearch(set, to)
	return int64(j - i)
}

// after returns the offsets that are at least from. It shares memory with set.
func after(set []int64, from int64) []int64 {
	i, _ := slices.BinarySearch(set, from)
	if i == len(set) {
		return nil
	}
	return set[i:]
}

// union returns the offsets of both.
func union(a, b []int64) []int64 {
	if len(a) == 0 {
		return b
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
