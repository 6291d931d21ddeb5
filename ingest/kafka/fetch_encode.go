package kafka

import (
	"encoding/binary"
)

// fetchHead is what an answer to Fetch says beside its partitions.
type fetchHead struct {
	version int16
	code    errorCode
	session int32
	// nullAborted: the list of aborted transactions is null, as for those who read uncommitted records, not empty.
	nullAborted bool
	brokers     []brokerAddress // that hints point to
}

// appendFetch encodes the answer, of version 4 and later, without the bytes of the records: those stay where they are and
// are spliced in.
func (w *writer) appendFetch(h *fetchHead, parts []*fetchPart) {
	flexible := h.version >= 12
	b := appendInt32(w.buf, 0) // throttle time
	if h.version >= 7 {
		b = appendInt16(b, int16(h.code))
		b = appendInt32(b, h.session)
	}
	b = appendLen(b, countTopics(parts), flexible)
	for len(parts) > 0 {
		n := sameTopic(parts)
		if h.version >= 13 {
			b = append(b, parts[0].id[:]...)
		} else {
			b = appendText(b, parts[0].topic, flexible)
		}
		b = appendLen(b, n, flexible)
		for _, p := range parts[:n] {
			b = w.appendFetchPart(b, h, p, flexible)
		}
		if flexible {
			b = append(b, 0)
		}
		parts = parts[n:]
	}
	if flexible {
		b = appendBrokers(b, h)
	}
	w.buf = b
}

func (w *writer) appendFetchPart(b []byte, h *fetchHead, p *fetchPart, flexible bool) []byte {
	b = appendInt32(b, p.index)
	b = appendInt16(b, int16(p.code))
	b = appendInt64(b, p.hw)
	b = appendInt64(b, p.lso)
	if h.version >= 5 {
		b = appendInt64(b, p.start)
	}
	aborted := 0
	if h.nullAborted {
		aborted = -1
	}
	b = appendLen(b, aborted, flexible)
	if h.version >= 11 {
		b = appendInt32(b, -1) // preferred read replica
	}
	b = appendLen(b, p.size, flexible)
	for _, batch := range p.batches {
		w.cuts = append(w.cuts, cut{len(b), batch})
	}
	if !flexible {
		return b
	}
	diverged, hinted := h.version >= 12 && p.diverged(), h.version >= 12 && p.hint >= 0
	tags := byte(0)
	if diverged {
		tags++
	}
	if hinted {
		tags++
	}
	b = append(b, tags)
	if diverged {
		b = append(b, 0, 4+8+1)
		b = appendInt32(b, p.divergeEpoch)
		b = appendInt64(b, p.divergeAt)
		b = append(b, 0)
	}
	if hinted {
		b = append(b, 1, 4+4+1)
		b = appendInt32(b, p.hint)
		b = appendInt32(b, p.hintEpoch)
		b = append(b, 0)
	}
	return b
}

// appendBrokers encodes the tagged fields at the end of an answer: where the brokers are that hints point to (v16).
func appendBrokers(b []byte, h *fetchHead) []byte {
	if h.version < 16 || len(h.brokers) == 0 {
		return append(b, 0)
	}
	field := appendLen(nil, len(h.brokers), true)
	for _, br := range h.brokers {
		field = appendInt32(field, br.id)
		field = appendText(field, br.host, true)
		field = appendInt32(field, br.port)
		if br.rack == nil {
			field = append(field, 0)
		} else {
			field = appendText(field, *br.rack, true)
		}
		field = append(field, 0)
	}
	b = append(b, 1, 0)
	b = binary.AppendUvarint(b, uint64(len(field)))
	return append(b, field...)
}

func countTopics(parts []*fetchPart) int {
	n := 0
	for len(parts) > 0 {
		parts = parts[sameTopic(parts):]
		n++
	}
	return n
}

// sameTopic returns how many of the first partitions are of one topic.
func sameTopic(parts []*fetchPart) int {
	n := 1
	for n < len(parts) && parts[n].topic == parts[0].topic && parts[n].id == parts[0].id {
		n++
	}
	return n
}

// The primitive types of the protocol. Lengths and counts are one more as an unsigned varint in flexible versions, and
// -1 stands for null.

func appendInt16(b []byte, v int16) []byte {
	return binary.BigEndian.AppendUint16(b, uint16(v))
}

func appendInt32(b []byte, v int32) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(v))
}

func appendInt64(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(v))
}

func appendLen(b []byte, n int, flexible bool) []byte {
	if flexible {
		return binary.AppendUvarint(b, uint64(n+1)) //nolint:gosec // n is -1 at least
	}
	return appendInt32(b, int32(n)) //nolint:gosec // an answer is smaller than 2 GiB
}

func appendText(b []byte, s string, flexible bool) []byte {
	if flexible {
		b = binary.AppendUvarint(b, uint64(len(s)+1))
	} else {
		b = appendInt16(b, int16(len(s))) //nolint:gosec // it came in a string of the protocol
	}
	return append(b, s...)
}
