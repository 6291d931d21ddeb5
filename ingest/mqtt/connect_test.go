package mqtt

import (
	"bytes"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestConnectIsAcknowledgedFirst(t *testing.T) {
	// [MQTT-3.1.4-4] CONNACK with code 0, [MQTT-3.2.0-1] before anything else, even if packets follow CONNECT at once.
	s := start(t)
	c := s.dial()
	c.send(connectBytes("a", 0), []byte{0xc0, 0}, subscribeBytes(3, 0, "x"), publishBytes("x", "1", 1, false, 9))
	c.expect(connackOK, []byte{0xd0, 0})
	got := map[string]bool{}
	for range 3 {
		p, err := c.packet()
		if err != nil {
			t.Fatal(err)
		}
		got[string(p)] = true
	}
	for _, want := range [][]byte{{0x90, 3, 0, 3, 0}, puback(9), publishBytes("x", "1", 0, false, 0)} {
		if !got[string(want)] {
			t.Errorf("% x is missing", want)
		}
	}
}

func TestConnectInAllLengths(t *testing.T) {
	s := start(t)
	// [MQTT-3.1.3-5] 1 to 23 bytes of letters and digits, [MQTT-3.1.3-1] fields in order, [MQTT-3.1.2-19]
	// [MQTT-3.1.2-21] user name and password where announced; a password is any bytes.
	alphabet := "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for n := 1; n <= 23; n++ {
		c := s.dial()
		c.send(connectWith(connectClean|connectWill|connectUser|connectPassword|1<<3|connectRetain, 1, str(alphabet[n:2*n]), str("t"), str(""), str("user"), str("\xff\x00")))
		c.expect(connackOK)
		c.send([]byte{0xe0, 0})
	}
	c := s.dial()
	c.send(connectWith(connectClean|connectUser, 0, str("only-user"), str("")))
	c.expect(connackOK)
}

func TestConnectWithEveryFieldAtFullLength(t *testing.T) {
	s := start(t)
	long := strings.Repeat("x", 65535)
	c := s.dial()
	c.send(connectWith(connectClean|connectWill|connectUser|connectPassword, 0, str("a"), str(long), str(long), str(long), str(long)))
	c.expect(connackOK)
	c.send([]byte{0xe0, 0})
	c.expectClosed()
}

func TestUnsupportedVersionsAreRefused(t *testing.T) {
	s := start(t)
	for _, level := range []byte{0, 1, 2, 3, 6, 0x84, 255} {
		// [MQTT-3.1.2-2] CONNACK 0x01, [MQTT-3.2.2-4] without session present, [MQTT-3.2.2-5] and the connection is
		// closed.
		c := s.dial()
		c.send(pack(0x10, str("MQTT"), []byte{level, 2, 0, 0}, str("a")))
		c.expect([]byte{0x20, 2, 0, 1})
		c.expectClosed()
	}
	c := s.dial()
	c.send(pack(0x10, str("MQIsdp"), []byte{4, 2, 0, 0}, str("a")))
	c.expect([]byte{0x20, 2, 0, 1})
	c.expectClosed()
	// MQTT 5.0 is told so in its own words.
	c = s.dial()
	c.send(pack(0x10, str("MQTT"), []byte{5, 2, 0, 0, 0}, str("a")), []byte{0xc0, 0})
	c.expect([]byte{0x20, 3, 0, 0x84, 0})
	c.expectClosed()
	if n := s.Stats().Sessions; n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func TestVersion31IsServed(t *testing.T) {
	s := start(t)
	c := s.dial()
	c.send(pack(0x10, str("MQIsdp"), []byte{3, 2, 0, 0}, str("old")))
	c.expect(connackOK)
	c.send(publishBytes("a", "b", 1, false, 1))
	c.expect(puback(1))
}

func TestMalformedConnectGetsNoConnack(t *testing.T) {
	// [MQTT-3.1.4-1] [MQTT-3.2.2-6]; the table of malformed packets has every kind of it.
	s := start(t)
	c := s.dial()
	c.send(connectWith(connectClean|connectReserved, 0, str("a")))
	c.expectClosed()
}

func TestRefusedConnectEndsEverything(t *testing.T) {
	// [MQTT-3.1.4-5] nothing after CONNECT is processed.
	s := start(t)
	c := s.dial()
	c.send(connectWith(0, 0, str("")), publishBytes("a", "x", 1, false, 1), []byte{0xc0, 0})
	// [MQTT-3.1.3-8] no identifier and clean session 0 ([MQTT-3.1.3-7]): 0x02.
	c.expect([]byte{0x20, 2, 0, 2})
	c.expectClosed()
	if got := s.log.all("mqtt"); len(got) > 0 {
		t.Error("a message after a refused CONNECT was stored")
	}
	// [MQTT-3.1.3-9] an identifier that the server does not take: 0x02.
	c = s.dial()
	c.send(connectBytes(strings.Repeat("x", maxClientID+1), 0))
	c.expect([]byte{0x20, 2, 0, 2})
	c.expectClosed()
	c = s.dial()
	c.send(connectBytes(strings.Repeat("x", maxClientID), 0))
	c.expect(connackOK)
}

func TestEmptyIdentifierIsAssigned(t *testing.T) {
	// [MQTT-3.1.3-6] every client without an identifier gets its own.
	s := start(t)
	for range 3 {
		s.connect("")
	}
	if n := s.Stats().Sessions; n != 3 {
		t.Errorf("%d sessions", n)
	}
}

func TestIdentifierWithBOMIsKept(t *testing.T) {
	// [MQTT-1.5.3-3] EF BB BF is U+FEFF and is not stripped, [MQTT-4.7.3-4] nothing is normalised.
	s := start(t)
	a := s.connect("\xef\xbb\xbfid")
	b := s.connect("id")
	a.expectNothing()
	b.send(subscribeBytes(1, 0, "\xef\xbb\xbft", "e\u0301"))
	b.expect([]byte{0x90, 4, 0, 1, 0, 0})
	for _, topic := range []string{"t", "\xef\xbb\xbft", "\u00e9", "e\u0301"} {
		a.send(publishBytes(topic, "x", 1, false, 1))
		a.expect(puback(1))
	}
	b.expectMessages("\xef\xbb\xbft=x qos0 retain=false", "e\u0301=x qos0 retain=false")
	b.expectNothing()
	if got := s.log.all("mqtt"); string(got[1].Key) != "\xef\xbb\xbft" {
		t.Errorf("key %q", got[1].Key)
	}
}

func TestUncleanSessionIsServedAndNotKept(t *testing.T) {
	// [MQTT-3.2.2-3] session present is 0 when nothing is stored; [MQTT-4.1.0-2] the session lasts as long as the connection.
	s := start(t)
	for range 2 {
		c := s.dial()
		c.send(connectWith(0, 0, str("keeper")))
		c.expect(connackOK)
		c.expectNothing() // no subscription is left of the first time
		c.send(subscribeBytes(1, 1, "k"))
		c.expect([]byte{0x90, 3, 0, 1, 1})
		c.send(publishBytes("k", "x", 1, false, 1))
		c.t = t
		p, err := c.packet()
		q, err2 := c.packet()
		if err != nil || err2 != nil || len(p)+len(q) != 4+len(publishBytes("k", "x", 1, false, 1)) {
			t.Fatalf("% x % x %v %v", p, q, err, err2)
		}
		c.send([]byte{0xe0, 0})
		c.expectClosed()
		eventually(t, "the end of the session", func() bool { return s.Stats().Sessions == 0 && s.Stats().Subscriptions == 0 })
	}
}

func TestCleanSessionStartsAnew(t *testing.T) {
	// [MQTT-3.1.2-6] [MQTT-3.1.4-3] state of an earlier session is not used again, [MQTT-3.2.2-1] session present is 0,
	// [MQTT-3.1.2-7] but retained messages stay.
	s := start(t)
	c := s.connect("a")
	c.send(subscribeBytes(1, 0, "x"), publishBytes("r", "kept", 1, true, 1))
	c.expect([]byte{0x90, 3, 0, 1, 0}, puback(1))
	c.send([]byte{0xe0, 0})
	c.expectClosed()
	eventually(t, "the end of the session", func() bool { return s.Stats().Subscriptions == 0 })
	c = s.connect("a")
	c.send(publishBytes("x", "1", 1, false, 2))
	c.expect(puback(2))
	c.expectNothing()
	c.send(subscribeBytes(1, 0, "r"))
	c.expect([]byte{0x90, 3, 0, 1, 0})
	c.expectMessages("r=kept qos0 retain=true")
}

func TestSecondConnectionWithAnIdentifierTakesOver(t *testing.T) {
	// [MQTT-3.1.4-2] the older connection is closed, and its will published; [MQTT-3.1.3-2] the identifier is what counts.
	s := start(t)
	watch := s.connect("watch")
	watch.send(subscribeBytes(1, 0, "will/#"))
	watch.expect([]byte{0x90, 3, 0, 1, 0})
	first := s.dial()
	first.send(connectWith(connectClean|connectWill, 0, str("same"), str("will/same"), str("gone")))
	first.expect(connackOK)
	second := s.connect("same")
	first.expectClosed()
	watch.expectMessages("will/same=gone qos0 retain=false")
	second.expectNothing()
	if n := s.Stats().Sessions; n != 2 {
		t.Errorf("%d sessions", n)
	}
	s.connect("Same").expectNothing()
	second.expectNothing()
}

func TestDisconnectDropsTheWill(t *testing.T) {
	// [MQTT-3.14.4-3] [MQTT-3.1.2-10]; without a will flag there is none, [MQTT-3.1.2-12].
	s := start(t)
	c := s.dial()
	c.send(connectWith(connectClean|connectWill, 0, str("a"), str("will"), str("x")))
	c.expect(connackOK)
	c.send([]byte{0xe0, 0}, publishBytes("after", "disconnect", 0, false, 0))
	c.expectClosed()
	d := s.connect("b")
	d.nc.Close()
	eventually(t, "the ends", func() bool { return s.Stats().Connections == 0 })
	if got := s.log.all("mqtt"); len(got) > 0 {
		t.Errorf("stored %s", describe(got[0]))
	}
}

func TestWillIsPublished(t *testing.T) {
	// [MQTT-3.1.2-8] when the connection ends without DISCONNECT: closed, or a violation; [MQTT-3.1.2-9] with its QoS,
	// [MQTT-3.1.2-16] [MQTT-3.1.2-17] and its RETAIN.
	for _, c := range []struct {
		name   string
		flags  byte
		end    func(*client)
		record string
	}{
		{"closed", 0, func(c *client) { c.nc.Close() }, `w="bye" mqtt.topic=w mqtt.client=a`},
		{"violation", 1 << 3, func(c *client) { c.send([]byte{0xf0, 0}) }, `w="bye" mqtt.topic=w mqtt.qos=1 mqtt.client=a`},
		{"QoS 2 PUBLISH", 2 << 3, func(c *client) { c.send([]byte{0x34, 5, 0, 1, 'a', 0, 1}) }, `w="bye" mqtt.topic=w mqtt.qos=2 mqtt.client=a`},
		{"retained", connectRetain, func(c *client) { c.nc.Close() }, `w="bye" mqtt.topic=w mqtt.retain=true mqtt.client=a`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			watch := s.connect("watch")
			watch.send(subscribeBytes(1, 1, "w"))
			watch.expect([]byte{0x90, 3, 0, 1, 1})
			cl := s.dial()
			cl.send(connectWith(connectClean|connectWill|c.flags, 0, str("a"), str("w"), str("bye")))
			cl.expect(connackOK)
			c.end(cl)
			if m := watch.message(); m.topic != "w" || m.payload != "bye" || m.qos != min(c.flags>>3&3, 1) || m.retain {
				t.Errorf("got %s", m)
			}
			if got := describe(s.log.all("mqtt")[0]); got != c.record {
				t.Errorf("stored %s\nwant   %s", got, c.record)
			}
			eventually(t, "the end of the connection", func() bool { return testutil.ToFloat64(s.metrics.Wills) == 1 })
			late := s.connect("late")
			late.send(subscribeBytes(1, 0, "w"))
			late.expect([]byte{0x90, 3, 0, 1, 0})
			if c.flags&connectRetain != 0 {
				late.expectMessages("w=bye qos0 retain=true")
			}
			late.expectNothing()
			if len(s.log.all("mqtt")) != 1 {
				t.Error("the will was published more than once")
			}
		})
	}
}

func TestPingIsAnswered(t *testing.T) {
	// [MQTT-3.12.4-1]
	s := start(t)
	c := s.connect("a")
	c.send(bytes.Repeat([]byte{0xc0, 0}, 500))
	for range 500 {
		c.expect([]byte{0xd0, 0})
	}
}

func TestClientsNeedNoExtension(t *testing.T) {
	// [MQTT-7.0.0-2] plain packets over [MQTT-7.1.1-1] TCP are all it takes; a packet may come in any pieces.
	s := start(t)
	c := s.dial()
	for _, b := range bytes.Join([][]byte{connectBytes("slow", 0), publishBytes("a/b", "payload", 1, false, 300), subscribeBytes(7, 1, "q")}, nil) {
		c.send([]byte{b})
	}
	c.expect(connackOK)
	seen := 0
	for range 2 {
		p, err := c.packet()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(p, puback(300)) || bytes.Equal(p, []byte{0x90, 3, 0, 7, 1}) {
			seen++
		}
	}
	if seen != 2 {
		t.Error("not all packets were answered")
	}
}
