package mqtt

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// subscribe sends SUBSCRIBE and wants every filter granted with the QoS asked for.
func (c *client) subscribe(qos byte, filters ...string) {
	c.t.Helper()
	c.send(subscribeBytes(1, qos, filters...))
	c.expect(appendSuback(nil, 1, bytes.Repeat([]byte{qos}, len(filters))))
}

// publish sends a message and waits for its PUBACK, if it is of QoS 1.
func (c *client) publish(topic, payload string, qos byte, retain bool) {
	c.t.Helper()
	c.send(publishBytes(topic, payload, qos, retain, 77))
	if qos == 1 {
		c.expect(puback(77))
		return
	}
	c.expectNothing()
}

func TestSubscribeIsAcknowledged(t *testing.T) {
	// [MQTT-3.8.4-1] SUBACK, [MQTT-3.8.4-2] [MQTT-2.3.1-7] with the identifier of the SUBSCRIBE, [MQTT-3.8.4-5] a code for each
	// filter, [MQTT-3.9.3-1] in their order, [MQTT-3.9.3-2] none but those of the standard, [MQTT-3.8.4-6] QoS 2 granted as 1,
	// [MQTT-3.8.4-4] one SUBACK for several filters.
	s := start(t)
	c := s.connect("a")
	c.send(pack(0x82, []byte{1, 44}, str("a"), []byte{2}, str("b/+"), []byte{0}, str("$share/g/t"), []byte{1}, str("c/#"), []byte{1}, str("a"), []byte{0}))
	c.expect([]byte{0x90, 7, 1, 44, 1, 0, 0x80, 1, 0})
	if n := s.Stats().Subscriptions; n != 3 {
		t.Errorf("%d subscriptions", n)
	}
	c.publish("a", "x", 1, false)
	c.expectMessages("a=x qos0 retain=false") // the last of equal filters counts
}

func TestWildcards(t *testing.T) {
	// [MQTT-3.8.3-2] wildcards are served, [MQTT-3.3.2-3] a message's topic matches the filter, section 4.7.
	s := start(t)
	for i, c := range []struct{ filter, yes, no string }{
		{"#", "a a/b / /a a/ ü", "$SYS $SYS/a"},
		{"+", "a ü", "a/b / $SYS"},
		{"+/+", "a/b /b a/ /", "a a/b/c $SYS/a"},
		{"a/#", "a a/ a/b a/b/c", "b/a aa a1/b"},
		{"a/+", "a/b a/", "a a/b/c"},
		{"+/b/#", "a/b a/b/c /b", "b a/c/b $x/b"},
		{"/+", "/a /", "a /a/b"},
		{"/#", "/ /a /a/b", "a"},
		{"$SYS/#", "$SYS $SYS/a", "SYS a"},
		{"$SYS/+", "$SYS/a", "$SYS/a/b"},
		{"a//b", "a//b", "a/b"},
		{"a b", "a b", "ab"},
	} {
		sub := s.connect(fmt.Sprint("sub", i))
		sub.subscribe(0, c.filter)
		pub := s.connect(fmt.Sprint("pub", i))
		// [MQTT-4.7.2-1] is among those that do not match.
		for _, topic := range append(strings.Split(c.no, " "), "stop") {
			if c.filter != "a b" && topic != "stop" && matchFilter(c.filter, topic) {
				t.Errorf("%s matches %s", c.filter, topic)
			}
			if topic != "stop" {
				pub.publish(topic, "no", 1, false)
			}
		}
		yes := strings.Split(c.yes, " ")
		if c.filter == "a b" {
			yes = []string{"a b"}
		}
		for _, topic := range yes {
			pub.publish(topic, "yes", 1, false)
			sub.expectMessages(topic + "=yes qos0 retain=false")
		}
		sub.expectNothing()
		sub.nc.Close()
		pub.nc.Close()
	}
}

func TestLongestTopic(t *testing.T) {
	// [MQTT-4.7.3-3] 65,535 bytes, for a topic and for a filter.
	s := start(t)
	long := strings.Repeat("x/y", maxTopicBytes/3)
	sub := s.connect("sub")
	sub.subscribe(1, long)
	s.live("sub")
	pub := s.connect("pub")
	for range 2 {
		pub.publish(long, "v", 1, true)
		sub.expectMessages(long + "=v qos1 retain=false")
	}
	late := s.connect("late")
	late.subscribe(0, long)
	late.expectMessages(long + "=v qos0 retain=true")
}

func TestDeliveryQoSIsTheLowerOfBoth(t *testing.T) {
	// [MQTT-3.8.4-6]; [MQTT-4.3.1-1] QoS 0 without DUP; [MQTT-2.3.1-5] and without identifier.
	s := start(t)
	pub := s.connect("pub")
	for granted := range byte(2) {
		for sent := range byte(2) {
			sub := s.connect("sub")
			sub.subscribe(granted, "t")
			pub.publish("t", "x", sent, false)
			m := sub.unacked()
			if m.qos != min(granted, sent) || m.dup || (m.id == 0) != (m.qos == 0) {
				t.Errorf("sent %d, granted %d: %s id %d dup %v", sent, granted, m, m.id, m.dup)
			}
			sub.nc.Close()
		}
	}
}

func TestOverlappingFiltersDeliverOnce(t *testing.T) {
	// [MQTT-3.3.5-1] with the highest QoS of those that match.
	s := start(t)
	sub := s.connect("sub")
	sub.subscribe(0, "a/b", "a/#")
	sub.subscribe(1, "+/b")
	pub := s.connect("pub")
	pub.publish("a/b", "1", 1, false)
	sub.expectMessages("a/b=1 qos1 retain=false")
	pub.publish("a/c", "2", 1, false)
	sub.expectMessages("a/c=2 qos0 retain=false")
	sub.expectNothing()
}

func TestEqualFilterReplaces(t *testing.T) {
	// [MQTT-3.8.4-3] the new QoS counts, retained messages come again, the flow is not interrupted.
	s := start(t)
	pub := s.connect("pub")
	pub.publish("a", "kept", 1, true)
	sub := s.connect("sub")
	for qos := range byte(2) {
		sub.subscribe(qos, "a")
		sub.expectMessages(fmt.Sprintf("a=kept qos%d retain=true", qos))
		pub.publish("a", "live", 1, false)
		sub.expectMessages(fmt.Sprintf("a=live qos%d retain=false", qos))
	}
	if n := s.Stats().Subscriptions; n != 1 {
		t.Errorf("%d subscriptions", n)
	}
}

func TestSubscriptionBeginsWithTheSubscribe(t *testing.T) {
	s := start(t)
	pub := s.connect("pub")
	for i := range 20 {
		pub.publish("a", fmt.Sprint("before ", i), 1, false)
		sub := s.connect("sub")
		sub.subscribe(1, "a")
		pub.publish("a", fmt.Sprint("after ", i), 1, false)
		sub.expectMessages(fmt.Sprintf("a=after %d qos1 retain=false", i))
		sub.nc.Close()
	}
}

func TestUnsubscribe(t *testing.T) {
	s := start(t)
	sub := s.connect("sub")
	sub.subscribe(0, "a/+", "a/b", "c")
	pub := s.connect("pub")
	// [MQTT-3.10.4-1] filters are compared character by character, [MQTT-3.10.4-5] UNSUBACK even if none was there,
	// [MQTT-3.10.4-4] with the identifier, [MQTT-3.10.4-6] one for several filters.
	sub.send(unsubscribeBytes(9, "a/#", "A/b", "+/b", "x"))
	sub.expect([]byte{0xb0, 2, 0, 9})
	pub.publish("a/b", "1", 1, false)
	sub.expectMessages("a/b=1 qos0 retain=false")
	sub.send(unsubscribeBytes(10, "a/+", "c", "c"))
	sub.expect([]byte{0xb0, 2, 0, 10})
	// [MQTT-3.10.4-2] no new messages of what was removed.
	pub.publish("a/x", "2", 1, false)
	pub.publish("c", "3", 1, false)
	pub.publish("a/b", "4", 1, false)
	sub.expectMessages("a/b=4 qos0 retain=false")
	sub.send(unsubscribeBytes(11, "a/b"))
	sub.expect([]byte{0xb0, 2, 0, 11})
	pub.publish("a/b", "5", 1, false)
	sub.expectNothing()
	if n := s.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}

func TestUnsubscribeLeavesWhatWasBegun(t *testing.T) {
	// [MQTT-3.10.4-3] the message is sent, and its PUBACK taken.
	s := start(t)
	sub := s.connect("sub")
	sub.subscribe(1, "a")
	pub := s.connect("pub")
	pub.publish("a", "1", 1, false)
	m := sub.unacked()
	sub.send(unsubscribeBytes(2, "a"))
	sub.expect([]byte{0xb0, 2, 0, 2})
	sub.send(puback(m.id))
	sub.expectNothing()
}

func TestOutboundIdentifiersAreTheServersOwn(t *testing.T) {
	// [MQTT-2.3.1-4] [MQTT-4.3.2-1] an unused, non-zero identifier for each message, DUP 0; [MQTT-3.3.1-3] whatever
	// the publisher's were.
	s := start(t, func(c *Config) { c.MaxOutboundInflight = 65535 })
	both := s.connect("both")
	both.subscribe(1, "a")
	used := map[uint16]bool{}
	for i := range 300 {
		p := publishBytes("a", fmt.Sprint(i), 1, false, 7)
		p[0] |= flagDup
		both.send(p)
		for range 2 {
			b, err := both.packet()
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(b, puback(7)) {
				continue
			}
			if b[0] != 0x32 {
				t.Fatalf("% x", b)
			}
			m, err := parsePublish(b[0]&0xf, b[2:])
			if err != nil || m.id == 0 || used[m.id] {
				t.Fatalf("message %d: identifier %d, %v", i, m.id, err)
			}
			used[m.id] = true
			if i%3 == 0 {
				both.send(puback(m.id), puback(m.id)) // a second PUBACK for the same is ignored
				delete(used, m.id)
			}
		}
	}
}

func TestWindowGivesOutUnusedIdentifiers(t *testing.T) {
	var w window
	used := map[uint16]bool{}
	var order []uint16
	next := uint32(1)
	for step := range 100_000 {
		next = next*1664525 + 1013904223
		if r := next >> 16; len(order) == 0 || w.span() < 65535 && r%5 < 3 {
			id := w.take()
			if id == 0 || used[id] {
				t.Fatalf("step %d: identifier %d is in use", step, id)
			}
			used[id] = true
			order = append(order, id)
		} else {
			at := int(r) % min(len(order), 20)
			id := order[at]
			order = append(order[:at], order[at+1:]...)
			w.acknowledge(id)
			w.acknowledge(id)
			delete(used, id)
		}
		if w.span() < len(used) {
			t.Fatalf("step %d: span %d with %d in use", step, w.span(), len(used))
		}
	}
	for id := range used {
		w.acknowledge(id)
	}
	if w.span() != 0 {
		t.Fatalf("span %d with nothing in use", w.span())
	}
	for range 65535 {
		w.take()
	}
	w.acknowledge(0)
	if w.span() != 65535 {
		t.Fatal("an acknowledgement of 0 counts")
	}
}

func TestManySubscribersGetEveryMessage(t *testing.T) {
	// [MQTT-4.5.0-1]
	s := start(t)
	var subs []*client
	for i := range 50 {
		c := s.connect(fmt.Sprint("sub", i))
		c.subscribe(byte(i%2), []string{"a/#", "a/+", "#", "a/b"}[i%4])
		subs = append(subs, c)
	}
	pub := s.connect("pub")
	for i := range 50 {
		pub.publish("a/b", fmt.Sprint(i), 1, false)
	}
	for n, c := range subs {
		for i := range 50 {
			c.expectMessages(fmt.Sprintf("a/b=%d qos%d retain=false", i, n%2))
		}
	}
}

func TestTopicsThatComeToBeAreDelivered(t *testing.T) {
	s := start(t)
	sub := s.connect("sub")
	sub.subscribe(1, "#")
	pub := s.connect("pub")
	for i := range 10 {
		s.SetRoutes(defaultTable(t, fmt.Sprint("topic-", i)))
		pub.publish("x", fmt.Sprint(i), 1, false)
		sub.expectMessages(fmt.Sprintf("x=%d qos1 retain=false", i))
	}
}

func TestRecordsOfOtherProtocols(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxPacketBytes = 1000 })
	sub := s.connect("sub")
	sub.subscribe(1, "#")
	native := func(topic string, value []byte, headers ...Header) {
		app, err := s.log.Bind(t.Context(), topic, []byte("k"), headers)
		if err != nil {
			t.Fatal(err)
		}
		c, err := app.Append(1, value)
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
	}
	h := func(k, v string) Header { return Header{[]byte(k), []byte(v)} }
	native("mqtt", []byte("no header"))
	native("unrouted", []byte("x"), h(headerTopic, "t"))
	native("mqtt", []byte("wild"), h(headerTopic, "a/#"))
	native("mqtt", []byte("nul"), h(headerTopic, "a\x00"))
	native("mqtt", []byte("empty"), h(headerTopic, ""))
	native("mqtt", []byte("long"), h(headerTopic, strings.Repeat("x", 65536)))
	native("mqtt", make([]byte, 1000), h(headerTopic, "large"))
	native("mqtt", nil, h(headerTopic, "null"), h(headerQoS, "1"))
	native("mqtt", []byte("odd"), h(headerTopic, "odd"), h(headerQoS, "9"))
	sub.expectMessages("null= qos1 retain=false", "odd=odd qos0 retain=false")
	sub.expectNothing()
}

func TestHubRestsWithoutSubscribers(t *testing.T) {
	s := start(t)
	pub := s.connect("pub")
	pub.publish("t", "x", 1, false)
	part := s.log.topics["mqtt"][0]
	if s.log.watched() != 0 || part.reads != 0 {
		t.Error("the log is watched or read without subscribers")
	}
	sub := s.connect("sub")
	sub.subscribe(0, "t")
	if s.log.watched() != 1 {
		t.Error("the log is not watched with a subscriber")
	}
	sub.send([]byte{0xe0, 0})
	eventually(t, "the end of watching", func() bool { return s.log.watched() == 0 })
	pub.publish("t", "y", 1, false)
	if part.reads != 0 {
		t.Error("the log is read without subscribers")
	}
}

func TestSubscriptionsAreBounded(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxSubscriptions = 3 })
	c := s.connect("a")
	c.send(subscribeBytes(1, 1, "a", "b", "c", "d"))
	c.expect([]byte{0x90, 6, 0, 1, 1, 1, 1, 0x80})
	c.send(unsubscribeBytes(2, "a"))
	c.expect([]byte{0xb0, 2, 0, 2})
	c.send(subscribeBytes(3, 0, "b", "e", "f"))
	c.expect([]byte{0x90, 5, 0, 3, 0, 0, 0x80})

	s = start(t, func(c *Config) { c.MaxHeldBytes = 2000 })
	c = s.connect("a")
	c.send(subscribeBytes(1, 1, "short", strings.Repeat("x/", 1000), strings.Repeat("y", 900)))
	c.expect([]byte{0x90, 5, 0, 1, 1, 0x80, 0x80})
}
