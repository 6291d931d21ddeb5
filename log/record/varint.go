package record

import "math/bits"

// Signed numbers inside of records are zigzag varints (the encoding of protobuf's sint32 and sint64).

func zigzag(x int64) uint64 { return uint64(x<<1) ^ uint64(x>>63) }

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// uvarintSize is the number of bytes of u as a varint: a byte for every seven bits, at least one.
func uvarintSize(u uint64) int { return int(9*uint32(bits.Len64(u))+64) / 64 }

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
