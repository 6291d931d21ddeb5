package record

import (
	"math"
	"math/bits"
)

// Signed numbers inside of records are zigzag varints (the encoding of protobuf's sint32 and sint64).

func zigzag(x int64) uint64 { return uint64(x<<1) ^ uint64(x>>63) } //nolint:gosec // the bits are meant

// lengthCode is zigzag for what is not negative: sizes and counts.
func lengthCode(n int) uint64 { return uint64(n) << 1 } //nolint:gosec // n >= 0

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// uvarintSize is the number of bytes of u as a varint: a byte for every seven bits, at least one.
func uvarintSize(u uint64) int { return (9*bits.Len64(u) + 64) >> 6 }

// putUvarint writes u at buf[p] and returns the position after it.
func putUvarint(buf []byte, p int, u uint64) int {
	for u >= 0x80 {
		buf[p] = byte(u) | 0x80
		u >>= 7
		p++
	}
	buf[p] = byte(u)
	return p + 1
}

// varint32 reads a signed number of at most 32 bits at b[p] and returns it and the position after it, which is 0 when
// there is none: b ends, the number has more than five bytes, or more than 32 bits.
func varint32(b []byte, p int) (int32, int) {
	if uint(p) < uint(len(b)) {
		u := uint32(b[p])
		p++
		if u < 0x80 {
			return int32(u>>1) ^ -int32(u&1), p
		}
		if uint(p) < uint(len(b)) && b[p] < 0x80 {
			u = u&0x7f | uint32(b[p])<<7
			return int32(u>>1) ^ -int32(u&1), p + 1
		}
		return varint32Slow(b, p-1)
	}
	return 0, 0
}

//go:noinline
func varint32Slow(b []byte, p int) (int32, int) {
	var u uint64 // of 35 bits at most
	for shift := 0; shift < 35; shift += 7 {
		if uint(p) >= uint(len(b)) {
			return 0, 0
		}
		c := b[p]
		p++
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if n := unzigzag(u); math.MinInt32 <= n && n <= math.MaxInt32 {
				return int32(n), p
			}
			return 0, 0
		}
	}
	return 0, 0
}

// varint64 is varint32 for 64 bits and at most ten bytes.
func varint64(b []byte, p int) (int64, int) {
	if uint(p) < uint(len(b)) && b[p] < 0x80 {
		return unzigzag(uint64(b[p])), p + 1
	}
	return varint64Slow(b, p)
}

//go:noinline
func varint64Slow(b []byte, p int) (int64, int) {
	var u uint64
	for shift := 0; shift < 70; shift += 7 {
		if uint(p) >= uint(len(b)) {
			return 0, 0
		}
		c := b[p]
		p++
		if shift == 63 && c > 1 {
			return 0, 0
		}
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return unzigzag(u), p
		}
	}
	return 0, 0
}
