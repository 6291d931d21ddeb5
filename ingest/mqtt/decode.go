package mqtt

import (
	"encoding/binary"
	"fmt"
)

// Decoders take the body of a packet (what follows the fixed header) and return views into it. They check everything
// that can be checked without a session, and allocate nothing but the error.

// cursor walks the body of a packet.
type cursor struct {
	kind packetType
	rest []byte
}

// uint16 takes a two-byte integer.
func (c *cursor) uint16(what string) (uint16, error) {
	if len(c.rest) < 2 {
		return 0, violation(c.kind, "MQTT-4.8.0-1", what+" is cut short")
	}
	v := binary.BigEndian.Uint16(c.rest)
	c.rest = c.rest[2:]
	return v, nil
}

// byte takes one byte.
func (c *cursor) byte(what string) (byte, error) {
	if len(c.rest) < 1 {
		return 0, violation(c.kind, "MQTT-4.8.0-1", what+" is missing")
	}
	v := c.rest[0]
	c.rest = c.rest[1:]
	return v, nil
}

// bytes takes a field that begins with its length of two bytes.
func (c *cursor) bytes(what string) ([]byte, error) {
	n, err := c.uint16(what)
	if err != nil {
		return nil, err
	}
	if len(c.rest) < int(n) {
		return nil, violation(c.kind, "MQTT-4.8.0-1", what+" is cut short")
	}
	v := c.rest[:n:n]
	c.rest = c.rest[n:]
	return v, nil
}

// text takes a UTF-8 string; clause is the statement that wants it to be one.
func (c *cursor) text(what, clause string) ([]byte, error) {
	v, err := c.bytes(what)
	if err == nil && !validText(v) {
		return nil, violation(c.kind, clause, what+" is not a valid string [MQTT-1.5.3-1] [MQTT-1.5.3-2]")
	}
	return v, err
}

// id takes a packet identifier.
func (c *cursor) id() (uint16, error) {
	id, err := c.uint16("the packet identifier")
	if err == nil && id == 0 {
		return 0, violation(c.kind, "MQTT-2.3.1-1", "the packet identifier is 0")
	}
	return id, err
}

// connectPacket is a decoded CONNECT.
type connectPacket struct {
	version   byte // protocol level
	clean     bool
	keepAlive uint16 // seconds; 0 is none
	clientID  []byte
	will      willPacket
	hasWill   bool
}

// willPacket is the will in a CONNECT.
type willPacket struct {
	topic, payload []byte
	qos            byte
	retain         bool
}

// unsupportedVersion is the error for a CONNECT of a protocol level that is not served.
type unsupportedVersion byte

func (v unsupportedVersion) Error() string {
	return fmt.Sprintf("mqtt: CONNECT with protocol level %d, which is not served [MQTT-3.1.2-2]", byte(v))
}

// Bits of the connect flags (section 3.1.2.3).
const (
	connectReserved = 0x01
	connectClean    = 0x02
	connectWill     = 0x04
	connectRetain   = 0x20
	connectPassword = 0x40
	connectUser     = 0x80
)

// parseConnect decodes CONNECT. unsupportedVersion is returned for an "MQTT" of another level, of which nothing further
// is looked at.
func parseConnect(body []byte) (connectPacket, error) {
	var p connectPacket
	c := cursor{typeConnect, body}
	name, err := c.bytes("the protocol name")
	if err != nil {
		return p, err
	}
	if string(name) != "MQTT" && string(name) != "MQIsdp" {
		return p, violation(typeConnect, "MQTT-3.1.2-1", "the protocol name is neither MQTT nor MQIsdp")
	}
	if p.version, err = c.byte("the protocol level"); err != nil {
		return p, err
	}
	want := byte(version311)
	if string(name) == "MQIsdp" {
		want = version31
	}
	if p.version != want {
		return p, unsupportedVersion(p.version)
	}
	flags, err := c.byte("the connect flags")
	if err != nil {
		return p, err
	}
	if err := checkConnectFlags(flags); err != nil {
		return p, err
	}
	p.clean = flags&connectClean != 0
	if p.keepAlive, err = c.uint16("the keepalive"); err != nil {
		return p, err
	}
	if p.clientID, err = c.text("the client identifier", "MQTT-3.1.3-4"); err != nil {
		return p, err
	}
	if flags&connectWill != 0 {
		p.hasWill = true
		p.will.qos = flags >> 3 & 3
		p.will.retain = flags&connectRetain != 0
		if p.will.topic, err = c.bytes("the will topic"); err != nil {
			return p, err
		}
		if err := checkTopicName(typeConnect, p.will.topic); err != nil {
			return p, err
		}
		if p.will.payload, err = c.bytes("the will message"); err != nil {
			return p, err
		}
	}
	if flags&connectUser != 0 {
		if _, err = c.text("the user name", "MQTT-3.1.3-11"); err != nil {
			return p, err
		}
	}
	if flags&connectPassword != 0 {
		if _, err = c.bytes("the password"); err != nil {
			return p, err
		}
	}
	if len(c.rest) > 0 {
		// Statements 18 and 20 forbid a user name and a password that the flags do not announce.
		return p, violation(typeConnect, "MQTT-3.1.4-1", "bytes follow the last field that the flags announce [MQTT-3.1.2-18] [MQTT-3.1.2-20]")
	}
	return p, nil
}

// checkConnectFlags holds the flags against each other.
func checkConnectFlags(flags byte) error {
	willQoS := flags >> 3 & 3
	switch {
	case flags&connectReserved != 0:
		return violation(typeConnect, "MQTT-3.1.2-3", "the reserved flag is set")
	case flags&connectWill == 0 && willQoS != 0:
		return violation(typeConnect, "MQTT-3.1.2-13", "a will QoS without a will [MQTT-3.1.2-11]")
	case flags&connectWill == 0 && flags&connectRetain != 0:
		return violation(typeConnect, "MQTT-3.1.2-15", "will retain without a will [MQTT-3.1.2-11]")
	case willQoS == 3:
		return violation(typeConnect, "MQTT-3.1.2-14", "the will QoS is 3")
	case flags&connectUser == 0 && flags&connectPassword != 0:
		return violation(typeConnect, "MQTT-3.1.2-22", "a password without a user name")
	}
	return nil
}

// publishPacket is a decoded PUBLISH. Whether its topic is a valid topic name is not checked (checkTopicName): the
// connection knows most topics already.
type publishPacket struct {
	topic, payload []byte
	id             uint16 // 0 with QoS 0
	qos            byte
	retain         bool
}

// parsePublish decodes a PUBLISH.
func parsePublish(flags byte, body []byte) (p publishPacket, err error) {
	p.qos = flags >> 1 & 3
	p.retain = flags&flagRetain != 0
	if len(body) < 2 {
		return p, violation(typePublish, "MQTT-3.3.2-1", "the topic name is missing")
	}
	n := int(body[0])<<8 | int(body[1])
	if len(body)-2 < n {
		return p, violation(typePublish, "MQTT-4.8.0-1", "the topic name is cut short")
	}
	p.topic, p.payload = body[2:2+n], body[2+n:]
	switch {
	case p.qos == 0:
		if flags&flagDup != 0 {
			return p, violation(typePublish, "MQTT-3.3.1-2", "DUP is set with QoS 0")
		}
		return p, nil
	case p.qos == 3:
		return p, violation(typePublish, "MQTT-3.3.1-4", "both QoS bits are set")
	case len(p.payload) < 2:
		return p, violation(typePublish, "MQTT-2.3.1-1", "the packet identifier is missing")
	}
	p.id = uint16(p.payload[0])<<8 | uint16(p.payload[1])
	p.payload = p.payload[2:]
	if p.id == 0 {
		return p, violation(typePublish, "MQTT-2.3.1-1", "the packet identifier is 0")
	}
	return p, nil
}

// parseAck decodes the body of PUBACK, PUBREC, PUBREL and PUBCOMP.
func parseAck(kind packetType, body []byte) (uint16, error) {
	c := cursor{kind, body}
	id, err := c.id()
	if err == nil && len(c.rest) > 0 {
		return 0, violation(kind, "MQTT-4.8.0-1", "bytes follow the packet identifier")
	}
	return id, err
}

// checkEmpty is for PINGREQ and DISCONNECT.
func checkEmpty(kind packetType, body []byte) error {
	if len(body) > 0 {
		return violation(kind, "MQTT-4.8.0-1", "the packet has a body")
	}
	return nil
}

// filters iterates over the payload of SUBSCRIBE or UNSUBSCRIBE, all of which checkFilters has found valid.
type filters struct{ cursor }

// next returns the next filter; the QoS is 0 in an UNSUBSCRIBE.
func (f *filters) next() (filter []byte, qos byte, ok bool) {
	if len(f.rest) == 0 {
		return nil, 0, false
	}
	filter, _ = f.bytes("a topic filter")
	if f.kind == typeSubscribe {
		qos, _ = f.byte("a requested QoS")
	}
	return filter, qos, true
}

// parseFilters decodes SUBSCRIBE and UNSUBSCRIBE. The whole packet is checked before the first filter takes effect, so
// that a malformed packet has none.
func parseFilters(kind packetType, body []byte) (id uint16, f filters, err error) {
	c := cursor{kind, body}
	if id, err = c.id(); err != nil {
		return 0, f, err
	}
	if len(c.rest) == 0 {
		clause := "MQTT-3.8.3-3"
		if kind == typeUnsubscribe {
			clause = "MQTT-3.10.3-2"
		}
		return 0, f, violation(kind, clause, "the packet has no topic filter")
	}
	f.cursor = c
	for len(c.rest) > 0 {
		filter, err := c.bytes("a topic filter")
		if err != nil {
			return 0, f, err
		}
		if err := checkFilter(kind, filter); err != nil {
			return 0, f, err
		}
		if kind != typeSubscribe {
			continue
		}
		qos, err := c.byte("a requested QoS")
		if err != nil {
			return 0, f, err
		}
		if qos > 2 {
			return 0, f, violation(kind, "MQTT-3-8.3-4", "a requested QoS is none of 0, 1 and 2")
		}
	}
	return id, f, nil
}
