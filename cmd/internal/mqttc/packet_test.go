package mqttc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

func TestPublishRoundTripsAndPacketIDStandsWhereItIsSaid(t *testing.T) {
	for _, size := range []int{0, 1, 100, 118, 119, 120, 127, 128, 16_000, 16_384, 70_000} {
		topic, payload := []byte("city/north/lamp-17"), bytes.Repeat([]byte{'x'}, size)
		raw := AppendPublish(nil, topic, payload, 1, 4711)
		if len(raw) != PublishSize(len(topic), size, 1) {
			t.Fatalf("size %d: %d bytes, PublishSize says %d", size, len(raw), PublishSize(len(topic), size, 1))
		}
		if id := binary.BigEndian.Uint16(raw[PacketIDOffset(len(topic), size):]); id != 4711 {
			t.Fatalf("size %d: packet id %d at the offset", size, id)
		}
		SetDup(raw)
		for cut := range len(raw) {
			if cut > 10 && cut < len(raw)-10 {
				continue
			}
			if _, n, err := Split(raw[:cut], 1<<20); n != 0 || err != nil {
				t.Fatalf("size %d cut at %d: n=%d err=%v", size, cut, n, err)
			}
		}
		p, n, err := Split(raw, 1<<20)
		if err != nil || n != len(raw) {
			t.Fatalf("size %d: n=%d err=%v", size, n, err)
		}
		m, err := ParsePublish(p)
		if err != nil || !bytes.Equal(m.Topic, topic) || !bytes.Equal(m.Payload, payload) || m.PacketID != 4711 || m.QoS != 1 || !m.Dup || m.Retain {
			t.Fatalf("size %d: %+v %v", size, m.PacketID, err)
		}
	}
}

func TestSplitRefusesBeforeAllocating(t *testing.T) {
	for name, tc := range map[string]struct {
		raw  []byte
		want error
	}{
		"remaining length of five bytes": {[]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}, ErrMalformed},
		"remaining length past the cap":  {[]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, ErrTooLarge},
	} {
		if _, _, err := Split(tc.raw, 1<<20); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParsePublishRefusesBrokenPackets(t *testing.T) {
	for name, p := range map[string]Packet{
		"QoS 3":              {Type: TypePublish, Flags: 6, Body: []byte{0, 1, 'a', 0, 1}},
		"no topic length":    {Type: TypePublish, Body: []byte{0}},
		"topic past the end": {Type: TypePublish, Body: []byte{0, 9, 'a'}},
		"no packet id":       {Type: TypePublish, Flags: 2, Body: []byte{0, 1, 'a', 0}},
		"packet id 0":        {Type: TypePublish, Flags: 2, Body: []byte{0, 1, 'a', 0, 0}},
		"another packet":     {Type: TypePuback, Body: []byte{0, 1, 'a', 0, 1}},
	} {
		if _, err := ParsePublish(p); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConnectCarriesCredentials(t *testing.T) {
	raw := AppendConnect(nil, "lamp", 30, Credentials{Username: "u", Password: "pw"})
	want := "\x10\x17\x00\x04MQTT\x04\xc2\x00\x1e\x00\x04lamp\x00\x01u\x00\x02pw"
	if string(raw) != want {
		t.Errorf("got  %q\nwant %q", raw, want)
	}
}

func FuzzSplitAndParse(f *testing.F) {
	f.Add(AppendPublish(nil, []byte("a/b"), []byte("21.5"), 1, 7))
	f.Add(AppendPublish(nil, []byte("a"), nil, 0, 0))
	f.Add([]byte{0x40, 2, 0, 1, 0x40, 2, 0, 2})
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, raw []byte) {
		for len(raw) > 0 {
			p, n, err := Split(raw, 1<<16)
			if err != nil || n == 0 {
				return
			}
			if n < 2 || n > len(raw) || len(p.Body) > n-2 {
				t.Fatalf("n=%d of %d, body %d", n, len(raw), len(p.Body))
			}
			if m, err := ParsePublish(p); err == nil && len(m.Topic)+len(m.Payload) > len(p.Body) {
				t.Fatalf("more out than in: %+v", m)
			}
			raw = raw[n:]
		}
	})
}

func TestDialNamesARefusal(t *testing.T) {
	err := error(&RefusedError{Code: 5})
	if !strings.Contains(err.Error(), "not authorized") {
		t.Error(err)
	}
	if err = (&RefusedError{Code: 200}); !strings.Contains(err.Error(), "200") {
		t.Error(err)
	}
}
