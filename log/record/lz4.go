package record

import (
	"encoding/binary"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame format 1.6.4: a descriptor, blocks behind their lengths, an end mark. Frames are written and read here
// and only their blocks by the library, because a frame of a batch begins and ends in memory: nothing needs to be
// buffered, and nothing is allocated for it. Kafka's Java clients read independent blocks only and know no
// dictionaries, so such frames are refused rather than stored for nobody to read.
const (
	lz4Magic     = 0x184D2204
	lz4HeaderMin = 7

	lz4FlagVersion         = 1 << 6
	lz4FlagVersionMask     = 3 << 6
	lz4FlagIndependent     = 1 << 5
	lz4FlagBlockChecksum   = 1 << 4
	lz4FlagContentSize     = 1 << 3
	lz4FlagContentChecksum = 1 << 2
	lz4FlagReserved        = 1 << 1
	lz4FlagDictionary      = 1 << 0

	lz4Raw = 1 << 31 // in a block's length: stored as it is

	// Our blocks hold 64 KiB, which is the code 4 in the descriptor, of records that are no larger, else 256 KiB (5):
	// that makes large batches about a tenth smaller, as a block knows nothing of those before it. Every reader
	// allocates a block, so they are not larger.
	lz4SmallBlock, lz4SmallCode = 64 << 10, 4
	lz4LargeBlock, lz4LargeCode = 256 << 10, 5
)

// lz4Compressor compresses the blocks. Measured on readings of sensors against the library's other one, what it makes of
// up to 16 KiB of records is up to a tenth smaller at the same speed, it gets through incompressible bytes in a third of
// the time, and it needs 48 KiB instead of 136.
type lz4Compressor = lz4.CompressorCCompat

// lz4Compress writes src as a frame to dst and returns its size, 0 if dst is too small for it.
func lz4Compress(c *lz4Compressor, dst, src []byte) int {
	if len(dst) < lz4HeaderMin {
		return 0
	}
	blockSize, code := lz4SmallBlock, byte(lz4SmallCode)
	if len(src) > lz4SmallBlock {
		blockSize, code = lz4LargeBlock, lz4LargeCode
	}
	binary.LittleEndian.PutUint32(dst, lz4Magic)
	dst[4] = lz4FlagVersion | lz4FlagIndependent
	dst[5] = code << 4
	dst[6] = lz4HeaderSum(dst[4:6])
	p := lz4HeaderMin
	for len(src) > 0 {
		block := src[:min(len(src), blockSize)]
		src = src[len(block):]
		if len(dst)-p < 4+1 {
			return 0
		}
		room := dst[p+4:]
		raw := uint32(0)
		// It returns zero when the block does not fit.
		n, err := c.CompressBlock(block, room)
		if err != nil || n == 0 || n >= len(block) {
			if n = copy(room, block); n < len(block) {
				return 0
			}
			raw = lz4Raw
		}
		binary.LittleEndian.PutUint32(dst[p:], uint32(n)|raw) //nolint:gosec // n is within a block
		p += 4 + n
	}
	if len(dst)-p < 4 {
		return 0
	}
	binary.LittleEndian.PutUint32(dst[p:], 0)
	return p + 4
}

// lz4HeaderSum is the checksum of a frame's descriptor: one byte of its hash.
func lz4HeaderSum(descriptor []byte) byte { return byte(xxhSum(descriptor) >> 8 & 0xff) }

// lz4Frame is the state of reading a frame.
type lz4Frame struct {
	flags     byte
	blockSize int    // the most that a block may hold
	content   uint64 // size that the descriptor promises
	total     uint64 // size so far
	hash      xxh32  // of the content, when the frame ends with its checksum
}

// open reads the descriptor at the beginning of in and returns the bytes after it, or a reason to refuse.
func (z *lz4Frame) open(in []byte) (rest []byte, reason string) {
	if len(in) < lz4HeaderMin {
		return nil, "lz4: frame is cut short"
	}
	if binary.LittleEndian.Uint32(in) != lz4Magic {
		return nil, "lz4: not a frame"
	}
	flags, code := in[4], in[5]>>4
	switch {
	case flags&lz4FlagVersionMask != lz4FlagVersion || flags&lz4FlagReserved != 0 || in[5]&0x8f != 0 || code < 4:
		return nil, "lz4: unknown frame descriptor"
	case flags&lz4FlagIndependent == 0:
		return nil, "lz4: linked blocks, which Java's clients cannot read"
	case flags&lz4FlagDictionary != 0:
		return nil, "lz4: needs a dictionary"
	}
	*z = lz4Frame{flags: flags, blockSize: 1 << (8 + 2*code)}
	end := lz4HeaderMin - 1
	if flags&lz4FlagContentSize != 0 {
		if end += 8; len(in) <= end {
			return nil, "lz4: frame is cut short"
		}
		z.content = binary.LittleEndian.Uint64(in[6:])
	}
	if in[end] != lz4HeaderSum(in[4:end]) {
		return nil, "lz4: wrong checksum of the frame descriptor"
	}
	if flags&lz4FlagContentChecksum != 0 {
		z.hash = newXXH32()
	}
	return in[end+1:], ""
}

// block returns the next block, its checksum verified, or block nil at the end of the frame, its promises verified.
func (z *lz4Frame) block(in []byte) (block []byte, raw bool, rest []byte, reason string) {
	if len(in) < 4 {
		return nil, false, nil, "lz4: frame is cut short"
	}
	size := binary.LittleEndian.Uint32(in)
	in = in[4:]
	if size == 0 {
		return nil, false, nil, z.finish(in)
	}
	raw = size&lz4Raw != 0
	size &^= lz4Raw
	if size == 0 || int64(size) > int64(z.blockSize) {
		return nil, false, nil, "lz4: block is larger than its frame allows"
	}
	n := int(size)
	if len(in) < n {
		return nil, false, nil, "lz4: block is cut short"
	}
	block, in = in[:n], in[n:]
	if z.flags&lz4FlagBlockChecksum != 0 {
		if len(in) < 4 {
			return nil, false, nil, "lz4: block is cut short"
		}
		if binary.LittleEndian.Uint32(in) != xxhSum(block) {
			return nil, false, nil, "lz4: wrong checksum of a block"
		}
		in = in[4:]
	}
	return block, raw, in, ""
}

// decoded takes note of a block's content.
func (z *lz4Frame) decoded(p []byte) {
	z.total += uint64(len(p))
	if z.flags&lz4FlagContentChecksum != 0 {
		z.hash.write(p)
	}
}

func (z *lz4Frame) finish(in []byte) (reason string) {
	if z.flags&lz4FlagContentChecksum != 0 {
		if len(in) < 4 {
			return "lz4: frame is cut short"
		}
		if binary.LittleEndian.Uint32(in) != z.hash.sum() {
			return "lz4: wrong checksum of the content"
		}
		in = in[4:]
	}
	if z.flags&lz4FlagContentSize != 0 && z.content != z.total {
		return "lz4: content is not as large as its frame says"
	}
	if len(in) > 0 {
		return "lz4: bytes after the frame"
	}
	return ""
}

// lz4BlockLen is the size of a block's content, found by walking its sequences, or -1 when they are malformed in a way
// that the walk can see. The content of a block may be 255 times its size: the walk saves allocating for what
// could be.
func lz4BlockLen(block []byte) int {
	var n int64
	for p := 0; p < len(block); {
		token := block[p]
		p++
		length := int64(token >> 4)
		if length == 15 {
			for {
				if p >= len(block) {
					return -1
				}
				c := block[p]
				p++
				length += int64(c)
				if c != 255 {
					break
				}
			}
		}
		if length > int64(len(block)-p) {
			return -1
		}
		n += length
		p += int(length)
		if p == len(block) {
			return int(min(n, 1<<30))
		}
		if p += 2; p > len(block) { // the match's offset
			return -1
		}
		length = int64(token&15) + 4
		if length == 15+4 {
			for {
				if p >= len(block) {
					return -1
				}
				c := block[p]
				p++
				length += int64(c)
				if c != 255 {
					break
				}
			}
		}
		n += length
	}
	return -1
}
