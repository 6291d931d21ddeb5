package record

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// xxh32 is the XXH32 hash with seed 0, which LZ4 frames use for their header, blocks and content. The zero value is
// not ready: start with newXXH32.
type xxh32 struct {
	v     [4]uint32
	total uint64
	tail  [16]byte // the last total%16 bytes
}

const (
	xxhPrime1 uint32 = 0x9E3779B1
	xxhPrime2 uint32 = 0x85EBCA77
	xxhPrime3 uint32 = 0xC2B2AE3D
	xxhPrime4 uint32 = 0x27D4EB2F
	xxhPrime5 uint32 = 0x165667B1
)

func newXXH32() xxh32 {
	p1, p2 := xxhPrime1, xxhPrime2
	return xxh32{v: [4]uint32{p1 + p2, p2, 0, -p1}}
}

func xxhRound(v, in uint32) uint32 {
	return bits.RotateLeft32(v+in*xxhPrime2, 13) * xxhPrime1
}

func (x *xxh32) write(p []byte) {
	have := int(x.total % 16)
	x.total += uint64(len(p))
	if have > 0 {
		n := copy(x.tail[have:], p)
		if have+n < 16 {
			return
		}
		p = p[n:]
		x.stripes(x.tail[:])
	}
	whole := len(p) &^ 15
	x.stripes(p[:whole])
	copy(x.tail[:], p[whole:])
}

// stripes takes a multiple of 16 bytes.
func (x *xxh32) stripes(p []byte) {
	v0, v1, v2, v3 := x.v[0], x.v[1], x.v[2], x.v[3]
	for len(p) >= 16 {
		v0 = xxhRound(v0, binary.LittleEndian.Uint32(p))
		v1 = xxhRound(v1, binary.LittleEndian.Uint32(p[4:]))
		v2 = xxhRound(v2, binary.LittleEndian.Uint32(p[8:]))
		v3 = xxhRound(v3, binary.LittleEndian.Uint32(p[12:]))
		p = p[16:]
	}
	x.v = [4]uint32{v0, v1, v2, v3}
}

func (x *xxh32) sum() uint32 {
	h := xxhPrime5
	if x.total >= 16 {
		h = bits.RotateLeft32(x.v[0], 1) + bits.RotateLeft32(x.v[1], 7) +
			bits.RotateLeft32(x.v[2], 12) + bits.RotateLeft32(x.v[3], 18)
	}
	h += uint32(x.total & math.MaxUint32)
	p := x.tail[:x.total%16]
	for ; len(p) >= 4; p = p[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(p)*xxhPrime3, 17) * xxhPrime4
	}
	for _, c := range p {
		h = bits.RotateLeft32(h+uint32(c)*xxhPrime5, 11) * xxhPrime1
	}
	h ^= h >> 15
	h *= xxhPrime2
	h ^= h >> 13
	h *= xxhPrime3
	return h ^ h>>16
}

// xxhSum is the hash of p.
func xxhSum(p []byte) uint32 {
	x := newXXH32()
	x.write(p)
	return x.sum()
}
