package mqttc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Control packet types as they stand in the upper four bits of the first byte (section 2.2.1).
const (
	TypeConnect     = 1
	TypeConnack     = 2
	TypePublish     = 3
	TypePuback      = 4
	TypeSubscribe   = 8
	TypeSuback      = 9
	TypeUnsubscribe = 10
	TypeUnsuback    = 11
	TypePingreq     = 12
	TypePingresp    = 13
	TypeDisconnect  = 14
)

// Limits of the format.
const (
	MaxRemainingLength = 268_435_455 // bytes after the fixed header (section 2.2.3)
	MaxString          = 65_535      // bytes of a topic, filter, client id, user name or password
	MaxPacketID        = 65_535      // packet ids run from 1
)

// Errors of the decoder. A broken packet makes the connection useless: the stream has no mark to resume at.
var (
	ErrMalformed = errors.New("malformed packet")
	ErrTooLarge  = errors.New("packet too large")
)

// Packet is one control packet; Body lies in the buffer it was read into and is valid until the next read.
type Packet struct {
	Type  byte // TypeConnect ...
	Flags byte // the lower four bits of the first byte
	Body  []byte
}

// Split returns the first whole packet of buf and how many bytes it takes there. n is 0 when more bytes are needed. limit
// caps the whole packet, so that a hostile length costs nothing.
func Split(buf []byte, limit int) (p Packet, n int, err error) {
	length, head := 0, 1
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return Packet{}, 0, fmt.Errorf("%w: remaining length of more than 4 bytes", ErrMalformed)
		}
		if head >= len(buf) {
			return Packet{}, 0, nil
		}
		b := buf[head]
		head++
		length |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			break
		}
	}
	if head+length > limit {
		return Packet{}, 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, head+length, limit)
	}
	if len(buf) < head+length {
		return Packet{}, 0, nil
	}
	return Packet{Type: buf[0] >> 4, Flags: buf[0] & 0x0f, Body: buf[head : head+length : head+length]}, head + length, nil
}

// Message is an application message as it arrived. Its slices lie in the reading buffer.
type Message struct {
	Topic    []byte
	Payload  []byte
	PacketID uint16 // 0 with QoS 0
	QoS      byte
	Dup      bool
	Retain   bool
}

// ParsePublish reads a PUBLISH packet (section 3.3).
func ParsePublish(p Packet) (Message, error) {
	m := Message{QoS: p.Flags >> 1 & 3, Dup: p.Flags&8 != 0, Retain: p.Flags&1 != 0}
	if p.Type != TypePublish || m.QoS == 3 {
		return Message{}, fmt.Errorf("%w: PUBLISH with flags %#x", ErrMalformed, p.Flags)
	}
	topic, rest, ok := cutString(p.Body)
	if !ok {
		return Message{}, fmt.Errorf("%w: PUBLISH shorter than its topic", ErrMalformed)
	}
	m.Topic, m.Payload = topic, rest
	if m.QoS > 0 {
		if len(rest) < 2 {
			return Message{}, fmt.Errorf("%w: PUBLISH without a packet id", ErrMalformed)
		}
		m.PacketID, m.Payload = binary.BigEndian.Uint16(rest), rest[2:]
		if m.PacketID == 0 {
			return Message{}, fmt.Errorf("%w: packet id 0", ErrMalformed)
		}
	}
	return m, nil
}

// cutString takes a length-prefixed string off the front of b.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

// Credentials are what CONNECT carries to be let in; empty ones are left out.
type Credentials struct {
	Username string
	Password string
}

// AppendConnect appends a CONNECT with a clean session (section 3.1). keepAlive is in seconds, 0 switches it off. Client
// id, user name and password must not be longer than MaxString.
func AppendConnect(dst []byte, clientID string, keepAlive uint16, c Credentials) []byte {
	flags, length := byte(0x02), 10+2+len(clientID)
	if c.Username != "" {
		flags |= 0x80
		length += 2 + len(c.Username)
	}
	if c.Username != "" && c.Password != "" {
		flags |= 0x40
		length += 2 + len(c.Password)
	}
	dst = appendHeader(dst, TypeConnect<<4, length)
	dst = append(dst, 0, 4, 'M', 'Q', 'T', 'T', 4, flags)
	dst = binary.BigEndian.AppendUint16(dst, keepAlive)
	dst = appendString(dst, clientID)
	if flags&0x80 != 0 {
		dst = appendString(dst, c.Username)
	}
	if flags&0x40 != 0 {
		dst = appendString(dst, c.Password)
	}
	return dst
}

// PublishSize is the size on the wire of a PUBLISH.
func PublishSize(topic, payload int, qos byte) int {
	n := 2 + topic + payload
	if qos > 0 {
		n += 2
	}
	return 1 + lengthSize(n) + n
}

// AppendPublish appends a PUBLISH (section 3.3). id counts only for QoS 1. The topic must not be longer than MaxString and
// the whole must stay below MaxRemainingLength.
func AppendPublish(dst []byte, topic, payload []byte, qos byte, id uint16) []byte {
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	dst = appendHeader(dst, TypePublish<<4|qos<<1, n)
	dst = appendString(dst, topic)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	return append(dst, payload...)
}

// SetDup marks an encoded PUBLISH as sent again (section 3.3.1.1).
func SetDup(packet []byte) { packet[0] |= 0x08 }

// PacketIDOffset is where the packet id stands in a PUBLISH of QoS 1 that AppendPublish made.
func PacketIDOffset(topic, payload int) int {
	return 1 + lengthSize(2+topic+2+payload) + 2 + topic
}

// AppendSubscribe appends a SUBSCRIBE for one filter (section 3.8).
func AppendSubscribe(dst []byte, id uint16, filter string, qos byte) []byte {
	dst = appendHeader(dst, TypeSubscribe<<4|2, 2+2+len(filter)+1)
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = appendString(dst, filter)
	return append(dst, qos)
}

// AppendPuback appends a PUBACK (section 3.4).
func AppendPuback(dst []byte, id uint16) []byte {
	return append(dst, TypePuback<<4, 2, byte(id>>8), byte(id))
}

// AppendEmpty appends a packet without a body: PINGREQ, PINGRESP or DISCONNECT.
func AppendEmpty(dst []byte, packetType byte) []byte { return append(dst, packetType<<4, 0) }

func appendHeader(dst []byte, first byte, length int) []byte {
	dst = append(dst, first)
	for length >= 0x80 {
		dst = append(dst, byte(length)|0x80)
		length >>= 7
	}
	return append(dst, byte(length))
}

func appendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = append(dst, byte(len(s)>>8), byte(len(s)))
	return append(dst, s...)
}

func lengthSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}
