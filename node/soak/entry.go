package soak

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Kind says what the protocol promises about a source's records.
type Kind byte

const (
	// Device publishes over MQTT at QoS 1: at least once, in order within a connection.
	Device Kind = 'm'
	// Plain produces with acks=-1 and no idempotence, one request in flight: at least once, in order.
	Plain Kind = 'p'
	// Idempotent produces within one producer session, which outlives the broker's restarts: a batch that
	// is sent again because its response was lost keeps its sequence, so every record is stored exactly
	// once, in order. (A new session has no memory of the old one: nothing is promised across two.)
	Idempotent Kind = 'i'
)

// An Entry is what the value of a record tells about itself.
type Entry struct {
	Kind   Kind
	Source string // one stream of records, all in one partition
	Conn   int64  // the how-manieth connection of a device; 0 for producers
	Seq    int64  // counts from 0 per source
}

// ErrEntry means that a value is none of ours.
var ErrEntry = errors.New("no soak entry")

// Append appends the entry as text, padded with dots to size bytes, to dst.
func (e Entry) Append(dst []byte, size int) []byte {
	at := len(dst)
	dst = fmt.Appendf(dst, "%c %s %d %d ", e.Kind, e.Source, e.Conn, e.Seq)
	for len(dst)-at < size {
		dst = append(dst, '.')
	}
	return dst
}

// ParseEntry reads what Append wrote. Errors: ErrEntry.
func ParseEntry(value []byte) (Entry, error) {
	part := strings.SplitN(string(value), " ", 5)
	if len(part) != 5 || len(part[0]) != 1 || strings.Trim(part[4], ".") != "" {
		return Entry{}, fmt.Errorf("%w: %.60q", ErrEntry, value)
	}
	e := Entry{Kind: Kind(part[0][0]), Source: part[1]}
	var err1, err2 error
	e.Conn, err1 = strconv.ParseInt(part[2], 10, 64)
	e.Seq, err2 = strconv.ParseInt(part[3], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return Entry{}, fmt.Errorf("%w: %.60q: %w", ErrEntry, value, err)
	}
	return e, nil
}
