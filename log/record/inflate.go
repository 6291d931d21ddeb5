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
	// zstdWindow is the largest window of a zstd frame, as in Java's clients. It is not allocated: a frame is
	// decoded into the memory of its content.
	zstdWindow = 128 << 20
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
	gzip   *gzipReader
	mem    *memory // where buf comes from, nil while buf is the batch itself
}

// memory is a buffer that can be pooled.
type memory struct{ b []byte }

type gzipReader struct {
	gz  gzip.Reader
	src bytes.Reader
}

var (
	memories    = sync.Pool{New: func() any { return new(memory) }}
	gzipReaders = sync.Pool{New: func() any { return new(gzipReader) }}
	zstdReaders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err) // the options are constant
		}
		return d
	}}
)

// open begins with the records of a batch. It must be closed, also after an error.
func (f *inflater) open(codec Codec, records []byte, limit int) error {
	*f = inflater{codec: codec}
	if codec == None {
		f.buf, f.w, f.done = records, len(records), true
		return nil
	}
	f.in, f.left = records, limit
	f.mem = memories.Get().(*memory)
	f.buf = f.mem.b
	switch codec {
	case Gzip:
		f.gzip = gzipReaders.Get().(*gzipReader)
		f.gzip.src.Reset(records)
		if err := f.gzip.gz.Reset(&f.gzip.src); err != nil {
			return inflateError("gzip", err)
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
	case Zstd:
	default:
		return &Error{Kind: ErrCodec, Record: -1, Reason: codec.String()}
	}
	return nil
}

// close gives back what open took. What next has returned is not valid any more.
func (f *inflater) close() {
	if f.mem != nil {
		if f.mem.b = f.buf; len(f.buf) > keepMax {
			f.mem.b = nil
		}
		memories.Put(f.mem)
	}
	if f.gzip != nil {
		f.gzip.src.Reset(nil)
		gzipReaders.Put(f.gzip)
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
	case Gzip:
		return f.fillGzip()
	case Snappy:
		return f.fillSnappy()
	case LZ4:
		return f.fillLZ4()
	case Zstd:
		return f.fillZstd()
	}
	f.done = true
	return nil
}

func (f *inflater) fillGzip() error {
	f.room(min(inflateMin/2, f.left+1))
	room := f.buf[f.w:]
	if len(room) > f.left {
		room = room[:f.left+1] // one more than allowed tells that there is more
	}
	n, err := f.gzip.gz.Read(room)
	if n > f.left {
		return errTooLarge
	}
	f.took(n)
	switch {
	case err == io.EOF:
		f.done = true
	case err != nil:
		return inflateError("gzip", err)
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
		return inflateError("snappy", err)
	}
	// Three bytes make 64 at the most: a block that claims more is refused before memory is taken for it.
	if int64(n) > 22*int64(len(block)) {
		return invalid("snappy: block claims more than it can hold")
	}
	if n > f.left {
		return errTooLarge
	}
	if _, err := snappy.Decode(f.room(n), block); err != nil {
		return inflateError("snappy", err)
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
			return inflateError("lz4", err)
		}
	}
	f.lz4.decoded(room[:n])
	f.took(n)
	return nil
}

// fillZstd decodes everything at once. Decoding as a stream would need memory for the frame's window, 2 MiB for
// what Java's clients send however small it is; so it takes the memory that the content needs. Where the frame
// does not tell that, it tries more and more.
func (f *inflater) fillZstd() error {
	if len(f.in) == 0 {
		f.done = true
		return nil
	}
	n := max(4*len(f.in), inflateMin)
	var h zstd.Header
	if h.Decode(f.in) == nil && h.HasFCS {
		if h.FrameContentSize > uint64(max(f.left, 0)) {
			return errTooLarge
		}
		n = int(h.FrameContentSize)
	}
	d := zstdReaders.Get().(*zstd.Decoder)
	defer zstdReaders.Put(d)
	for {
		n = min(n, f.left)
		room := f.room(n)
		out, err := d.DecodeAll(f.in, room[:0:n])
		if err == nil {
			f.in = nil
			f.took(len(out))
			return nil
		}
		if !errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			return inflateError("zstd", err)
		}
		if n == f.left {
			return errTooLarge
		}
		n = max(4*n, inflateMin)
	}
}

var errTooLarge = &Error{Kind: ErrTooLarge, Record: -1}

func invalid(reason string) error { return &Error{Kind: ErrInvalid, Record: -1, Reason: reason} }

func inflateError(codec string, cause error) error {
	return &Error{Kind: ErrInvalid, Record: -1, Reason: codec, Cause: cause}
}
