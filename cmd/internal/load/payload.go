package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Every payload begins with a header that the checks read back:
//
//	 0        4               12          16              24
//	+--------+---------------+-----------+---------------+--------
//	| "cvb1" | run id        | connection| sequence      | filler
//	+--------+---------------+-----------+---------------+--------
//
// all numbers big endian; the sequence counts the messages of the connection from 0.
const (
	headerSize  = 24
	headerMagic = "cvb1"
	seqOffset   = 16
	noiseSize   = 6 // bytes of a reading that differ from message to message
)

// Filler is what follows the header of a payload.
type Filler string

// The fillers. A reading is what sensors send: the same words in every message, a few digits that differ; it compresses
// well, as real readings do. Random bytes do not compress.
const (
	FillReading Filler = "reading"
	FillRandom  Filler = "random"
)

// stamp is a header that was read back.
type stamp struct {
	run  uint64
	conn uint32
	seq  int64
}

// parseStamp reads the header of a payload.
func parseStamp(payload []byte) (stamp, bool) {
	if len(payload) < headerSize || string(payload[:4]) != headerMagic {
		return stamp{}, false
	}
	return stamp{
		run:  binary.BigEndian.Uint64(payload[4:]),
		conn: binary.BigEndian.Uint32(payload[12:]),
		seq:  int64(binary.BigEndian.Uint64(payload[seqOffset:])),
	}, true
}

// newPayload is the payload of a connection's messages with sequence 0. noise is where, behind the header, bytes differ
// from message to message, from and to exclusive.
func newPayload(size int, run uint64, conn uint32, fill Filler) (payload []byte, noiseFrom, noiseTo int) {
	payload = make([]byte, 0, max(size, headerSize))
	payload = append(payload, headerMagic...)
	payload = binary.BigEndian.AppendUint64(payload, run)
	payload = binary.BigEndian.AppendUint32(payload, conn)
	payload = binary.BigEndian.AppendUint64(payload, 0)
	if fill == FillRandom {
		payload = append(payload, make([]byte, max(size-headerSize, 0))...)
		return payload[:size], min(headerSize, size), size
	}
	text := fmt.Sprintf(`{"n":"urn:dev:lamp-%06d:temperature","u":"Cel","gw":"cabinet-1","q":"ok","t":1760000000,"v":2`, conn)
	payload = append(payload, text...)
	noiseFrom = len(payload)
	payload = append(payload, "000000}"...)
	for len(payload) < size {
		payload = append(payload, ' ')
	}
	return payload[:size], min(noiseFrom, size), min(noiseFrom+noiseSize, size)
}

// noise is a small generator of digits (xorshift64): a call costs a few nanoseconds.
type noise uint64

func (n *noise) next() uint64 {
	x := uint64(*n)
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	*n = noise(x)
	return x
}

// digits overwrites b with digits.
func (n *noise) digits(b []byte) {
	x := n.next()
	for i := range b {
		b[i] = '0' + byte(x&7)
		x >>= 3
	}
}

// bytes overwrites b with random bytes.
func (n *noise) bytes(b []byte) {
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, n.next())
		b = b[8:]
	}
	x := n.next()
	for i := range b {
		b[i] = byte(x)
		x >>= 8
	}
}

// ErrTopicPattern is returned for a pattern that makes no usable topics.
var ErrTopicPattern = errors.New("topic pattern")

// topicPattern names the topics of a connection: {c} stands for the connection's number, {t} for the number of one of its
// topics.
type topicPattern string

func (p topicPattern) check(connections, topics int) error {
	rest := strings.NewReplacer("{c}", "", "{t}", "").Replace(string(p))
	switch {
	case p == "" || strings.ContainsAny(rest, "+#{}\x00"):
		return fmt.Errorf("%w %q: a topic without wildcards, in which {c} and {t} may stand", ErrTopicPattern, string(p))
	case topics > 1 && !strings.Contains(string(p), "{t}"):
		return fmt.Errorf("%w %q: %d topics per connection need {t} in it", ErrTopicPattern, string(p), topics)
	case len(p.topic(connections, topics)) > 1024:
		return fmt.Errorf("%w: topics of more than 1024 bytes", ErrTopicPattern)
	}
	return nil
}

func (p topicPattern) topic(conn, topic int) string {
	return strings.NewReplacer("{c}", fmt.Sprintf("%05d", conn), "{t}", fmt.Sprintf("%05d", topic)).Replace(string(p))
}

// filter is a filter that matches all topics of the pattern.
func (p topicPattern) filter() string {
	levels := strings.Split(string(p), "/")
	for i, l := range levels {
		if strings.Contains(l, "{c}") || strings.Contains(l, "{t}") {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}
