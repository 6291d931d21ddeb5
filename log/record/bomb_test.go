package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"
)

// What is small on the wire must not become large in memory: not beyond the limit, and not by claims alone.
func TestBombsAreRefusedWithinTheLimit(t *testing.T) {
	const limit = 1 << 20
	huge := make([]byte, 16<<20) // zeros: every record is empty
	copy(huge, binary.AppendVarint(nil, int64(len(huge)-5)))
	claim := func(prefix ...byte) []byte { return append(prefix, make([]byte, 100)...) }
	frame := func(flags, code byte, rest ...byte) []byte {
		f := []byte{4, 0x22, 0x4D, 0x18, flags, code << 4}
		f = append(f, byte(xxhSum(f[4:6])>>8))
		return append(f, rest...)
	}
	bombs := []struct {
		name    string
		codec   Codec
		payload []byte
		want    error
	}{
		{"gzip", Gzip, gzipPack(huge), ErrTooLarge},
		{"snappy", Snappy, snappy.Encode(nil, huge), ErrTooLarge},
		{"snappy, xerial", Snappy, xerialPack(8 << 20)(huge), ErrTooLarge},
		{"snappy that claims 2 GiB", Snappy, claim(0xff, 0xff, 0xff, 0xff, 7), ErrInvalid},
		{"snappy that claims more than 32 bits", Snappy, claim(0xff, 0xff, 0xff, 0xff, 0xff, 7), ErrInvalid},
		{"xerial chunk that claims 4 GiB", Snappy, append(bytes.Clone(xerialPack(1)(nil)), 0xff, 0xff, 0xff, 0xff, 1), ErrInvalid},
		{"lz4, 4 MiB blocks", LZ4, lz4Pack()(huge), ErrTooLarge},
		{"lz4 block that claims 2 GiB", LZ4, frame(0x60, 7, 0xff, 0xff, 0xff, 0x7f, 1), ErrInvalid},
		{"lz4 block of one endless match", LZ4, lz4Endless(frame(0x60, 7), 6_000), ErrTooLarge},
		{"lz4 block of a match beyond its block size", LZ4, lz4Endless(frame(0x60, 7), 60_000), ErrInvalid},
		{"lz4 small block of one endless match", LZ4, lz4Endless(frame(0x60, 4), 6_000), ErrInvalid},
		{"zstd", Zstd, zstdPack(true)(huge), ErrTooLarge},
		{"zstd with content size", Zstd, zstdPack(false)(huge), ErrTooLarge},
		{"zstd with a window of 16 MiB", Zstd, zstdPack(true, zstd.WithWindowSize(16<<20))(huge), ErrInvalid},
		{"zstd that claims 2^62 bytes", Zstd, []byte{0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0}, ErrInvalid},
	}
	for _, c := range bombs {
		t.Run(c.name, func(t *testing.T) {
			b := clientBatch(readings(10), c.codec, c.payload)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := b.Check(limit)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, c.want) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("Check: %v, want %v", err, c.want)
			}
			// The limit, the growing towards it, and the state of a decompressor with its window.
			if got := after.TotalAlloc - before.TotalAlloc; got > 4*limit+10<<20 {
				t.Errorf("%d bytes allocated", got)
			}
			if got := drain(b); got != -1 {
				t.Errorf("Reader finds %d records", got)
			}
		})
	}
}

// lz4Endless adds a block to the frame that is one match of n times 255 bytes.
func lz4Endless(frame []byte, n int) []byte {
	block := append([]byte{0x1f, 'x', 1, 0}, bytes.Repeat([]byte{255}, n)...)
	block = append(block, 0, 0x50, 'a', 'b', 'c', 'd', 'e')
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(block)))
	return binary.LittleEndian.AppendUint32(append(frame, block...), 0)
}

func TestHostileLZ4FramesAreRefused(t *testing.T) {
	records := readings(50)
	raw := naive(records)
	dst := make([]byte, 2*len(raw))
	good := dst[:lz4Compress(new(lz4Compressor), dst, raw)]
	edit := func(f func(b []byte) []byte) []byte {
		b := f(bytes.Clone(good))
		b[6] = byte(xxhSum(b[4:6]) >> 8)
		return b
	}
	flags := func(v byte) []byte { return edit(func(b []byte) []byte { b[4] = v; return b }) }
	withSize := func(size uint64) []byte { // a frame that tells the size of its content
		b := append(bytes.Clone(good[:4]), 0x68, good[5])
		b = binary.LittleEndian.AppendUint64(b, size)
		b = append(b, byte(xxhSum(b[4:])>>8))
		return append(b, good[7:]...)
	}
	cases := []struct {
		name string
		in   []byte
	}{
		{"wrong magic", append([]byte{5}, good[1:]...)},
		{"skippable frame", append([]byte{0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0}, good...)},
		{"version 0", flags(0x20)},
		{"version 2", flags(0xA0)},
		{"linked blocks", flags(0x40)},
		{"dictionary", flags(0x61)},
		{"reserved flag", flags(0x62)},
		{"reserved bit of the descriptor", edit(func(b []byte) []byte { b[5] |= 1; return b })},
		{"high bit of the descriptor", edit(func(b []byte) []byte { b[5] |= 0x80; return b })},
		{"block size code 3", edit(func(b []byte) []byte { b[5] = 0x30; return b })},
		{"wrong header checksum", func() []byte { b := bytes.Clone(good); b[6]++; return b }()},
		{"checksums that are missing", flags(0x74)},
		{"empty raw block", append(bytes.Clone(good[:7]), 0, 0, 0, 0x80)},
		{"wrong content size", withSize(uint64(len(raw)) + 1)},
		{"bytes after the frame", append(bytes.Clone(good), 0)},
		{"second frame", append(bytes.Clone(good), good...)},
	}
	for _, c := range cases {
		b := clientBatch(records, LZ4, c.in)
		if err := b.Check(testLimit); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := drain(b); got != -1 {
			t.Errorf("%s: Reader finds %d records", c.name, got)
		}
	}
	for name, in := range map[string][]byte{"as written": good, "with content size": withSize(uint64(len(raw)))} {
		if err := clientBatch(records, LZ4, in).Check(testLimit); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManyClaimedRecordsCostNothing(t *testing.T) {
	b := clientBatch([]model{{}}, None, framed(body("\x00", 0, 0, -1, -1, math.MaxInt32, 0, -1)))
	var r Reader
	if allocs := testing.AllocsPerRun(10, func() {
		_ = r.Reset(b, testLimit)
		if r.Next() {
			t.Fatal("a record")
		}
	}); allocs > 2 { // the error
		t.Fatalf("%v allocations", allocs)
	}
	if cap(r.rec.Headers) > 0 {
		t.Fatalf("%d headers allocated for", cap(r.rec.Headers))
	}
}
