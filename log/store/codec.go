package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrVersion says that data was written in another version of the format.
var ErrVersion = errors.New("written in another version of the format")

var errTruncated = errors.New("truncated")

// Operations change the State beside the batches of their group.
const (
	opCreate = 1 // a partition comes into being
	opDrop   = 2 // a partition and its records are gone
	opStart  = 3 // records before an offset are gone
)

type op struct {
	kind   byte
	info   PartitionInfo // only ID for opDrop and opStart
	offset int64
}

func (o op) encode() []byte {
	b := []byte{o.kind}
	b = binary.BigEndian.AppendUint32(b, o.info.ID)
	switch o.kind {
	case opCreate:
		b = appendInfo(b, o.info)
	case opStart:
		b = binary.BigEndian.AppendUint64(b, uint64(o.offset))
	}
	return b
}

func decodeOp(b []byte) (op, error) {
	r := reader{b: b}
	o := op{kind: r.byte()}
	o.info.ID = r.u32()
	switch o.kind {
	case opCreate:
		o.info = r.info(o.info.ID)
	case opDrop:
	case opStart:
		o.offset = r.i64()
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
		p := s.Partitions[id]
		b = binary.BigEndian.AppendUint32(b, id)
		b = appendInfo(b, p.PartitionInfo)
		b = binary.BigEndian.AppendUint64(b, uint64(p.Start))
		b = binary.BigEndian.AppendUint64(b, uint64(p.Next))
		b = binary.BigEndian.AppendUint32(b, uint32(len(p.Epochs))) //nolint:gosec // one per leader change
		for _, e := range p.Epochs {
			b = binary.BigEndian.AppendUint32(b, uint32(e.Epoch))
			b = binary.BigEndian.AppendUint64(b, uint64(e.Start))
		}
		producers := make([]int64, 0, len(p.Producers))
		for id := range p.Producers {
			producers = append(producers, id)
		}
		slices.Sort(producers)
		b = binary.BigEndian.AppendUint32(b, uint32(len(producers))) //nolint:gosec // at most maxProducers
		for _, id := range producers {
			pr := p.Producers[id]
			b = binary.BigEndian.AppendUint64(b, uint64(id))
			b = binary.BigEndian.AppendUint16(b, uint16(pr.Epoch))
			b = append(b, byte(len(pr.Batches))) //nolint:gosec // at most producerWindow
			for _, d := range pr.Batches {
				b = binary.BigEndian.AppendUint32(b, uint32(d.BaseSequence))
				b = binary.BigEndian.AppendUint32(b, uint32(d.LastSequence))
				b = binary.BigEndian.AppendUint64(b, uint64(d.BaseOffset))
				b = binary.BigEndian.AppendUint64(b, uint64(d.NextOffset))
			}
		}
	}
	return seal(stateMagic, b)
}

func decodeState(b []byte) (*State, error) {
	body, err := unseal(stateMagic, b)
	if err != nil {
		return nil, err
	}
	r := reader{b: body}
	s := newState()
	s.NextID = r.u32()
	for range r.count(46) {
		p := &PartitionState{}
		p.PartitionInfo = r.info(r.u32())
		p.Start, p.Next = r.i64(), r.i64()
		for range r.count(12) {
			p.Epochs = append(p.Epochs, EpochStart{int32(r.u32()), r.i64()}) //nolint:gosec // written from an int32
		}
		if n := r.count(11); n > 0 {
			p.Producers = make(map[int64]*Producer, n)
			for range n {
				id := r.i64()
				pr := &Producer{Epoch: int16(r.u16())} //nolint:gosec // written from an int16
				for range min(int(r.byte()), producerWindow) {
					pr.Batches = append(pr.Batches, Produced{int32(r.u32()), int32(r.u32()), r.i64(), r.i64()}) //nolint:gosec // written from int32
				}
				p.Producers[id] = pr
			}
		}
		if r.err != nil {
			return nil, r.err
		}
		s.Partitions[p.ID] = p
	}
	return s, r.end()
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
