package record

import (
	"errors"
	"sync"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// compressMin is the size of records from which on compressing them is tried. Smaller ones rarely shrink by more
	// than the frame around them costs.
	compressMin = 256
	// compressGain: records that shrink by less than a 16th stay uncompressed, for the sake of all who read them.
	compressGain = 16
	// zstdWriteWindow bounds the memory of the encoder and of those who decode.
	zstdWriteWindow = 1 << 20
)

var (
	lz4Writers  = sync.Pool{New: func() any { return new(lz4Compressor) }}
	gzipWriters = sync.Pool{New: func() any { return &gzipWriter{gz: gzip.NewWriter(nil)} }}
	zstdWriters = sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(zstdWriteWindow))
		if err != nil {
			panic(err) // a bug: the options are constant
		}
		return e
	}}
)

// deflate returns a batch of which the header is still to be filled and the records are raw, compressed. It is written
// to dst's memory where that is large enough, else to new memory of just its size. It is nil when that does not make it
// smaller by as much as is worth it.
func deflate(codec Codec, raw, dst []byte) Batch {
	if len(raw) < compressMin {
		return nil
	}
	most := HeaderSize + len(raw) - len(raw)/compressGain
	if cap(dst) >= most {
		dst = dst[:most]
		if n := compress(codec, dst[HeaderSize:], raw); n > 0 {
			return Batch(dst[: HeaderSize+n : HeaderSize+n])
		}
		return nil
	}
	m := getMemory(most)
	defer m.put()
	n := compress(codec, m.b[HeaderSize:most], raw)
	if n == 0 {
		return nil
	}
	if n += HeaderSize; cap(dst) < n {
		dst = make([]byte, n)
	}
	dst = dst[:n:n]
	copy(dst[HeaderSize:], m.b[HeaderSize:n])
	return Batch(dst)
}

// compress writes src to dst and returns the size, 0 when dst is too small for it.
func compress(codec Codec, dst, src []byte) int {
	switch codec {
	case LZ4:
		c := lz4Writers.Get().(*lz4Compressor)
		defer lz4Writers.Put(c)
		return lz4Compress(c, dst, src)
	case Gzip:
		return gzipCompress(dst, src)
	case Snappy:
		return snappyCompress(dst, src)
	case Zstd:
		e := zstdWriters.Get().(*zstd.Encoder)
		defer zstdWriters.Put(e)
		return fitting(dst, e.EncodeAll(src, dst[:0:len(dst)]))
	}
	return 0
}

// fitting copies what was compressed to dst, unless it is there already.
func fitting(dst, out []byte) int {
	if len(out) > len(dst) {
		return 0
	}
	return copy(dst, out)
}

func snappyCompress(dst, src []byte) int {
	// The library wants room for the worst case, or allocates it.
	n := snappy.MaxEncodedLen(len(src))
	if n <= len(dst) {
		return len(snappy.Encode(dst, src))
	}
	m := getMemory(n)
	defer m.put()
	return fitting(dst, snappy.Encode(m.b, src))
}

// gzipWriter writes to a slice until that is full.
type gzipWriter struct {
	gz  *gzip.Writer
	out []byte
}

var errFull = errors.New("record: buffer is full")

func (w *gzipWriter) Write(p []byte) (int, error) {
	if len(p) > cap(w.out)-len(w.out) {
		return 0, errFull
	}
	w.out = append(w.out, p...)
	return len(p), nil
}

func gzipCompress(dst, src []byte) int {
	w := gzipWriters.Get().(*gzipWriter)
	defer gzipWriters.Put(w)
	w.out = dst[:0:len(dst)]
	w.gz.Reset(w)
	_, err := w.gz.Write(src)
	if cerr := w.gz.Close(); err == nil {
		err = cerr
	}
	n := len(w.out)
	w.out = nil
	if err != nil { // it is full
		return 0
	}
	return n
}

// Recompress returns b with its records compressed by codec, as compression.type asks, or uncompressed where that does
// not make them smaller by a 16th. A batch that is like that already is returned itself; else the result lies in dst's
// memory where that is large enough, else in new memory, and b is not needed any more. dst must not overlap b.
// Everything else of the header is kept, the CRC computed anew. limit is the number of bytes to which the records may
// grow, as in Check.
func Recompress(b Batch, codec Codec, dst []byte, limit int) (Batch, error) {
	if codec < None || codec > Zstd {
		return nil, &Error{Kind: ErrCodec, Record: -1, Reason: codec.String()}
	}
	if b.Attributes().Codec() == codec {
		return b, nil
	}
	var f inflater
	defer f.close()
	if err := f.open(b.Attributes().Codec(), b.records(), limit); err != nil {
		return nil, err
	}
	raw, err := f.all()
	if err != nil {
		return nil, err
	}
	out := deflate(codec, raw, dst)
	if out == nil {
		if b.Attributes().Codec() == None {
			return b, nil
		}
		codec = None
		out = append(Batch(dst[:0]), b[:HeaderSize]...)
		out = append(out, raw...)
	}
	copy(out, b[:HeaderSize])
	out.setLength()
	out.setAttributes(b.Attributes()&^attrCodecMask | Attributes(codec))
	out.sign()
	return out, nil
}
