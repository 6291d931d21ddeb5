package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	// inflateMin is the smallest buffer to decompress into, and what is decompressed at a time where the codec has no
	// blocks of its own.
	inflateMin = 64 << 10
	// keepMax is the largest buffer that is kept for the next batch.
	keepMax = 1 << 20
	// zstdWindow is the largest window of a zstd frame: what RFC 8878 asks every decoder to support, and enough for the
	// levels up to 19. A decoder holds as much memory as the largest window that it has seen; Java's clients, at
	// their default level, need 2 MiB.
	zstdWindow = 8 << 20
)

// inflater hands out the encoded records of a batch one by one, decompressing as little ahead as the codec allows. It
// is bounded by a limit on all that comes out of a decompressor; what is not compressed has its size already. The
// state comes from pools at open and goes back at close.
type inflater struct {
	buf  []byte // buf[r:w] is decompressed and not handed out yet
	r, w int
	left int  // how many bytes more may come out of the decompressor
	done bool // all that there is lies in buf[:w]

	codec  Codec
	in     []byte // what is not decompressed yet
	xerial bool   // snappy: in is a row of chunks
	lz4    lz4Frame
	stream *stream // gzip and zstd
	mem    *memory // where buf comes from, nil while buf is the batch itself
}

// memory is a buffer that can be pooled.
type memory struct{ b []byte }

// getMemory returns a buffer of at least n bytes.
func getMemory(n int) *memory {
	m := memories.Get().(*memory)
	if len(m.b) < n {
		m.b = make([]byte, max(n, inflateMin))
	}
	return m
}

// put gives the buffer back, unless it is too large to be kept.
func (m *memory) put() {
	if len(m.b) > keepMax {
		m.b = nil
	}
	memories.Put(m)
}

// stream reads from memory through one of two decompressors.
type stream struct {
	src  bytes.Reader
	gzip *gzip.Reader
	zstd *zstd.Decoder
}

func (s *stream) reset(src []byte) error {
	s.src.Reset(src)
	if s.gzip != nil {
		return s.gzip.Reset(&s.src)
	}
	return s.zstd.Reset(&s.src)
}

func (s *stream) read(p []byte) (int, error) {
	if s.gzip != nil {
		return s.gzip.Read(p)
	}
	return s.zstd.Read(p)
}

var (
	memories    = sync.Pool{New: func() any { return new(memory) }}
	gzipStreams = sync.Pool{New: func() any { return &stream{gzip: new(gzip.Reader)} }}
	zstdStreams = sync.Pool{New: func() any {
		// With one at a time it decodes where it is called: it has no goroutine, and needs no Close.
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			panic(err) // a bug: the options are constant
		}
		return &stream{zstd: d}
	}}
)

// open begins with the records of a batch. It must be closed, also after an error.
func (f *inflater) open(codec Codec, records []byte, limit int) error {
	*f = inflater{codec: codec}
	if codec == None {
		f.buf, f.w, f.done = records, len(records), true
		return nil
	}
	f.in, f.left = records, max(limit, 0)
	f.mem = getMemory(0)
	f.buf = f.mem.b
	switch codec {
	case Gzip, Zstd:
		pool := &gzipStreams
		if codec == Zstd {
			pool = &zstdStreams
		}
		f.stream = pool.Get().(*stream)
		if err := f.stream.reset(records); err != nil {
			return inflateError(codec, err)
		}
	case Snappy:
		f.xerial = bytes.HasPrefix(records, xerialMagic)
		if f.xerial {
			if len(records) < xerialHeader {
				return invalid("snappy: stream is cut short")
			}
			f.in = records[xerialHeader:]
		}
	case LZ4:
		rest, reason := f.lz4.open(records)
		if reason != "" {
			return invalid(reason)
		}
		f.in = rest
	default:
		return &Error{Kind: ErrCodec, Record: -1, Reason: codec.String()}
	}
	return nil
}

// close gives back what open took. What next has returned is not valid any more.
func (f *inflater) close() {
	if f.mem != nil {
		f.mem.b = f.buf
		f.mem.put()
	}
	if s := f.stream; s != nil {
		s.src.Reset(nil)
		if s.gzip != nil {
			gzipStreams.Put(s)
		} else {
			zstdStreams.Put(s)
		}
	}
	*f = inflater{done: true}
}

// next returns the next record without its length. It is valid until the call after it.
func (f *inflater) next() ([]byte, error) {
	for {
		n, p := varint32(f.buf[:f.w], f.r)
		if p > 0 {
			if n < 0 {
				return nil, invalid("negative length")
			}
			have := f.w - p
			if int(n) <= have {
				end := p + int(n)
				f.r = end
				return f.buf[p:end:end], nil
			}
			if f.done {
				return nil, invalid("length runs over the end of the batch")
			}
			if int(n)-have > f.left {
				return nil, errTooLarge
			}
		} else if f.w-f.r >= 5 {
			return nil, invalid("malformed length")
		} else if f.done {
			return nil, invalid("missing or cut short")
		}
		if err := f.fill(); err != nil {
			return nil, err
		}
	}
}

// end makes sure that nothing follows the record that next has returned last.
func (f *inflater) end() error {
	for f.r == f.w && !f.done {
		if err := f.fill(); err != nil {
			return err
		}
	}
	if f.r != f.w {
		return invalid("bytes after the last record")
	}
	return nil
}

// all returns everything that next has not returned yet.
func (f *inflater) all() ([]byte, error) {
	for !f.done {
		if err := f.fill(); err != nil {
			return nil, err
		}
	}
	return f.buf[f.r:f.w], nil
}

// room makes place for n more bytes after buf[:w] and returns it.
func (f *inflater) room(n int) []byte {
	if len(f.buf)-f.w < n {
		have := f.buf[f.r:f.w]
		if len(f.buf)-len(have) < n {
			f.buf = make([]byte, max(2*len(f.buf), len(have)+n, inflateMin))
		}
		f.r, f.w = 0, copy(f.buf, have)
	}
	return f.buf[f.w : f.w+n]
}

// took takes note of n bytes that were decompressed into room.
func (f *inflater) took(n int) {
	f.w += n
	f.left -= n
}

// fill decompresses some more. It sets done, decompresses something, or fails.
func (f *inflater) fill() error {
	switch f.codec {
	case Gzip, Zstd:
		return f.fillStream()
	case Snappy:
		return f.fillSnappy()
	case LZ4:
		return f.fillLZ4()
	}
	f.done = true
	return nil
}

func (f *inflater) fillStream() error {
	f.room(min(inflateMin/2, f.left+1))
	room := f.buf[f.w:]
	if len(room) > f.left {
		room = room[:f.left+1] // one more than allowed tells that there is more
	}
	n, err := f.stream.read(room)
	if n > f.left {
		return errTooLarge
	}
	f.took(n)
	switch {
	case errors.Is(err, io.EOF):
		f.done = true
	case err != nil:
		return inflateError(f.codec, err)
	}
	return nil
}

// The framing that Java's snappy library gives a stream, which Kafka's clients use: a magic, two versions, and chunks
// behind their lengths (4 bytes, big endian). Other clients send one bare block.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeader = 16

func (f *inflater) fillSnappy() error {
	if len(f.in) == 0 {
		f.done = true
		return nil
	}
	block := f.in
	f.in = nil
	if f.xerial {
		if len(block) < 4 {
			return invalid("snappy: chunk is cut short")
		}
		n := binary.BigEndian.Uint32(block)
		block = block[4:]
		if int64(n) > int64(len(block)) {
			return invalid("snappy: chunk is cut short")
		}
		block, f.in = block[:n], block[n:]
	}
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return inflateError(Snappy, err)
	}
	// Three bytes make 64 at the most: a block that claims more is refused before memory is taken for it.
	if int64(n) > 22*int64(len(block)) {
		return invalid("snappy: block claims more than it can hold")
	}
	if n > f.left {
		return errTooLarge
	}
	if _, err := snappy.Decode(f.room(n), block); err != nil {
		return inflateError(Snappy, err)
	}
	f.took(n)
	return nil
}

func (f *inflater) fillLZ4() error {
	block, raw, rest, reason := f.lz4.block(f.in)
	if reason != "" {
		return invalid(reason)
	}
	f.in = rest
	if block == nil {
		f.done = true
		return nil
	}
	// n is the size of the block's content, or at least not less.
	n := len(block)
	if !raw {
		n = int(min(int64(f.lz4.blockSize), 255*int64(len(block))))
		if n > max(len(f.buf)-(f.w-f.r), inflateMin) || n > f.left { // look closer before more memory is taken
			switch n = lz4BlockLen(block); {
			case n < 0:
				return invalid("lz4: malformed block")
			case n > f.lz4.blockSize:
				return invalid("lz4: block is larger than its frame allows")
			}
		}
	}
	if n > f.left {
		return errTooLarge
	}
	room := f.room(n)
	if raw {
		copy(room, block)
	} else {
		var err error
		if n, err = lz4.UncompressBlock(block, room); err != nil {
			return inflateError(LZ4, err)
		}
	}
	f.lz4.decoded(room[:n])
	f.took(n)
	return nil
}

var errTooLarge = &Error{Kind: ErrTooLarge, Record: -1}

func invalid(reason string) error { return &Error{Kind: ErrInvalid, Record: -1, Reason: reason} }

func inflateError(codec Codec, cause error) error {
	return &Error{Kind: ErrInvalid, Record: -1, Reason: codec.String(), Cause: cause}
}
