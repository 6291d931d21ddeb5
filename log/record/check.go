package record

import "math"

// Facts is what a walk over the records of a batch finds out.
type Facts struct {
	MinTimestamp int64 // smallest timestamp of a record, milliseconds
	MaxTimestamp int64 // largest timestamp of a record, milliseconds; the header may claim another
	NullKeys     int32 // records without a key, which a compacted topic refuses
	Bytes        int64 // size of the records when they are not compressed
}

// Check verifies all that a broker must before it stores a batch that a client sent (KIP-98; Kafka refuses the same):
// the length and the CRC; the codec and that no attribute is set but those that a producer may set; at least one
// record, and as many as the offsets count; a producer id together with an epoch and a sequence; every record well
// formed, its offset delta one more than the one before; no more and no fewer records than the header says, also in
// compressed batches, which are decompressed for it, to at most limit bytes.
//
// Max timestamp: consumers and retention rely on it, but some producers do not set it right. As Kafka does, Check
// corrects it, which writes to b and computes the CRC anew; b must be in memory that can be written. Examine does
// not write.
//
// The base offset and the leader epoch are not looked at: the broker sets them. Errors: ErrCorrupt, MagicError,
// ErrCodec, ErrTimestamp, ErrTooLarge, else ErrInvalid; they tell the record's index where there is one.
func (b Batch) Check(limit int) error {
	facts, err := b.Examine(limit)
	if err == nil && facts.MaxTimestamp != b.MaxTimestamp() {
		b.SetMaxTimestamp(facts.MaxTimestamp)
	}
	return err
}

// Examine is Check for those who want to know more about the batch: it returns the facts that the walk over the records
// finds, and leaves b, and with it a wrong max timestamp, as it is.
func (b Batch) Examine(limit int) (Facts, error) {
	if err := b.checkHeader(); err != nil {
		return Facts{}, err
	}
	var f inflater
	defer f.close()
	if err := f.open(b.Attributes().Codec(), b.records(), limit); err != nil {
		return Facts{}, err
	}
	base := b.BaseTimestamp()
	facts := Facts{MinTimestamp: math.MaxInt64, MaxTimestamp: math.MinInt64}
	for i := range b.Count() {
		body, err := f.next()
		if err != nil {
			return Facts{}, atRecord(err, i)
		}
		delta, null, reason := checkRecord(body, i)
		if reason != "" {
			return Facts{}, &Error{Kind: ErrInvalid, Record: i, Reason: reason}
		}
		ts := base + delta
		facts.MinTimestamp = min(facts.MinTimestamp, ts)
		facts.MaxTimestamp = max(facts.MaxTimestamp, ts)
		facts.NullKeys += null
		facts.Bytes += int64(len(body) + uvarintSize(lengthCode(len(body))))
	}
	if err := f.end(); err != nil {
		return Facts{}, err
	}
	return facts, nil
}

func (b Batch) checkHeader() error {
	if len(b) < HeaderSize {
		return ErrShort
	}
	if b.Magic() != magic {
		return MagicError(b.Magic())
	}
	if int64(b.length())+prefixSize != int64(len(b)) {
		return batchError(ErrCorrupt, "length %d in a batch of %d bytes", b.length(), len(b))
	}
	if crc := b.checksum(); crc != b.CRC() {
		return batchError(ErrCorrupt, "CRC32C is %08x, the batch says %08x", crc, b.CRC())
	}
	a := b.Attributes()
	switch {
	case a.Codec() > Zstd:
		return &Error{Kind: ErrCodec, Record: -1, Reason: a.Codec().String()}
	case a.LogAppendTime():
		return batchError(ErrTimestamp, "a producer may not set log append time")
	case a.Control():
		return invalid("control batches are the broker's")
	case a&^attrClient != 0:
		return batchError(ErrInvalid, "attributes %#x, of which a producer may set %#x", int(a)&0xffff, int(attrClient))
	}
	switch count, last := b.Count(), b.LastOffsetDelta(); {
	case count < 1:
		return batchError(ErrInvalid, "%d records", count)
	case int64(last)+1 != int64(count):
		return batchError(ErrInvalid, "%d records, but a last offset delta of %d", count, last)
	}
	switch id, epoch, seq := b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(); {
	case id >= 0 && (epoch < 0 || seq < 0):
		return batchError(ErrInvalid, "producer id %d with epoch %d and sequence %d", id, epoch, seq)
	case id < 0 && a.Transactional():
		return batchError(ErrInvalid, "transactional without a producer id")
	}
	return nil
}

// checkRecord verifies the record at index i and returns its timestamp delta and 1 if its key is null, or the reason to
// refuse it.
func checkRecord(body []byte, i int32) (delta int64, null int32, reason string) {
	if len(body) == 0 {
		return 0, 0, "empty"
	}
	p := 1 // the record's attributes are not used
	if delta, p = varint64(body, p); p == 0 {
		return 0, 0, "malformed timestamp delta"
	}
	offset, p := varint32(body, p)
	if p == 0 {
		return 0, 0, "malformed offset delta"
	}
	if offset != i {
		return 0, 0, "offset deltas do not count the records"
	}
	n, p := varint32(body, p)
	if p == 0 || n < -1 || int(n) > len(body)-p {
		return 0, 0, "malformed key"
	}
	if n >= 0 {
		p += int(n)
	} else {
		null = 1
	}
	n, p = varint32(body, p)
	if p == 0 || n < -1 || int(n) > len(body)-p {
		return 0, 0, "malformed value"
	}
	p += int(max(n, 0))
	count, p := varint32(body, p)
	if p == 0 || count < 0 {
		return 0, 0, "malformed number of headers"
	}
	for range count {
		n, p = varint32(body, p)
		if p == 0 || n < 0 || int(n) > len(body)-p {
			return 0, 0, "malformed header key"
		}
		p += int(n)
		n, p = varint32(body, p)
		if p == 0 || n < -1 || int(n) > len(body)-p {
			return 0, 0, "malformed header value"
		}
		p += int(max(n, 0))
	}
	if p != len(body) {
		return 0, 0, "bytes after its last header"
	}
	return delta, null, ""
}
