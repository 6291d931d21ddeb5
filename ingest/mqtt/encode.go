package mqtt

import "encoding/binary"

// Encoders append to dst and return it.

// appendLength appends a remaining length; n must not exceed maxRemainingLength.
func appendLength(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n&0x7f))
}

// appendConnack appends a CONNACK of 3.1.1. Session present is always 0: no session outlives its connection.
func appendConnack(dst []byte, code byte) []byte {
	return append(dst, byte(typeConnack)<<4, 2, 0, code)
}

// appendConnack5 appends a CONNACK as MQTT 5.0 has it, without properties.
func appendConnack5(dst []byte, reason byte) []byte {
	return append(dst, byte(typeConnack)<<4, 3, 0, reason, 0)
}

// appendAck appends a packet that holds a packet identifier alone: PUBACK, UNSUBACK.
func appendAck(dst []byte, kind packetType, id uint16) []byte {
	return binary.BigEndian.AppendUint16(append(dst, byte(kind)<<4, 2), id)
}

// appendSuback appends a SUBACK with one return code for each filter, in their order.
func appendSuback(dst []byte, id uint16, codes []byte) []byte {
	dst = append(dst, byte(typeSuback)<<4)
	dst = appendLength(dst, 2+len(codes))
	dst = binary.BigEndian.AppendUint16(dst, id)
	return append(dst, codes...)
}

// appendPingresp appends a PINGRESP.
func appendPingresp(dst []byte) []byte {
	return append(dst, byte(typePingresp)<<4, 0)
}

// publishSize returns the size of the PUBLISH that appendPublish makes.
func publishSize(topic string, payload []byte, qos byte) int {
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	head := 2
	for l := n; l >= 0x80; l >>= 7 {
		head++
	}
	return head + n
}

// appendPublish appends a PUBLISH and returns the position of its packet identifier in dst, which is left 0, or -1 with
// QoS 0. DUP is 0 [MQTT-3.3.1-3]: within a connection of 3.1.1 nothing is sent twice.
func appendPublish(dst []byte, topic string, payload []byte, qos byte, retain bool) (out []byte, idAt int) {
	first := byte(typePublish)<<4 | qos<<1
	if retain {
		first |= flagRetain
	}
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	dst = append(dst, first)
	dst = appendLength(dst, n)
	dst = append(dst, byte(len(topic)>>8&0xff), byte(len(topic)&0xff))
	dst = append(dst, topic...)
	idAt = -1
	if qos > 0 {
		idAt = len(dst)
		dst = append(dst, 0, 0)
	}
	return append(dst, payload...), idAt
}

// putID writes a packet identifier into a packet.
func putID(packet []byte, at int, id uint16) { binary.BigEndian.PutUint16(packet[at:], id) }
