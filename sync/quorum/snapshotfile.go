package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/culvert-mq/culvert/sync/meta"
)

// The stored form of a snapshot. FORMAT.md has the diagram.
const (
	snapshotMagic    = "CVLTSNAP"
	snapshotVersion  = 1
	snapshotHead     = 48
	maxConfiguration = 64 << 10
	maxSnapshot      = snapshotHead + maxConfiguration + meta.MaxStateBytes
)

var errSnapshot = errors.New("damaged snapshot")

// snapshot is what a snapshot's file holds.
type snapshot struct {
	index, term        uint64 // of the last entry in it
	configurationIndex uint64
	configuration      raft.Configuration
	state              []byte // as meta.State.Encode writes it
}

func (s *snapshot) encode() ([]byte, error) {
	conf := raft.EncodeConfiguration(s.configuration)
	if len(conf) > maxConfiguration || len(s.state) > meta.MaxStateBytes {
		return nil, fmt.Errorf("snapshot of %d and %d bytes is too large", len(conf), len(s.state))
	}
	b := make([]byte, 0, snapshotHead+len(conf)+len(s.state))
	b = append(b, snapshotMagic...)
	b = binary.BigEndian.AppendUint32(b, snapshotVersion)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, s.index)
	b = binary.BigEndian.AppendUint64(b, s.term)
	b = binary.BigEndian.AppendUint64(b, s.configurationIndex)
	b = binary.BigEndian.AppendUint32(b, uint32(len(conf)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.state)))
	b = append(b, conf...)
	b = append(b, s.state...)
	binary.BigEndian.PutUint32(b[12:], snapshotCRC(b))
	return b, nil
}

// snapshotCRC covers magic and version, and everything behind the CRC.
func snapshotCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:])
}

// decodeSnapshot reads a file. The snapshot shares memory with b.
func decodeSnapshot(b []byte) (*snapshot, error) {
	bad := func(format string, args ...any) (*snapshot, error) {
		return nil, fmt.Errorf("%w: %s", errSnapshot, fmt.Sprintf(format, args...))
	}
	switch {
	case len(b) < snapshotHead:
		return bad("%d bytes", len(b))
	case string(b[:8]) != snapshotMagic:
		return bad("it does not begin with %s", snapshotMagic)
	case binary.BigEndian.Uint32(b[12:]) != snapshotCRC(b):
		return bad("CRC mismatch")
	}
	switch v := binary.BigEndian.Uint32(b[8:]); {
	case v == 0:
		return bad("version 0")
	case v > snapshotVersion:
		return nil, newerFormat("snapshot", int(v))
	}
	conf, state := uint64(binary.BigEndian.Uint32(b[40:])), uint64(binary.BigEndian.Uint32(b[44:]))
	if conf > maxConfiguration || conf+state != uint64(len(b)-snapshotHead) {
		return bad("lengths %d and %d in %d bytes", conf, state, len(b))
	}
	s := &snapshot{
		index:              binary.BigEndian.Uint64(b[16:]),
		term:               binary.BigEndian.Uint64(b[24:]),
		configurationIndex: binary.BigEndian.Uint64(b[32:]),
		state:              b[snapshotHead+conf:],
	}
	var err error
	if s.configuration, err = decodeConfiguration(b[snapshotHead : snapshotHead+conf]); err != nil {
		return bad("%v", err)
	}
	if s.index == 0 || s.configurationIndex > s.index {
		return bad("index %d, configuration at %d", s.index, s.configurationIndex)
	}
	return s, nil
}

// decodeConfiguration is raft's, which panics.
func decodeConfiguration(b []byte) (c raft.Configuration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("raft configuration: %v", p)
		}
	}()
	c = raft.DecodeConfiguration(slices.Clone(b))
	return c, nil
}
