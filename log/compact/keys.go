package compact

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

const (
	// slotBytes is what an entry of keys takes.
	slotBytes = 24
	// loadPercent is how full the table may get before it takes no new key. Beyond, looking up would take too long.
	loadPercent = 75
)

// keys maps (partition, key) to the offset of the latest record, in memory that is taken once: open addressing with
// linear probing over slots of 24 bytes. Keys are known by 128 bits of hash under two seeds that are new for every map, so
// that nobody outside can make keys collide; by chance, two of a million do once in 10^26 maps.
type keys struct {
	seeds   [2]maphash.Seed
	slots   []slot
	count   int
	most    int
	scratch []byte
}

type slot struct {
	a, b uint64
	next int64 // offset + 1; 0 is a free slot
}

// newKeys makes a map of at most memory bytes, and room for one key at least.
func newKeys(memory int64) *keys {
	n := max(memory/slotBytes, 2)
	return &keys{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		slots: make([]slot, n),
		most:  int(max(n*loadPercent/100, 1)),
	}
}

// find returns the key's slot, or the free one where it would go.
func (k *keys) find(partition uint32, key []byte) (s *slot, a, b uint64) {
	k.scratch = append(binary.BigEndian.AppendUint32(k.scratch[:0], partition), key...)
	a, b = maphash.Bytes(k.seeds[0], k.scratch), maphash.Bytes(k.seeds[1], k.scratch)
	i, _ := bits.Mul64(a, uint64(len(k.slots))) // a, as a fraction of its range, of the number of slots
	for {
		s = &k.slots[i]
		if s.next == 0 || s.a == a && s.b == b {
			return s, a, b
		}
		if i++; i == uint64(len(k.slots)) {
			i = 0
		}
	}
}

// put notes that the partition's record at offset has the key. Offsets of a key may come in any order, the largest counts.
// It returns false when there is no room for another key.
func (k *keys) put(partition uint32, key []byte, offset int64) bool {
	s, a, b := k.find(partition, key)
	if s.next == 0 {
		if k.count >= k.most {
			return false
		}
		k.count++
		s.a, s.b = a, b
	}
	s.next = max(s.next, offset+1)
	return true
}

// latest returns the largest offset that was put for the key, -1 if none was.
func (k *keys) latest(partition uint32, key []byte) int64 {
	s, _, _ := k.find(partition, key)
	return s.next - 1
}
