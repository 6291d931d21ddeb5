package record

import (
	"fmt"
	"strings"
)

// Attributes is the 16-bit attribute field of a batch (KIP-98): bits 0-2 the codec, 3 the timestamp type, 4
// transactional, 5 control, 6 delete horizon; the others are unused and must be zero.
type Attributes int16

const (
	attrCodecMask     Attributes = 0x07
	attrLogAppendTime Attributes = 1 << 3
	attrTransactional Attributes = 1 << 4
	attrControl       Attributes = 1 << 5
	attrDeleteHorizon Attributes = 1 << 6
	// attrClient is what a producer may set.
	attrClient = attrCodecMask | attrTransactional
)

// Codec tells how the records of the batch are compressed. It may be a number that no codec has.
func (a Attributes) Codec() Codec { return Codec(a & attrCodecMask) }

// LogAppendTime tells that every record has the batch's max timestamp as its own, which the broker has set.
func (a Attributes) LogAppendTime() bool { return a&attrLogAppendTime != 0 }

// Transactional tells that the batch belongs to a transaction of its producer.
func (a Attributes) Transactional() bool { return a&attrTransactional != 0 }

// Control tells that the batch holds a transaction's marker and no records of users.
func (a Attributes) Control() bool { return a&attrControl != 0 }

// Codec is a compression type by its number in the attributes.
type Codec int8

// The codecs that a batch of magic 2 may have.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// String returns the codec's name as it stands in configurations ("none", "gzip", "snappy", "lz4", "zstd").
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec(%d)", int8(c))
}

// ParseCodec returns the codec of that name, in any case; "uncompressed", the word of compression.type, is None.
func ParseCodec(name string) (Codec, error) {
	switch strings.ToLower(name) {
	case "none", "uncompressed":
		return None, nil
	case "gzip":
		return Gzip, nil
	case "snappy":
		return Snappy, nil
	case "lz4":
		return LZ4, nil
	case "zstd":
		return Zstd, nil
	}
	return None, fmt.Errorf("%w: %q (one of none, gzip, snappy, lz4, zstd)", ErrCodec, name)
}
