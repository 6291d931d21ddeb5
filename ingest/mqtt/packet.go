package mqtt

import "strconv"

// packetType is the type of a control packet: the upper four bits of its first byte (MQTT 3.1.1 section 2.2.1).
type packetType byte

const (
	typeConnect     packetType = 1
	typeConnack     packetType = 2
	typePublish     packetType = 3
	typePuback      packetType = 4
	typePubrec      packetType = 5
	typePubrel      packetType = 6
	typePubcomp     packetType = 7
	typeSubscribe   packetType = 8
	typeSuback      packetType = 9
	typeUnsubscribe packetType = 10
	typeUnsuback    packetType = 11
	typePingreq     packetType = 12
	typePingresp    packetType = 13
	typeDisconnect  packetType = 14
)

// String returns the name that the standard has for the type.
func (p packetType) String() string {
	switch p {
	case typeConnect:
		return "CONNECT"
	case typeConnack:
		return "CONNACK"
	case typePublish:
		return "PUBLISH"
	case typePuback:
		return "PUBACK"
	case typePubrec:
		return "PUBREC"
	case typePubrel:
		return "PUBREL"
	case typePubcomp:
		return "PUBCOMP"
	case typeSubscribe:
		return "SUBSCRIBE"
	case typeSuback:
		return "SUBACK"
	case typeUnsubscribe:
		return "UNSUBSCRIBE"
	case typeUnsuback:
		return "UNSUBACK"
	case typePingreq:
		return "PINGREQ"
	case typePingresp:
		return "PINGRESP"
	case typeDisconnect:
		return "DISCONNECT"
	}
	return "packet type " + strconv.Itoa(int(p))
}

// Versions by protocol level.
const (
	version31  = 3 // named MQIsdp
	version311 = 4
	version5   = 5
)

// Bits of a PUBLISH's first byte.
const (
	flagRetain = 0x01
	flagDup    = 0x08
)

// CONNACK return codes (section 3.2.2.3) and the one reason code of MQTT 5.0 that this server sends.
const (
	connAccepted         = 0x00
	connBadVersion       = 0x01
	connBadIdentifier    = 0x02
	connUnavailable      = 0x03
	reasonBadVersion5    = 0x84
	subackFailure        = 0x80
	maxRemainingLength   = 268_435_455 // four bytes of seven bits
	maxFixedHeader       = 5
	maxTopicBytes        = 65535                             // [MQTT-4.7.3-3]
	maxConnectPacketSize = maxFixedHeader + 10 + 5*(2+65535) // everything CONNECT can hold at full length
)

// fixedHeader is a decoded fixed header.
type fixedHeader struct {
	kind   packetType
	flags  byte // lower four bits of the first byte
	head   int  // bytes of the fixed header itself
	length int  // remaining length
}

// size is that of the whole packet.
func (h fixedHeader) size() int { return h.head + h.length }

// parseHeader decodes the fixed header at the beginning of b. ok is false when more bytes are needed. The remaining length
// must be encoded in the fewest bytes: 3.1.1 does not say so, 5.0 does, and no client does otherwise.
func parseHeader(b []byte) (h fixedHeader, ok bool, err error) {
	if len(b) < 2 {
		return h, false, nil
	}
	h.kind, h.flags = packetType(b[0]>>4), b[0]&0x0f
	if c := b[1]; c < 0x80 {
		h.head, h.length = 2, int(c)
		return h, true, nil
	}
	n := int(b[1] & 0x7f)
	for i := 2; i < maxFixedHeader; i++ {
		if i == len(b) {
			return h, false, nil
		}
		c := b[i]
		n |= int(c&0x7f) << (7 * (i - 1))
		if c < 0x80 {
			if c == 0 {
				return h, false, violation(h.kind, "section 2.2.3", "the remaining length is not encoded in the fewest bytes")
			}
			h.head, h.length = i+1, n
			return h, true, nil
		}
	}
	return h, false, violation(h.kind, "section 2.2.3", "the remaining length has more than four bytes")
}

// checkFlags holds the first byte's lower bits against table 2.2 of the standard, and refuses packet types that a client
// cannot send. PUBLISH is checked with its body.
func (h fixedHeader) checkFlags() error {
	want := byte(0)
	clause := "MQTT-2.2.2-1"
	switch h.kind {
	case typePublish:
		return nil
	case typePubrel:
		want, clause = 2, "MQTT-3.6.1-1"
	case typeSubscribe:
		want, clause = 2, "MQTT-3.8.1-1"
	case typeUnsubscribe:
		want, clause = 2, "MQTT-3.10.1-1"
	case typeDisconnect:
		clause = "MQTT-3.14.1-1"
	case typeConnect, typePuback, typePubrec, typePubcomp, typePingreq:
	default:
		return violation(h.kind, "MQTT-4.8.0-1", "no packet that a client may send")
	}
	if h.flags != want {
		return violation(h.kind, clause, "reserved flags of the fixed header are wrong [MQTT-2.2.2-2]")
	}
	return nil
}
