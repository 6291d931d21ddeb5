package logtool

import (
	"cmp"
	"slices"

	"github.com/culvert-mq/culvert/log/store"
)

// span is a range of offsets, to exclusive.
type span struct{ from, to int64 }

// spans are ranges of offsets by partition id.
type spans map[uint32][]span

func (s spans) add(id uint32, from, to int64) {
	if from < to {
		s[id] = append(s[id], span{from, to})
	}
}

// join adds a range, to the one before it where that ends there.
func (s spans) join(id uint32, from, to int64) {
	if n := len(s[id]); n > 0 && s[id][n-1].to == from {
		s[id][n-1].to = to
		return
	}
	s.add(id, from, to)
}

// restrict leaves what is in force of partitions that are there, and is in none of their holes, which are counted already.
func (s spans) restrict(final *store.State) {
	for id := range s {
		p := final.Partitions[id]
		if p == nil {
			delete(s, id)
			continue
		}
		left := subtract(merge(s[id]), span{0, p.Start})
		for _, h := range p.Holes {
			left = subtract(left, span{h.From, h.To})
		}
		if s[id] = left; len(left) == 0 {
			delete(s, id)
		}
	}
}

// ranges returns all, merged, by topic, partition and offset.
func (s spans) ranges(n names) []Range {
	all := []Range{}
	for id, list := range s {
		for _, one := range merge(list) {
			all = append(all, Range{n.place(id), one.from, one.to})
		}
	}
	slices.SortFunc(all, func(a, b Range) int { return cmp.Or(comparePlaces(a.Place, b.Place), cmp.Compare(a.From, b.From)) })
	return all
}

// merge returns ranges in order, those that touch as one.
func merge(all []span) []span {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	var out []span
	for _, one := range all {
		if n := len(out); n > 0 && one.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, one.to)
			continue
		}
		out = append(out, one)
	}
	return out
}

// subtract takes one range out of others.
func subtract(all []span, out span) []span {
	var left []span
	for _, s := range all {
		if out.to <= s.from || out.from >= s.to {
			left = append(left, s)
			continue
		}
		left = append(left, span{s.from, out.from}, span{out.to, s.to})
	}
	return slices.DeleteFunc(left, func(s span) bool { return s.from >= s.to })
}
