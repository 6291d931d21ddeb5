package record

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// Batch is a view over one encoded record batch of magic 2; it owns no memory. Its methods may be called on what Split
// or Builder.Finish returned; on fewer than HeaderSize bytes they panic.
type Batch []byte

// HeaderSize is the number of bytes before the records, and the size of the smallest batch.
const HeaderSize = 61

// Where the fields of a batch begin (KIP-98); all are big endian.
const (
	posBaseOffset      = 0
	posLength          = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21 // the CRC covers the bytes from here to the end
	posLastOffsetDelta = 23
	posBaseTimestamp   = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posCount           = 57

	prefixSize = 12 // what the length does not count: base offset and length
	magic      = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Split returns the first batch of buf and what follows it. It looks at the length and the magic alone: the batch may
// still be damaged. The batch's capacity ends with it, so that appending to it cannot overwrite what follows.
//
// Errors: ErrShort when buf ends before the batch does (also when it is empty), MagicError for another message format,
// ErrCorrupt for a length that no batch can have.
func Split(buf []byte) (b Batch, rest []byte, err error) {
	if len(buf) <= posMagic {
		return nil, buf, ErrShort
	}
	if m := int8(buf[posMagic]); m != magic {
		return nil, buf, MagicError(m)
	}
	n := int64(int32(binary.BigEndian.Uint32(buf[posLength:]))) + prefixSize
	if n < HeaderSize {
		return nil, buf, batchError(ErrCorrupt, "length %d is smaller than a header", n-prefixSize)
	}
	if n > int64(len(buf)) {
		return nil, buf, ErrShort
	}
	return Batch(buf[:n:n]), buf[n:], nil
}

// BaseOffset is the offset of the first record.
func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b[posBaseOffset:])) }

// LastOffset is the offset of the last record.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the offset after the last record.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// Size is the number of bytes of the whole batch by its length field. Split has made sure that it is len(b).
func (b Batch) Size() int { return int(b.length()) + prefixSize }

func (b Batch) length() int32 { return int32(binary.BigEndian.Uint32(b[posLength:])) }

func (b Batch) setLength() {
	if int64(len(b)) > math.MaxInt32 {
		panic("record: batch of more than MaxInt32 bytes") // a bug of the caller, who closes batches before
	}
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-prefixSize)) //nolint:gosec // checked above
}

// LeaderEpoch is the epoch of the leader that appended the batch, or -1.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[posLeaderEpoch:])) }

// Magic is the message format, 2.
func (b Batch) Magic() int8 { return int8(b[posMagic]) }

// CRC is the CRC32C that the batch claims to have.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[posCRC:]) }

// Attributes are the codec and the flags of the batch.
func (b Batch) Attributes() Attributes { return Attributes(binary.BigEndian.Uint16(b[posAttributes:])) }

// LastOffsetDelta is the last record's offset less the base offset.
func (b Batch) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(b[posLastOffsetDelta:])) }

// BaseTimestamp is what the timestamps of the records count from, in milliseconds since 1970.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[posBaseTimestamp:])) }

// MaxTimestamp is the largest timestamp of a record, in milliseconds since 1970.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[posMaxTimestamp:])) }

// ProducerID is the id of the idempotent producer, or -1.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[posProducerID:])) }

// ProducerEpoch is the epoch of the idempotent producer, or -1.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[posProducerEpoch:])) }

// BaseSequence is the sequence number of the first record at its producer, or -1.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[posBaseSequence:])) }

// LastSequence is the sequence number of the last record at its producer: 0 follows MaxInt32. Without a sequence it
// is -1.
func (b Batch) LastSequence() int32 {
	s := b.BaseSequence()
	if s < 0 {
		return s
	}
	return int32((int64(s) + int64(b.LastOffsetDelta())) & math.MaxInt32)
}

// Count is the number of records.
func (b Batch) Count() int32 { return int32(binary.BigEndian.Uint32(b[posCount:])) }

// SetBaseOffset patches the offset of the first record, which the CRC does not cover.
func (b Batch) SetBaseOffset(offset int64) {
	binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(offset))
}

// SetLeaderEpoch patches the leader epoch, which the CRC does not cover.
func (b Batch) SetLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(epoch))
}

// SetLogAppendTime gives all records the timestamp ms, as message.timestamp.type=LogAppendTime asks: it sets the max
// timestamp and the attribute bit and computes the CRC anew, which reads the whole batch.
func (b Batch) SetLogAppendTime(ms int64) {
	b.setAttributes(b.Attributes() | attrLogAppendTime)
	b.SetMaxTimestamp(ms)
}

// SetMaxTimestamp sets the max timestamp and computes the CRC anew.
func (b Batch) SetMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(ms))
	b.sign()
}

// SetProducer makes b a batch of an idempotent producer and computes the CRC anew.
func (b Batch) SetProducer(id int64, epoch int16, sequence int32) {
	binary.BigEndian.PutUint64(b[posProducerID:], uint64(id))
	binary.BigEndian.PutUint16(b[posProducerEpoch:], uint16(epoch))
	binary.BigEndian.PutUint32(b[posBaseSequence:], uint32(sequence))
	b.sign()
}

// VerifyCRC tells whether the bytes from the attributes to the end are as their writer left them.
func (b Batch) VerifyCRC() bool { return b.CRC() == b.checksum() }

func (b Batch) checksum() uint32 { return crc32.Checksum(b[posAttributes:], castagnoli) }

func (b Batch) sign() { binary.BigEndian.PutUint32(b[posCRC:], b.checksum()) }

func (b Batch) setAttributes(a Attributes) { binary.BigEndian.PutUint16(b[posAttributes:], uint16(a)) }

// records are the bytes after the header.
func (b Batch) records() []byte { return b[HeaderSize:] }
