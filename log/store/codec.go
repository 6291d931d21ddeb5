package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrVersion says that data was written in another version of the format.
var ErrVersion = errors.New("written in another version of the format")

var errTruncated = errors.New("truncated")

// Operations change the State beside the batches of their group.
const (
	opCreate  = 1 // a partition comes into being
	opDrop    = 2 // a partition and its records are gone
	opStart   = 3 // records before an offset are gone
	opReset   = 4 // the partition ends before an offset again, and its state is as given
	opEpoch   = 5 // a leader epoch begins at an offset
	opExpire  = 6 // producers that have written nothing since a time are forgotten
	opCleaned = 7 // compaction has gone up to an offset
	opHole    = 8 // records are lost with a damaged file
)

type op struct {
	kind   byte
	info   PartitionInfo   // only ID but for opCreate
	at     int64           // where among the batches of its commit it takes effect: see State.apply
	offset int64           // opStart, opEpoch, opCleaned: up to or at; opExpire: the time, ms; opHole: from
	to     int64           // opHole
	count  int64           // opHole: records
	gone   Gone            // opStart
	epoch  int32           // opEpoch
	state  *PartitionState // opReset
}

// cutAt returns the offset at and past which an operation takes batches out of the log: all, where it leaves none to read.
func (o op) cutAt() int64 {
	if o.state.Start >= o.state.Next {
		return math.MinInt64
	}
	return o.state.Next
}

func (o op) encode() []byte {
	b := []byte{o.kind}
	b = binary.BigEndian.AppendUint32(b, o.info.ID)
	i64 := func(all ...int64) {
		for _, v := range all {
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
	}
	i64(o.at)
	switch o.kind {
	case opCreate:
		b = appendInfo(b, o.info)
	case opStart:
		i64(o.offset, o.gone.Expired, o.gone.Lost)
	case opReset:
		b = o.state.append(b)
	case opEpoch:
		b = binary.BigEndian.AppendUint32(b, uint32(o.epoch))
		i64(o.offset)
	case opExpire, opCleaned:
		i64(o.offset)
	case opHole:
		i64(o.offset, o.to, o.count)
	}
	return b
}

func decodeOp(b []byte) (op, error) {
	r := reader{b: b}
	o := op{kind: r.byte()}
	o.info.ID = r.u32()
	o.at = r.i64()
	switch o.kind {
	case opCreate:
		o.info = r.info(o.info.ID)
	case opDrop:
	case opStart:
		o.offset, o.gone.Expired, o.gone.Lost = r.i64(), r.i64(), r.i64()
	case opReset:
		o.state = r.partition()
		if r.err == nil && o.state.ID != o.info.ID {
			return o, fmt.Errorf("state of partition %d in an operation on %d", o.state.ID, o.info.ID)
		}
	case opEpoch:
		o.epoch = int32(r.u32()) //nolint:gosec // written from an int32
		o.offset = r.i64()
	case opExpire, opCleaned:
		o.offset = r.i64()
	case opHole:
		o.offset, o.to, o.count = r.i64(), r.i64(), r.i64()
	default:
		return o, fmt.Errorf("operation of kind %d: %w", o.kind, ErrVersion)
	}
	return o, r.end()
}

func appendInfo(b []byte, p PartitionInfo) []byte {
	b = append(b, p.TopicID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(p.Index))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.Topic))) //nolint:gosec // CreatePartitions bounds the name
	return append(b, p.Topic...)
}

// blockVersion is that of every block there is; see FORMAT.md.
const blockVersion = 2

// seal wraps a body in magic, version, length and CRC32C.
func seal(magic string, body []byte) []byte {
	b := make([]byte, 0, len(body)+14)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, blockVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body))) //nolint:gosec // bodies are far below 4 GiB
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unseal checks what seal wrote and returns the body.
func unseal(magic string, b []byte) ([]byte, error) {
	if len(b) < 14 || string(b[:4]) != magic {
		return nil, fmt.Errorf("no %s block", magic)
	}
	n := int64(binary.BigEndian.Uint32(b[6:]))
	if n != int64(len(b)-14) {
		return nil, fmt.Errorf("%s block: %w", magic, errTruncated)
	}
	sum := len(b) - 4
	if crc32.Checksum(b[:sum], castagnoli) != binary.BigEndian.Uint32(b[sum:]) {
		return nil, fmt.Errorf("%s block: checksum does not match", magic)
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != blockVersion {
		return nil, fmt.Errorf("%s block of version %d: %w", magic, v, ErrVersion)
	}
	return b[10:sum], nil
}

const (
	stateMagic = "CVST"
)

func (s *State) encode() []byte {
	var b []byte
	b = binary.BigEndian.AppendUint32(b, s.NextID)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.Partitions))) //nolint:gosec // bounded by the ids
	for _, id := range s.ids() {
		b = s.Partitions[id].append(b)
	}
	return seal(stateMagic, b)
}

// append encodes the state of a partition; reader.partition reads it.
func (p *PartitionState) append(b []byte) []byte {
	i64 := func(all ...int64) {
		for _, v := range all {
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
	}
	count := func(n int) { b = binary.BigEndian.AppendUint32(b, uint32(n)) } //nolint:gosec // bounded by memory
	b = binary.BigEndian.AppendUint32(b, p.ID)
	b = appendInfo(b, p.PartitionInfo)
	i64(p.Start, p.Next, p.Cleaned, p.Expired, p.Lost, p.Damaged)
	count(len(p.Epochs))
	for _, e := range p.Epochs {
		b = binary.BigEndian.AppendUint32(b, uint32(e.Epoch))
		i64(e.Start)
	}
	count(len(p.Producers))
	for _, id := range slices.Sorted(maps.Keys(p.Producers)) {
		pr := p.Producers[id]
		i64(id)
		b = binary.BigEndian.AppendUint16(b, uint16(pr.Epoch))
		b = binary.BigEndian.AppendUint32(b, uint32(pr.CoordinatorEpoch))
		i64(pr.Time, pr.TxnStart)
		b = append(b, byte(len(pr.Batches))) //nolint:gosec // at most producerWindow
		for _, d := range pr.Batches {
			b = binary.BigEndian.AppendUint32(b, uint32(d.BaseSequence))
			b = binary.BigEndian.AppendUint32(b, uint32(d.LastSequence))
			i64(d.BaseOffset, d.NextOffset)
		}
	}
	count(len(p.Aborted))
	for _, a := range p.Aborted {
		i64(a.Producer, a.First, a.Last)
	}
	count(len(p.Holes))
	for _, h := range p.Holes {
		i64(h.From, h.To)
	}
	count(int(p.Truncated))
	count(len(p.Truncations))
	for _, t := range p.Truncations {
		count(int(t.Number))
		i64(t.Offset)
	}
	return b
}

func decodeState(b []byte) (*State, error) {
	body, err := unseal(stateMagic, b)
	if err != nil {
		return nil, err
	}
	r := reader{b: body}
	s := newState()
	s.NextID = r.u32()
	for range r.count(98) {
		p := r.partition()
		if r.err != nil {
			return nil, r.err
		}
		s.Partitions[p.ID] = p
	}
	return s, r.end()
}

func (r *reader) partition() *PartitionState {
	p := &PartitionState{}
	p.PartitionInfo = r.info(r.u32())
	for _, v := range []*int64{&p.Start, &p.Next, &p.Cleaned, &p.Expired, &p.Lost, &p.Damaged} {
		*v = r.i64()
	}
	for range r.count(12) {
		p.Epochs = append(p.Epochs, EpochStart{int32(r.u32()), r.i64()}) //nolint:gosec // written from an int32
	}
	if n := r.count(31); n > 0 {
		p.Producers = make(map[int64]*Producer, n)
		for range n {
			id := r.i64()
			pr := &Producer{Epoch: int16(r.u16()), CoordinatorEpoch: int32(r.u32()), Time: r.i64(), TxnStart: r.i64()} //nolint:gosec // written from these types
			for range min(int(r.byte()), producerWindow) {
				pr.Batches = append(pr.Batches, Produced{int32(r.u32()), int32(r.u32()), r.i64(), r.i64()}) //nolint:gosec // written from int32
			}
			p.Producers[id] = pr
		}
	}
	for range r.count(24) {
		p.Aborted = append(p.Aborted, Aborted{r.i64(), r.i64(), r.i64()})
	}
	for range r.count(16) {
		p.Holes = append(p.Holes, Hole{r.i64(), r.i64()})
	}
	p.Truncated = r.u32()
	for range r.count(12) {
		p.Truncations = append(p.Truncations, Truncation{r.u32(), r.i64()})
	}
	return p
}

// reader takes big endian fields off a buffer; after the first one that is not there, all are zero and err is set.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || len(r.b) < n {
		r.err = errTruncated
		return make([]byte, min(n, 16))
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte  { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) i64() int64  { return int64(r.u64()) } //nolint:gosec // two's complement on disk

// count reads a number of elements and refuses one that cannot fit into what is left at size bytes each.
func (r *reader) count(size int) int {
	n := r.u32()
	if r.err != nil || int64(n) > int64(len(r.b)/size) || n > math.MaxInt32 {
		r.err = errTruncated
		return 0
	}
	return int(n)
}

func (r *reader) info(id uint32) PartitionInfo {
	p := PartitionInfo{ID: id}
	copy(p.TopicID[:], r.take(16))
	p.Index = int32(r.u32()) //nolint:gosec // written from an int32
	n := int(r.u16())
	if r.err == nil && n <= len(r.b) {
		p.Topic = string(r.take(n))
	} else {
		r.err = errTruncated
	}
	return p
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		return fmt.Errorf("%d bytes too many", len(r.b))
	}
	return r.err
}
