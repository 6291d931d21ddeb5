package compact

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestKeysAnswerAsAMapDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		memory := rapid.Int64Range(0, 2000).Draw(t, "memory")
		k := newKeys(memory)
		if int64(len(k.slots)*slotBytes) > max(memory, 2*slotBytes) {
			t.Fatalf("%d slots in %d bytes", len(k.slots), memory)
		}
		type id struct {
			partition uint32
			key       string
		}
		want := make(map[id]int64)
		for range rapid.IntRange(0, 300).Draw(t, "puts") {
			at := id{rapid.Uint32Range(0, 2).Draw(t, "partition"), fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "key"))}
			offset := rapid.Int64Range(0, 1000).Draw(t, "offset")
			have, known := want[at]
			ok := k.put(at.partition, []byte(at.key), offset)
			if !ok && (known || len(want) < k.most) {
				t.Fatalf("refused with %d keys of %d, known %v", len(want), k.most, known)
			}
			if ok {
				want[at] = offset
				if known {
					want[at] = max(have, offset)
				}
			}
		}
		for p := range uint32(3) {
			for key := range 61 {
				w, ok := want[id{p, fmt.Sprint(key)}]
				if !ok {
					w = -1
				}
				if got := k.latest(p, fmt.Append(nil, key)); got != w {
					t.Fatalf("partition %d key %d: %d, want %d", p, key, got, w)
				}
			}
		}
		if k.count != len(want) {
			t.Fatalf("%d keys, want %d", k.count, len(want))
		}
	})
}

func TestPartitionAndKeyAreNotMixedUp(t *testing.T) {
	k := newKeys(1 << 10)
	k.put(1, []byte{0, 0, 0, 2}, 7)
	for _, c := range []struct {
		partition uint32
		key       []byte
	}{{2, []byte{0, 0, 0, 1}}, {1, nil}, {1, []byte{}}, {0, []byte{0, 0, 0, 1, 0, 0, 0, 2}}} {
		if got := k.latest(c.partition, c.key); got != -1 {
			t.Errorf("partition %d, key %x: %d", c.partition, c.key, got)
		}
	}
}

func BenchmarkKeys(b *testing.B) {
	k := newKeys(4 << 20)
	var key [20]byte
	for i := 0; b.Loop(); i++ {
		binary.BigEndian.PutUint32(key[:], uint32(i%100_000))
		k.put(3, key[:], int64(i))
	}
}
