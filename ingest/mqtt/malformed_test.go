package mqtt

import (
	"errors"
	"strings"
	"testing"
)

// malformed packets, each with the statement that it violates. The server closes the connection [MQTT-4.8.0-1]
// [MQTT-2.2.2-2] and names the statement.
var malformed = []struct {
	name   string
	clause string
	first  bool // sent instead of CONNECT, not after it
	packet []byte
}{
	{"length of five bytes", "section 2.2.3", false, []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}},
	{"length not in the fewest bytes", "section 2.2.3", false, []byte{0xc0, 0x80, 0x00}},
	{"length not in the fewest bytes, three of them", "section 2.2.3", false, []byte{0x30, 0x85, 0x80, 0x00}},
	{"type 0", "MQTT-4.8.0-1", false, []byte{0x00, 0}},
	{"type 15", "MQTT-4.8.0-1", false, []byte{0xf0, 0}},
	{"CONNACK from a client", "MQTT-4.8.0-1", false, []byte{0x20, 2, 0, 0}},
	{"SUBACK from a client", "MQTT-4.8.0-1", false, []byte{0x90, 3, 0, 1, 0}},
	{"UNSUBACK from a client", "MQTT-4.8.0-1", false, []byte{0xb0, 2, 0, 1}},
	{"PINGRESP from a client", "MQTT-4.8.0-1", false, []byte{0xd0, 0}},
	{"PINGREQ with flags", "MQTT-2.2.2-1", false, []byte{0xc1, 0}},
	{"PINGREQ with a body", "MQTT-4.8.0-1", false, []byte{0xc0, 1, 0}},
	{"PUBACK with flags", "MQTT-2.2.2-1", false, []byte{0x42, 2, 0, 1}},
	{"PUBACK too short", "MQTT-4.8.0-1", false, []byte{0x40, 1, 1}},
	{"PUBACK too long", "MQTT-4.8.0-1", false, []byte{0x40, 3, 0, 1, 0}},
	{"PUBACK with identifier 0", "MQTT-2.3.1-1", false, []byte{0x40, 2, 0, 0}},
	{"PUBREC of nothing", "MQTT-4.8.0-1", false, []byte{0x50, 2, 0, 1}},
	{"PUBREL of nothing", "MQTT-4.8.0-1", false, []byte{0x62, 2, 0, 1}},
	{"PUBREL with wrong flags", "MQTT-3.6.1-1", false, []byte{0x60, 2, 0, 1}},
	{"PUBCOMP of nothing", "MQTT-4.8.0-1", false, []byte{0x70, 2, 0, 1}},
	{"DISCONNECT with flags", "MQTT-3.14.1-1", false, []byte{0xe1, 0}},
	{"DISCONNECT with a body", "MQTT-4.8.0-1", false, []byte{0xe0, 1, 0}},

	{"first packet is PUBLISH", "MQTT-3.1.0-1", true, publishBytes("a", "b", 0, false, 0)},
	{"first packet is PINGREQ", "MQTT-3.1.0-1", true, []byte{0xc0, 0}},
	{"first packet is DISCONNECT", "MQTT-3.1.0-1", true, []byte{0xe0, 0}},
	{"second CONNECT", "MQTT-3.1.0-2", false, connectBytes("again", 0)},
	{"CONNECT with flags in the header", "MQTT-2.2.2-1", true, append([]byte{0x11}, connectBytes("a", 0)[1:]...)},
	{"protocol name", "MQTT-3.1.2-1", true, pack(0x10, str("MQTX"), []byte{4, 2, 0, 0}, str("a"))},
	{"protocol name in small letters", "MQTT-3.1.2-1", true, pack(0x10, str("mqtt"), []byte{4, 2, 0, 0}, str("a"))},
	{"protocol name cut short", "MQTT-4.8.0-1", true, pack(0x10, []byte{0, 9, 'M'})},
	{"protocol level missing", "MQTT-4.8.0-1", true, pack(0x10, str("MQTT"))},
	{"connect flags missing", "MQTT-4.8.0-1", true, pack(0x10, str("MQTT"), []byte{4})},
	{"keepalive missing", "MQTT-4.8.0-1", true, pack(0x10, str("MQTT"), []byte{4, 2, 0})},
	{"client identifier missing", "MQTT-4.8.0-1", true, connectWith(connectClean, 0)}, // [MQTT-3.1.3-3]
	{"reserved connect flag", "MQTT-3.1.2-3", true, connectWith(connectClean|connectReserved, 0, str("a"))},
	{"will QoS without will", "MQTT-3.1.2-13", true, connectWith(connectClean|1<<3, 0, str("a"))},                      // [MQTT-3.1.2-11]
	{"will retain without will", "MQTT-3.1.2-15", true, connectWith(connectClean|connectRetain, 0, str("a"))},          // [MQTT-3.1.2-11]
	{"will fields without will", "MQTT-3.1.4-1", true, connectWith(connectClean, 0, str("a"), str("t"), str("m"))},     // [MQTT-3.1.2-11]
	{"will QoS 3", "MQTT-3.1.2-14", true, connectWith(connectClean|connectWill|3<<3, 0, str("a"), str("t"), str("m"))}, //
	{"will without topic", "MQTT-4.8.0-1", true, connectWith(connectClean|connectWill, 0, str("a"))},                   // [MQTT-3.1.2-9]
	{"will without message", "MQTT-4.8.0-1", true, connectWith(connectClean|connectWill, 0, str("a"), str("t"))},       // [MQTT-3.1.2-9]
	{"empty will topic", "MQTT-4.7.3-1", true, connectWith(connectClean|connectWill, 0, str("a"), str(""), str("m"))},  //
	{"will topic with wildcard", "MQTT-3.3.2-2", true, connectWith(connectClean|connectWill, 0, str("a"), str("#"), str("m"))},
	{"will topic not UTF-8", "MQTT-3.1.3-10", true, connectWith(connectClean|connectWill, 0, str("a"), str("\xff"), str("m"))},
	{"password without user name", "MQTT-3.1.2-22", true, connectWith(connectClean|connectPassword, 0, str("a"), str("p"))},
	{"user name announced and missing", "MQTT-4.8.0-1", true, connectWith(connectClean|connectUser, 0, str("a"))},                          // [MQTT-3.1.2-19]
	{"user name not announced", "MQTT-3.1.4-1", true, connectWith(connectClean, 0, str("a"), str("u"))},                                    // [MQTT-3.1.2-18]
	{"password announced and missing", "MQTT-4.8.0-1", true, connectWith(connectClean|connectUser|connectPassword, 0, str("a"), str("u"))}, // [MQTT-3.1.2-21]
	{"password not announced", "MQTT-3.1.4-1", true, connectWith(connectClean|connectUser, 0, str("a"), str("u"), str("p"))},               // [MQTT-3.1.2-20]
	{"user name not UTF-8", "MQTT-3.1.3-11", true, connectWith(connectClean|connectUser, 0, str("a"), str("\xc0\x80"))},
	{"client identifier not UTF-8", "MQTT-3.1.3-4", true, connectBytes("\xff", 0)},
	{"client identifier with a surrogate", "MQTT-1.5.3-1", true, connectBytes("a\xed\xa0\x80", 0)},
	{"client identifier with U+0000", "MQTT-1.5.3-2", true, connectBytes("a\x00", 0)},

	{"PUBLISH without topic", "MQTT-3.3.2-1", false, []byte{0x30, 1, 0}},
	{"PUBLISH with a topic cut short", "MQTT-4.8.0-1", false, []byte{0x30, 3, 0, 2, 'a'}},
	{"PUBLISH with an empty topic", "MQTT-4.7.3-1", false, publishBytes("", "x", 0, false, 0)},
	{"PUBLISH topic not UTF-8", "MQTT-3.3.2-1", false, publishBytes("a\xff", "x", 0, false, 0)},
	{"PUBLISH topic overlong UTF-8", "MQTT-1.5.3-1", false, publishBytes("a\xc0\xaf", "x", 0, false, 0)},
	{"PUBLISH topic with a surrogate", "MQTT-1.5.3-1", false, publishBytes("\xed\xbf\xbf", "x", 0, false, 0)},
	{"PUBLISH topic with U+0000", "MQTT-4.7.3-2", false, publishBytes("a\x00b", "x", 0, false, 0)},
	{"PUBLISH topic with #", "MQTT-3.3.2-2", false, publishBytes("a/#", "x", 0, false, 0)},
	{"PUBLISH topic with +", "MQTT-4.7.1-1", false, publishBytes("a/+/b", "x", 0, false, 0)},
	{"PUBLISH with QoS 3", "MQTT-3.3.1-4", false, append([]byte{0x36}, publishBytes("a", "x", 1, false, 1)[1:]...)},
	{"PUBLISH QoS 0 with DUP", "MQTT-3.3.1-2", false, append([]byte{0x38}, publishBytes("a", "x", 0, false, 0)[1:]...)},
	{"PUBLISH with identifier 0", "MQTT-2.3.1-1", false, publishBytes("a", "x", 1, false, 0)},
	{"PUBLISH without identifier", "MQTT-2.3.1-1", false, []byte{0x32, 3, 0, 1, 'a'}},

	{"SUBSCRIBE with wrong flags", "MQTT-3.8.1-1", false, append([]byte{0x80}, subscribeBytes(1, 0, "a")[1:]...)},
	{"SUBSCRIBE with identifier 0", "MQTT-2.3.1-1", false, subscribeBytes(0, 0, "a")},
	{"SUBSCRIBE without identifier", "MQTT-4.8.0-1", false, []byte{0x82, 0}},
	{"SUBSCRIBE without filter", "MQTT-3.8.3-3", false, subscribeBytes(1, 0)},
	{"SUBSCRIBE without QoS", "MQTT-4.8.0-1", false, pack(0x82, []byte{0, 1}, str("a"))},
	{"SUBSCRIBE with QoS 3", "MQTT-3-8.3-4", false, subscribeBytes(1, 3, "a")},
	{"SUBSCRIBE with reserved bits", "MQTT-3-8.3-4", false, subscribeBytes(1, 0x11, "a")},
	{"SUBSCRIBE with a bad filter after a good one", "MQTT-4.7.1-2", false, subscribeBytes(1, 0, "a", "b#")},
	{"SUBSCRIBE with an empty filter", "MQTT-4.7.3-1", false, subscribeBytes(1, 0, "")},
	{"SUBSCRIBE filter not UTF-8", "MQTT-3.8.3-1", false, subscribeBytes(1, 0, "a\xfe")},
	{"SUBSCRIBE filter with U+0000", "MQTT-4.7.3-2", false, subscribeBytes(1, 0, "a\x00")},
	{"SUBSCRIBE # not at the end", "MQTT-4.7.1-2", false, subscribeBytes(1, 0, "a/#/b")},
	{"SUBSCRIBE # in a level", "MQTT-4.7.1-2", false, subscribeBytes(1, 0, "a/b#")},
	{"SUBSCRIBE + in a level", "MQTT-4.7.1-3", false, subscribeBytes(1, 0, "a/b+")},
	{"SUBSCRIBE + before text", "MQTT-4.7.1-3", false, subscribeBytes(1, 0, "+a/b")},

	{"UNSUBSCRIBE with wrong flags", "MQTT-3.10.1-1", false, append([]byte{0xa0}, unsubscribeBytes(1, "a")[1:]...)},
	{"UNSUBSCRIBE with identifier 0", "MQTT-2.3.1-1", false, unsubscribeBytes(0, "a")},
	{"UNSUBSCRIBE without filter", "MQTT-3.10.3-2", false, unsubscribeBytes(1)},
	{"UNSUBSCRIBE filter not UTF-8", "MQTT-3.10.3-1", false, unsubscribeBytes(1, "\xff")},
	{"UNSUBSCRIBE filter cut short", "MQTT-4.8.0-1", false, pack(0xa2, []byte{0, 1, 0, 5, 'a'})},
}

func TestMalformedPacketsEndTheConnection(t *testing.T) {
	s := start(t)
	bystander := s.connect("bystander")
	for _, c := range malformed {
		t.Run(c.name, func(t *testing.T) {
			cl := s.dial()
			cl.t = t
			if !c.first {
				cl.send(connectBytes("x", 0))
				cl.expect(connackOK)
			}
			from := len(s.logged.String())
			cl.send(c.packet)
			cl.expectClosed()
			eventually(t, "the log line", func() bool {
				return strings.Contains(s.logged.String()[from:], "connection ended")
			})
			if line := s.logged.String()[from:]; !strings.Contains(line, c.clause) {
				t.Errorf("the log does not name %s:\n%s", c.clause, line)
			}
		})
	}
	bystander.expectNothing()
	if got := s.log.all("mqtt"); len(got) > 0 {
		t.Errorf("malformed packets stored %d records", len(got))
	}
}

// Every way to cut a packet short must be an error or a wish for more, whatever its length says.
func TestBodiesCutShortAreErrors(t *testing.T) {
	for _, p := range [][]byte{
		connectWith(connectClean|connectWill|connectUser|connectPassword|1<<3, 60, str("id"), str("topic"), str("message"), str("user"), str("password")),
		subscribeBytes(1, 1, "a/b", "c/+"),
		unsubscribeBytes(1, "a/b", "c/+"),
	} {
		h, ok, err := parseHeader(p)
		if !ok || err != nil {
			t.Fatal(err)
		}
		body := p[h.head:]
		for n := range len(body) {
			var err error
			switch cut := body[:n]; h.kind {
			case typeConnect:
				_, err = parseConnect(cut)
			default:
				var f filters
				if _, f, err = parseFilters(h.kind, cut); err == nil && n != 2+3+2+boolInt(h.kind == typeSubscribe) {
					t.Errorf("%v cut to %d of %d bytes is accepted: %q", h.kind, n, len(body), f.rest)
					continue
				}
				if err == nil {
					continue // cut between two filters
				}
			}
			var pe *ProtocolError
			if !errors.As(err, &pe) || pe.Packet != h.kind || pe.Clause == "" {
				t.Errorf("%v cut to %d of %d bytes: %v", h.kind, n, len(body), err)
			}
		}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
