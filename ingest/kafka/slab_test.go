package kafka

import "testing"

func TestSlabsAreOfTheSizeAskedForAndHardlyLarger(t *testing.T) {
	var p slabPool
	for _, n := range []int{1, slabLeast - 1, slabLeast, slabLeast + 1, 65_536, 65_537, 70_000, 100_000, 131_072, 1_000_000, slabMost, slabMost + 1} {
		b := p.get(n)
		if len(b) != n || cap(b) > n+n/7 && n >= slabLeast {
			t.Errorf("%d bytes: length %d, capacity %d", n, len(b), cap(b))
		}
		p.put(b)
		if c := p.get(n); len(c) != n {
			t.Errorf("%d bytes: length %d the second time", n, len(c))
		}
	}
	for n := slabLeast; n <= slabMost; n += 997 {
		if _, size := slabSize(n); size < n || size-n > n/7 {
			t.Fatalf("%d bytes in a slab of %d", n, size)
		}
	}
}

func TestMemoryOfBulkRecordsIsLentAgainOnlyWhenTheLogHasLetGo(t *testing.T) {
	for _, direct := range []bool{false, true} {
		var p slabPool
		b := p.get(1 << 20)
		b[0] = 7
		commit := directCommit(direct)
		lendAgain(&p, commit, b)
		again := p.get(1 << 20)
		if same := &again[0] == &b[0]; same && !direct {
			t.Error("memory that the log keeps was lent again")
		}
	}
}

type directCommit bool

func (c directCommit) Done() <-chan struct{} { return alreadyDone }
func (c directCommit) Err() error            { return nil }
func (c directCommit) Direct() bool          { return bool(c) }
