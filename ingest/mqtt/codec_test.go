package mqtt

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRemainingLength(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, maxRemainingLength} {
		b := appendLength([]byte{0x30}, n)
		h, ok, err := parseHeader(b)
		if !ok || err != nil || h.length != n || h.head != len(b) || h.size() != n+len(b) {
			t.Errorf("%d: % x parses to %+v %v %v", n, b, h, ok, err)
		}
		for cut := range len(b) {
			if _, ok, err := parseHeader(b[:cut]); ok || err != nil {
				t.Errorf("%d: % x cut to %d: %v %v", n, b, cut, ok, err)
			}
		}
	}
}

func TestPublishRoundTrip(t *testing.T) {
	for _, topic := range []string{"a", "a/b/c", strings.Repeat("x", maxTopicBytes)} {
		for _, size := range []int{0, 1, 100, 127, 128, 20_000} {
			for qos := range byte(2) {
				for _, retain := range []bool{false, true} {
					payload := bytes.Repeat([]byte{'p'}, size)
					b, at := appendPublish([]byte("before"), topic, payload, qos, retain)
					if at >= 0 {
						putID(b, at, 0xbeef)
					}
					b = b[len("before"):]
					if len(b) != publishSize(topic, payload, qos) {
						t.Errorf("%d bytes, publishSize says %d", len(b), publishSize(topic, payload, qos))
					}
					h, ok, err := parseHeader(b)
					if !ok || err != nil || h.size() != len(b) {
						t.Fatalf("%+v %v %v", h, ok, err)
					}
					p, err := parsePublish(h.flags, b[h.head:])
					if err != nil || string(p.topic) != topic || !bytes.Equal(p.payload, payload) || p.qos != qos || p.retain != retain ||
						(p.id == 0xbeef) != (qos == 1) {
						t.Fatalf("%.20s %d %d %v: %v", topic, size, qos, retain, err)
					}
				}
			}
		}
	}
}

func TestProtocolErrorsTellPacketAndStatement(t *testing.T) {
	_, _, err := parseHeader([]byte{0x80, 0x80, 0x80, 0x80, 0x80})
	var pe *ProtocolError
	if !errors.As(err, &pe) || pe.Packet != typeSubscribe || err.Error() != "mqtt: SUBSCRIBE: the remaining length has more than four bytes [section 2.2.3]" {
		t.Errorf("%v", err)
	}
	for kind := range packetType(16) {
		if kind.String() == "" {
			t.Errorf("type %d has no name", kind)
		}
	}
}

// FuzzPackets feeds a stream of bytes to the decoders as a connection does.
func FuzzPackets(f *testing.F) {
	for _, m := range malformed {
		f.Add(m.packet)
	}
	f.Add(bytes.Join([][]byte{connectBytes("a", 1), publishBytes("t", "x", 1, true, 1), subscribeBytes(1, 1, "a/+", "#"), unsubscribeBytes(1, "x"), puback(1)}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			h, ok, err := parseHeader(b)
			if err == nil && ok {
				err = h.checkFlags()
			}
			if err != nil {
				mustBeTyped(t, err)
				return
			}
			if !ok || h.size() > len(b) {
				return
			}
			if h.length < 0 || h.length > maxRemainingLength || h.head < 2 || h.head > maxFixedHeader {
				t.Fatalf("%+v", h)
			}
			body := b[h.head:h.size()]
			b = b[h.size():]
			switch h.kind {
			case typeConnect:
				p, err := parseConnect(body)
				if _, ok := errors.AsType[unsupportedVersion](err); ok {
					return
				}
				if mustBeTyped(t, err) {
					return
				}
				if !utf8.Valid(p.clientID) || p.hasWill && (p.will.qos > 2 || checkTopicName(typeConnect, p.will.topic) != nil) {
					t.Fatalf("%+v", p)
				}
			case typePublish:
				p, err := parsePublish(h.flags, body)
				if mustBeTyped(t, err) {
					return
				}
				if p.qos > 2 || (p.id == 0) != (p.qos == 0) {
					t.Fatalf("%+v", p)
				}
				if p.qos < 2 {
					again, at := appendPublish(nil, string(p.topic), p.payload, p.qos, p.retain)
					if at >= 0 {
						putID(again, at, p.id)
					}
					_, _, _ = parseHeader(again)
					q, err := parsePublish(again[0]&0xf, again[len(again)-len(body):])
					if err != nil || !bytes.Equal(q.topic, p.topic) || !bytes.Equal(q.payload, p.payload) || q.id != p.id {
						t.Fatalf("%+v is %+v again: %v", p, q, err)
					}
				}
			case typeSubscribe, typeUnsubscribe:
				id, list, err := parseFilters(h.kind, body)
				if mustBeTyped(t, err) {
					return
				}
				n := 0
				for {
					filter, qos, ok := list.next()
					if !ok {
						break
					}
					n++
					if checkFilter(h.kind, filter) != nil || qos > 2 {
						t.Fatalf("%q %d", filter, qos)
					}
				}
				if id == 0 || n == 0 {
					t.Fatalf("identifier %d, %d filters", id, n)
				}
			case typePuback, typePubrec, typePubrel, typePubcomp:
				id, err := parseAck(h.kind, body)
				if !mustBeTyped(t, err) && id == 0 {
					t.Fatal("identifier 0")
				}
			}
		}
	})
}

// mustBeTyped tells whether there is an error, which has to be a *ProtocolError.
func mustBeTyped(t *testing.T, err error) bool {
	if err == nil {
		return false
	}
	var pe *ProtocolError
	if !errors.As(err, &pe) || pe.Clause == "" || pe.Reason == "" {
		t.Fatalf("not a *ProtocolError: %v", err)
	}
	return true
}

// FuzzFilter holds the check of filters and matching against what the standard says in words.
func FuzzFilter(f *testing.F) {
	for _, s := range [][2]string{{"#", "a"}, {"+/+", "/a"}, {"a/#", "a"}, {"$SYS/#", "$SYS/x"}, {"a+", "a"}, {"#/", "x"}, {"a//b", "a//b"}, {"+", "$"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		valid := filter != "" && utf8.ValidString(filter) && !strings.Contains(filter, "\x00")
		levels := strings.Split(filter, "/")
		for i, l := range levels {
			if strings.ContainsAny(l, "+#") && len(l) > 1 || l == "#" && i < len(levels)-1 {
				valid = false
			}
		}
		if (checkFilter(typeSubscribe, []byte(filter)) == nil) != valid {
			t.Fatalf("%q: valid is %v", filter, valid)
		}
		if !valid || checkTopicName(typePublish, []byte(topic)) != nil {
			return
		}
		want := naiveMatch(filter, topic)
		if matchFilter(filter, topic) != want {
			t.Fatalf("%q %q: want %v", filter, topic, want)
		}
		var tr trie[int]
		tr.add(filter, 1, 1)
		got := false
		tr.match(topic, func(int, byte) { got = true })
		if got != want {
			t.Fatalf("trie: %q %q: want %v", filter, topic, want)
		}
		var n retainedNode
		n.find(topic, true).at = &place{}
		got = false
		n.match(filter, true, func(*place) { got = true })
		if got != want {
			t.Fatalf("retained: %q %q: want %v", filter, topic, want)
		}
	})
}
