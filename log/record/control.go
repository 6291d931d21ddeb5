package record

import "encoding/binary"

// Marker ends a producer's transaction in a partition (KIP-98): what a control batch of the transaction says.
type Marker struct {
	Commit           bool  // else the transaction was aborted
	CoordinatorEpoch int32 // of the transaction coordinator that wrote it
}

const (
	markerAbort  = 0
	markerCommit = 1
	// markerLimit bounds what a compressed control batch may grow to, in bytes. Brokers write 78 bytes, uncompressed.
	markerLimit = 4 << 10
)

// Marker returns the marker that b holds: that of the one record of a control batch, its key a version and a type, its
// value a version and the coordinator's epoch (big endian; int16, int16, int16, int32). Versions above 0 are read as
// long as they begin with these fields. ok is false for every other batch: one of users' records, another kind of
// control record, one that compaction has emptied, and bytes that are no batch at all.
func (b Batch) Marker() (m Marker, ok bool) {
	if len(b) < HeaderSize || !b.Attributes().Control() || b.Count() < 1 {
		return Marker{}, false
	}
	var f inflater
	defer f.close()
	if f.open(b.Attributes().Codec(), b.records(), markerLimit) != nil {
		return Marker{}, false
	}
	body, err := f.next()
	if err != nil {
		return Marker{}, false
	}
	_, _, p := recordPrefix(body)
	if p == 0 {
		return Marker{}, false
	}
	key, p := nullable(body, p)
	if p == 0 || len(key) < 4 || int8(key[0]) < 0 {
		return Marker{}, false
	}
	value, p := nullable(body, p)
	if p == 0 || len(value) < 6 || int8(value[0]) < 0 {
		return Marker{}, false
	}
	switch binary.BigEndian.Uint16(key[2:]) {
	case markerAbort:
	case markerCommit:
		m.Commit = true
	default:
		return Marker{}, false
	}
	m.CoordinatorEpoch = int32(binary.BigEndian.Uint32(value[2:]))
	return m, true
}

// NewMarker returns the control batch that ends a transaction of a producer at ts (milliseconds since 1970). Its base
// offset is 0, it has no leader epoch and, as all control batches, no sequence.
func NewMarker(producerID int64, producerEpoch int16, m Marker, ts int64) Batch {
	kind := uint16(markerAbort)
	if m.Commit {
		kind = markerCommit
	}
	key := binary.BigEndian.AppendUint16([]byte{0, 0}, kind)
	value := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(m.CoordinatorEpoch))
	var bl Builder
	bl.Append(ts, key, value, nil)
	b := bl.Finish(0, -1, None, nil)
	b.setAttributes(attrTransactional | attrControl)
	b.SetProducer(producerID, producerEpoch, -1)
	return b
}
