package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"

	"github.com/culvert-mq/culvert/sync/meta"
)

// The stored forms of the raft log's entries and of raft's own values. FORMAT.md has the diagrams.
const (
	entryVersion = 1
	entryHead    = 30 // version 1, type 1, term 8, appended at 8, data 4, extensions 4, CRC 4
	valueVersion = 1
	valueHead    = 5 // version 1, CRC 4

	// maxEntry bounds an entry's data: a command, or a configuration of raft, which is far smaller.
	maxEntry = meta.MaxCommandBytes
)

var (
	errEntry = errors.New("damaged log entry")
	errValue = errors.New("damaged value")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// newerFormat is what a stored thing of a later version is refused with. All formats are in their first.
func newerFormat(what string, version int) error {
	return &meta.NewerError{What: fmt.Sprintf("%s version %d", what, version), Known: "1"}
}

// encodeEntry returns the stored form of l.
func encodeEntry(l *raft.Log) []byte {
	dst := make([]byte, 0, entryHead+len(l.Data)+len(l.Extensions))
	dst = append(dst, entryVersion, byte(l.Type))
	dst = binary.BigEndian.AppendUint64(dst, l.Term)
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(at))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(l.Data)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(l.Extensions)))
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, l.Data...)
	dst = append(dst, l.Extensions...)
	binary.BigEndian.PutUint32(dst[26:], entryCRC(l.Index, dst))
	return dst
}

// entryCRC covers the index, everything before the CRC and everything after it.
func entryCRC(index uint64, b []byte) uint32 {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], index)
	crc := crc32.Update(0, castagnoli, key[:])
	crc = crc32.Update(crc, castagnoli, b[:26])
	return crc32.Update(crc, castagnoli, b[entryHead:])
}

// decodeEntry reads the entry of that index into l, which owns its memory afterwards.
func decodeEntry(index uint64, b []byte, l *raft.Log) error {
	if len(b) < entryHead {
		return fmt.Errorf("%w %d: %d bytes", errEntry, index, len(b))
	}
	if binary.BigEndian.Uint32(b[26:]) != entryCRC(index, b) {
		return fmt.Errorf("%w %d: CRC mismatch", errEntry, index)
	}
	if b[0] > entryVersion {
		return newerFormat("log entry", int(b[0]))
	}
	data, ext := uint64(binary.BigEndian.Uint32(b[18:])), uint64(binary.BigEndian.Uint32(b[22:]))
	if data+ext != uint64(len(b)-entryHead) || b[0] == 0 {
		return fmt.Errorf("%w %d: lengths %d and %d in %d bytes", errEntry, index, data, ext, len(b))
	}
	*l = raft.Log{
		Index: index,
		Type:  raft.LogType(b[1]),
		Term:  binary.BigEndian.Uint64(b[2:]),
	}
	if at := int64(binary.BigEndian.Uint64(b[10:])); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	rest := append([]byte(nil), b[entryHead:]...)
	if l.Data = rest[:data:data]; data == 0 {
		l.Data = nil
	}
	if ext > 0 {
		l.Extensions = rest[data:]
	}
	return nil
}

// encodeValue returns the stored form of one of raft's own values.
func encodeValue(key, value []byte) []byte {
	b := make([]byte, valueHead, valueHead+len(value))
	b[0] = valueVersion
	b = append(b, value...)
	binary.BigEndian.PutUint32(b[1:], valueCRC(key, b))
	return b
}

func valueCRC(key, b []byte) uint32 {
	crc := crc32.Update(0, castagnoli, key)
	crc = crc32.Update(crc, castagnoli, b[:1])
	return crc32.Update(crc, castagnoli, b[valueHead:])
}

// decodeValue returns a copy of the value.
func decodeValue(key, b []byte) ([]byte, error) {
	if len(b) < valueHead {
		return nil, fmt.Errorf("%w %.20q: %d bytes", errValue, key, len(b))
	}
	if binary.BigEndian.Uint32(b[1:]) != valueCRC(key, b) {
		return nil, fmt.Errorf("%w %.20q: CRC mismatch", errValue, key)
	}
	if b[0] > valueVersion {
		return nil, newerFormat("value", int(b[0]))
	}
	return append([]byte{}, b[valueHead:]...), nil
}
