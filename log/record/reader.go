package record

import "slices"

// Record is one record of a batch. Its bytes lie in the batch or in the reader's buffer: they are valid until the
// reader's next call, and must not be written to.
type Record struct {
	Offset    int64
	Timestamp int64    // milliseconds since 1970; the batch's, where that has log append time
	Key       []byte   // nil is null
	Value     []byte   // nil is null
	Headers   []Header // in their order; keys are never nil
}

// Reader walks the records of a batch in order, decompressing as it goes. The zero value is ready for Reset. A reader
// that was Reset must be closed, or Reset again: it holds pooled memory. It must not be used by two goroutines at once.
//
//	for r.Reset(b, limit); r.Next(); {
//		rec := r.Record()
//	}
//	err := r.Err()
//	r.Close()
//
// Batches from Check or the log have no errors; a damaged one ends the walk with an error and never panics. The
// CRC is not verified.
type Reader struct {
	rec       Record
	body      []byte // of rec, encoded, without its length
	err       error
	f         inflater
	base      int64 // offset
	timestamp int64
	appended  bool // timestamp is that of all records
	count     int32
	index     int32
}

// Reset begins with the first record of b, which must have come through Split. What was read before is not valid any
// more. limit is the number of bytes to which a compressed batch may grow: see ErrTooLarge. The error is Err's too.
func (r *Reader) Reset(b Batch, limit int) error {
	r.f.close()
	r.rec = Record{Headers: r.rec.Headers[:0]}
	r.base, r.timestamp, r.count, r.index = b.BaseOffset(), b.BaseTimestamp(), b.Count(), 0
	if r.appended = b.Attributes().LogAppendTime(); r.appended {
		r.timestamp = b.MaxTimestamp()
	}
	r.err = r.f.open(b.Attributes().Codec(), b.records(), limit)
	return r.err
}

// Next goes to the next record and tells whether there is one. At the end it makes sure that nothing follows.
func (r *Reader) Next() bool {
	if r.err != nil || r.index > r.count {
		return false
	}
	if r.index >= max(r.count, 0) {
		r.err = r.f.end()
		r.index = r.count + 1
		return false
	}
	body, err := r.f.next()
	if err != nil {
		r.err = atRecord(err, r.index)
		return false
	}
	if reason := r.parse(body); reason != "" {
		r.err = &Error{Kind: ErrInvalid, Record: r.index, Reason: reason}
		return false
	}
	r.body = body
	r.index++
	return true
}

// Record returns the record that Next has gone to, always at the same place.
func (r *Reader) Record() *Record { return &r.rec }

// Err returns what ended the walk before the last record, or nil.
func (r *Reader) Err() error { return r.err }

// Close gives back the reader's memory. It may be Reset afterwards.
func (r *Reader) Close() {
	r.f.close()
	clear(r.rec.Headers[:cap(r.rec.Headers)])
	r.rec = Record{Headers: r.rec.Headers[:0]}
	r.body = nil
	r.count, r.index = 0, 1
}

func (r *Reader) parse(body []byte) (reason string) {
	delta, offset, p := recordPrefix(body)
	if p == 0 {
		return "malformed timestamp or offset delta"
	}
	rec := &r.rec
	rec.Offset = r.base + int64(offset)
	rec.Timestamp = r.timestamp
	if !r.appended {
		rec.Timestamp += delta
	}
	if rec.Key, p = nullable(body, p); p == 0 {
		return "malformed key"
	}
	if rec.Value, p = nullable(body, p); p == 0 {
		return "malformed value"
	}
	count, p := varint32(body, p)
	if p == 0 || count < 0 || int(count) > (len(body)-p)/2 { // the smallest header has two bytes
		return "malformed number of headers"
	}
	headers := rec.Headers[:0]
	if int(count) > cap(headers) {
		headers = slices.Grow(headers, int(count))
	}
	headers = headers[:count]
	rec.Headers = headers
	for i := range headers {
		h := &headers[i]
		if h.Key, p = nullable(body, p); p == 0 || h.Key == nil {
			return "malformed header key"
		}
		if h.Value, p = nullable(body, p); p == 0 {
			return "malformed header value"
		}
	}
	if p != len(body) {
		return "bytes after its last header"
	}
	return ""
}

// recordPrefix reads the deltas with which a record begins; p is where its key does, 0 if they are malformed.
func recordPrefix(body []byte) (timestamp int64, offset int32, p int) {
	if timestamp, p = varint64(body, 1); p == 0 { // behind the record's attributes, which are not used
		return 0, 0, 0
	}
	offset, p = varint32(body, p)
	return timestamp, offset, p
}

// nullable reads bytes behind their length at b[p] and returns them and the position after them, 0 if they are
// malformed. The length -1 is nil; bytes of length 0 are not nil.
func nullable(b []byte, p int) ([]byte, int) {
	n, p := varint32(b, p)
	if p == 0 || n < -1 || int(n) > len(b)-p {
		return nil, 0
	}
	if n < 0 {
		return nil, p
	}
	end := p + int(n)
	return b[p:end:end], end
}

// FirstAt returns the offset and the timestamp of the first record whose timestamp is ts or later, as ListOffsets asks;
// ok is false when there is none, which the header alone tells. With ts = MaxTimestamp it is the first of the latest
// records. limit is as for Reader.Reset.
func (b Batch) FirstAt(ts int64, limit int) (offset, timestamp int64, ok bool, err error) {
	latest := b.MaxTimestamp()
	if latest < ts {
		return -1, -1, false, nil
	}
	if b.Count() < 1 {
		return -1, -1, false, nil
	}
	appended := b.Attributes().LogAppendTime()
	if appended && int64(b.Count()) == int64(b.LastOffsetDelta())+1 {
		return b.BaseOffset(), latest, true, nil
	}
	var f inflater
	defer f.close()
	if err := f.open(b.Attributes().Codec(), b.records(), limit); err != nil {
		return -1, -1, false, err
	}
	base := b.BaseTimestamp()
	for i := range b.Count() {
		body, err := f.next()
		if err != nil {
			return -1, -1, false, atRecord(err, i)
		}
		delta, offset, p := recordPrefix(body)
		if p == 0 {
			return -1, -1, false, &Error{Kind: ErrInvalid, Record: i, Reason: "malformed timestamp or offset delta"}
		}
		t := base + delta
		if appended {
			t = latest
		}
		if t >= ts {
			return b.BaseOffset() + int64(offset), t, true, nil
		}
	}
	return -1, -1, false, nil
}
