package upstream

import "sync/atomic"

// budget is the memory for records that are on their way. Takers may overdraw it by what they were about to take when
// they learnt the size; then nobody is granted anything until it is paid back.
type budget struct {
	total int64
	used  atomic.Int64
}

const (
	maxGrant = 128 << 10
	minGrant = 4 << 10
)

// grant is how many bytes a partition may take that holds so many already, 0 for none: it may come to hold a quarter of
// what is then free. One that does not move ends up with a fifth of the budget, the next with a fifth of the rest, so
// that there is always something left for those that do move.
func (b *budget) grant(held int64) int64 {
	free := b.total - b.used.Load()
	n := min((free-4*held)/5, maxGrant)
	if n < minGrant {
		return 0
	}
	return n
}

func (b *budget) take(n int64) { b.used.Add(n) }
func (b *budget) give(n int64) { b.used.Add(-n) }
