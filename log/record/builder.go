package record

import (
	"encoding/binary"
	"math"
)

// Header is one header of a record.
type Header struct {
	Key   []byte // UTF-8; nil is the empty key
	Value []byte // nil is a header without a value (null)
}

// Builder appends records to a batch in place. The zero value is an empty builder that allocates its buffer with the
// first record; Reset gives it one. It must not be used by two goroutines at once.
//
// The caller closes a batch before it is too large (SizeOf tells what a record would add): a batch of more than
// MaxInt32 bytes cannot be written, and Finish panics on it.
type Builder struct {
	buf           []byte // HeaderSize bytes to be filled by Finish, then the records
	baseTimestamp int64
	maxTimestamp  int64
	count         int32
}

// Reset empties the builder and lets it write into buf's memory, from its first byte on, growing into another
// buffer when that is full. Reset(nil) leaves the old buffer to a batch that lives in it.
func (b *Builder) Reset(buf []byte) {
	*b = Builder{}
	if cap(buf) >= HeaderSize {
		b.buf = buf[:HeaderSize]
	}
}

// Buffer returns the builder's memory, for a Reset to come or a pool.
func (b *Builder) Buffer() []byte { return b.buf }

// Len is the size of the batch so far, header included, if it were left uncompressed.
func (b *Builder) Len() int { return max(len(b.buf), HeaderSize) }

// Count is the number of records so far.
func (b *Builder) Count() int32 { return b.count }

// MaxTimestamp is the largest timestamp so far, in milliseconds; 0 without records.
func (b *Builder) MaxTimestamp() int64 { return b.maxTimestamp }

// SizeOf is the number of bytes by which Append of the same arguments would lengthen the batch.
func (b *Builder) SizeOf(ts int64, key, value []byte, headers []Header) int {
	n := b.bodySize(ts, key, value, headers)
	return n + uvarintSize(lengthCode(n))
}

// bodySize is the size of a record without its length.
func (b *Builder) bodySize(ts int64, key, value []byte, headers []Header) int {
	base := b.baseTimestamp
	if b.count == 0 {
		base = ts
	}
	n := 1 + uvarintSize(zigzag(ts-base)) + uvarintSize(lengthCode(int(b.count))) +
		bytesSize(key) + bytesSize(value) + uvarintSize(lengthCode(len(headers)))
	for i := range headers {
		h := &headers[i]
		n += uvarintSize(lengthCode(len(h.Key))) + len(h.Key) + bytesSize(h.Value)
	}
	return n
}

// bytesSize is the size of v behind its length; null is the length -1, which takes one byte.
func bytesSize(v []byte) int { return uvarintSize(lengthCode(len(v))) + len(v) }

// Append adds a record with the timestamp ts in milliseconds. A nil key or value is null, an empty one is empty. It
// copies what it is given, and allocates nothing while the buffer has room.
func (b *Builder) Append(ts int64, key, value []byte, headers []Header) {
	if b.count == 0 {
		b.baseTimestamp, b.maxTimestamp = ts, ts
	} else if ts > b.maxTimestamp {
		b.maxTimestamp = ts
	}
	n := b.bodySize(ts, key, value, headers)
	p := b.extend(n + uvarintSize(lengthCode(n)))
	buf := b.buf
	p = putUvarint(buf, p, lengthCode(n))
	buf[p] = 0 // the record's own attributes: none are defined
	p = putUvarint(buf, p+1, zigzag(ts-b.baseTimestamp))
	p = putUvarint(buf, p, lengthCode(int(b.count)))
	p = putBytes(buf, p, key)
	p = putBytes(buf, p, value)
	p = putUvarint(buf, p, lengthCode(len(headers)))
	for i := range headers {
		h := &headers[i]
		p = putUvarint(buf, p, lengthCode(len(h.Key)))
		p += copy(buf[p:], h.Key)
		p = putBytes(buf, p, h.Value)
	}
	b.count++
}

func putBytes(buf []byte, p int, v []byte) int {
	if v == nil {
		buf[p] = 1 // -1
		return p + 1
	}
	p = putUvarint(buf, p, lengthCode(len(v)))
	return p + copy(buf[p:], v)
}

// extend lengthens the buffer by n bytes and returns where they begin.
func (b *Builder) extend(n int) int {
	p := max(len(b.buf), HeaderSize)
	if p+n > cap(b.buf) {
		grown := make([]byte, p, max(2*cap(b.buf), p+n, 512))
		copy(grown, b.buf)
		b.buf = grown
	}
	b.buf = b.buf[:p+n]
	return p
}

// Finish fills the header of the batch and returns it; nil without records. The batch has no producer id.
//
// The records are compressed by codec when that makes them smaller by a 16th. A compressed batch lies in dst's memory,
// from its first byte on, if dst's capacity suffices (it does with Len bytes), else in new memory of just its size; the
// builder's buffer is free for the next batch. An uncompressed one lies in the builder's buffer, and the builder must be
// Reset to another one while it is in use. Attributes().Codec() tells which.
func (b *Builder) Finish(baseOffset int64, leaderEpoch int32, codec Codec, dst []byte) Batch {
	if b.count == 0 {
		return nil
	}
	var out Batch
	if codec != None {
		out = deflate(codec, b.buf[HeaderSize:], dst)
	}
	if out == nil {
		out, codec = b.buf, None
	}
	b.fill(out, baseOffset, leaderEpoch, codec)
	return out
}

// fill writes the header of a batch whose records are in place.
func (b *Builder) fill(to Batch, baseOffset int64, leaderEpoch int32, codec Codec) {
	_ = to[HeaderSize-1]
	be := binary.BigEndian
	be.PutUint64(to[posBaseOffset:], uint64(baseOffset))
	to.setLength()
	be.PutUint32(to[posLeaderEpoch:], uint32(leaderEpoch))
	to[posMagic] = magic
	to.setAttributes(Attributes(codec))
	be.PutUint32(to[posLastOffsetDelta:], uint32(b.count-1))
	be.PutUint64(to[posBaseTimestamp:], uint64(b.baseTimestamp))
	be.PutUint64(to[posMaxTimestamp:], uint64(b.maxTimestamp))
	be.PutUint64(to[posProducerID:], math.MaxUint64) // -1
	be.PutUint16(to[posProducerEpoch:], math.MaxUint16)
	be.PutUint32(to[posBaseSequence:], math.MaxUint32)
	be.PutUint32(to[posCount:], uint32(b.count))
	to.sign()
}
