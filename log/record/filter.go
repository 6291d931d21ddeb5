package record

import (
	"encoding/binary"
	"math"
	"slices"
)

// HasDeleteHorizon tells that compaction has set the time from which on the batch's tombstones, or its marker, may go
// (KIP-534).
func (b Batch) HasDeleteHorizon() bool { return b.Attributes()&attrDeleteHorizon != 0 }

// DeleteHorizon is the time, in milliseconds since 1970, from which on the batch's tombstones, or its marker, may go; -1
// where it has none. It stands in the place of the base timestamp, from which the records' timestamps are counted as
// ever.
func (b Batch) DeleteHorizon() int64 {
	if !b.HasDeleteHorizon() {
		return -1
	}
	return b.BaseTimestamp()
}

// Filter returns b with those of its records that keep is true for, which is asked about every record once, in order.
// What the batch says of itself stays as it is: base offset and last offset, leader epoch, producer and sequence,
// attributes and codec; so do the offsets and timestamps of the records. The max timestamp is that of the records kept.
// Records that do not shrink by a 16th are left uncompressed. The result may be larger than b where its producer
// compressed it better.
//
// A horizon of 0 or more (ms since 1970) becomes the batch's delete horizon; -1 leaves that as it is. When no record
// goes and no horizon is new, the result is b itself; else it is in new memory. It is nil when all records go: the
// caller may put Emptied in their place.
//
// limit is the number of bytes to which the records may grow when they are decompressed, as in Check. A batch that is not
// well formed ends with an error and is never changed: ErrInvalid, ErrCodec, ErrTooLarge.
func Filter(b Batch, keep func(*Record) bool, horizon int64, limit int) (out Batch, kept int, err error) {
	var r Reader
	defer r.Close()
	if err := r.Reset(b, limit); err != nil {
		return nil, 0, err
	}
	m := getMemory(HeaderSize)
	defer func() { m.put() }()
	stamp := horizon >= 0 && b.DeleteHorizon() != horizon
	raw, newest := int64(0), int64(math.MinInt64) // bytes behind the header
	for r.Next() {
		rec := r.Record()
		if !keep(rec) {
			continue
		}
		kept++
		newest = max(newest, rec.Timestamp)
		body := r.body
		at := HeaderSize + int(raw)
		// A stamped record gets another timestamp delta, of up to ten bytes.
		most := uvarintSize(lengthCode(len(body)+10)) + len(body) + 10
		if int64(at)+int64(most) > math.MaxInt32 {
			return nil, 0, errTooLarge
		}
		if at+most > len(m.b) {
			grown := make([]byte, max(2*len(m.b), at+most))
			copy(grown, m.b[:at])
			m.put()
			m = &memory{grown}
		}
		if stamp {
			raw += int64(putStamped(m.b[at:], body, rec.Timestamp-horizon))
		} else {
			end := putUvarint(m.b, at, lengthCode(len(body)))
			raw += int64(end - at + copy(m.b[end:], body))
		}
	}
	switch {
	case r.Err() != nil:
		return nil, 0, r.Err()
	case kept == 0:
		return nil, 0, nil
	case kept == int(b.Count()) && !stamp:
		return b, kept, nil
	}
	codec := b.Attributes().Codec()
	if codec != None {
		out = deflate(codec, m.b[HeaderSize:HeaderSize+raw], nil)
	}
	if out == nil {
		out, codec = slices.Clone(Batch(m.b[:HeaderSize+raw])), None
	}
	copy(out, b[:HeaderSize])
	out.setLength()
	out.setAttributes(b.Attributes()&^attrCodecMask | Attributes(codec))
	if stamp {
		out.setAttributes(out.Attributes() | attrDeleteHorizon)
		binary.BigEndian.PutUint64(out[posBaseTimestamp:], uint64(horizon))
	}
	binary.BigEndian.PutUint32(out[posCount:], uint32(kept)) //nolint:gosec // at most b.Count()
	out.SetMaxTimestamp(newest)
	return out, kept, nil
}

// putStamped writes a record to dst with another timestamp delta and returns its size.
func putStamped(dst, body []byte, delta int64) int {
	_, rest := varint64(body, 1) // behind the record's attributes; the reader has parsed it
	n := 1 + uvarintSize(zigzag(delta)) + len(body) - rest
	p := putUvarint(dst, 0, lengthCode(n))
	dst[p] = body[0]
	p = putUvarint(dst, p+1, zigzag(delta))
	return p + copy(dst[p:], body[rest:])
}

// Emptied returns a batch without records in the place of b, in new memory: it keeps the offsets, the leader epoch, the
// producer and its sequence, and says whether it was transactional or a control batch. Compaction leaves it where the
// last records of a producer, or the last of a partition, have gone. It has no timestamps (-1) and no delete horizon.
func (b Batch) Emptied() Batch {
	out := slices.Clone(b[:HeaderSize:HeaderSize])
	out.setLength()
	out.setAttributes(b.Attributes() &^ (attrCodecMask | attrDeleteHorizon))
	binary.BigEndian.PutUint64(out[posBaseTimestamp:], math.MaxUint64) // -1
	binary.BigEndian.PutUint32(out[posCount:], 0)
	out.SetMaxTimestamp(-1)
	return out
}
