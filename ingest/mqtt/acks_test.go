package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// stored waits until n messages have reached the log, committed or not.
func (s *testServer) stored(topic string, n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d messages in %s", n, topic), func() bool {
		s.log.mu.Lock()
		defer s.log.mu.Unlock()
		have := 0
		for _, p := range s.log.topics[topic] {
			p.mu.Lock()
			have += int(p.base) + len(p.records)
			p.mu.Unlock()
		}
		return have == n
	})
}

func TestNothingIsAcknowledgedBeforeItIsDurable(t *testing.T) {
	// [MQTT-3.3.4-1] [MQTT-4.3.2-2] [MQTT-2.3.1-6] PUBACK with the message's identifier, once the message is owned.
	s := startByHand(t)
	c := s.connect("a")
	c.send(publishBytes("t", "1", 1, false, 11), publishBytes("t", "2", 1, false, 12))
	s.stored("mqtt", 2)
	c.expectNothing()
	s.log.commit()
	c.expect(puback(11), puback(12))
	c.expectNothing()
	// After its PUBACK an identifier may be used again, and DUP means nothing [MQTT-4.3.2-2]: it is a new message.
	again := publishBytes("t", "3", 1, false, 11)
	again[0] |= flagDup
	c.send(again)
	s.stored("mqtt", 3)
	c.expectNothing()
	s.log.commit()
	c.expect(puback(11))
}

func TestAcknowledgementsKeepTheOrderOfReceipt(t *testing.T) {
	// [MQTT-4.6.0-2] even when a later commit ends first.
	s := startByHand(t)
	c := s.connect("a")
	var commits []*memCommit
	for i := range 4 {
		c.send(publishBytes("t", "x", 1, false, uint16(2*i+1)), publishBytes("u", "y", 1, false, uint16(2*i+2)))
		s.stored("mqtt", 2*i+2)
		commits = append(commits, s.log.pending()...)
	}
	for _, i := range []int{3, 1} {
		commits[i].complete(nil)
		c.expectNothing()
	}
	commits[0].complete(nil)
	c.expect(puback(1), puback(2), puback(3), puback(4))
	c.expectNothing()
	commits[2].complete(nil)
	c.expect(puback(5), puback(6), puback(7), puback(8))
	c.expectNothing()
}

func TestFailedCommitIsNotAcknowledged(t *testing.T) {
	// [MQTT-3.3.5-2] closed rather than acknowledged; what came before it and is durable is acknowledged.
	s := startByHand(t)
	c := s.connect("a")
	other := s.connect("b")
	c.send(publishBytes("t", "1", 1, false, 1))
	s.stored("mqtt", 1)
	s.log.cut()
	c.send(publishBytes("t", "2", 1, false, 2))
	other.send(publishBytes("t", "3", 0, false, 0))
	s.stored("mqtt", 3)
	s.log.cut()
	c.send(publishBytes("t", "4", 1, false, 3))
	s.stored("mqtt", 4)
	commits := s.log.pending()
	commits[2].complete(nil)
	commits[0].complete(nil)
	c.expect(puback(1))
	commits[1].complete(errors.New("the disk is broken"))
	c.expectClosed()
	other.expectClosed()
	s.expectLogged("the disk is broken")
}

func TestRetainedMessageIsAcknowledgedWhenBothRecordsAreDurable(t *testing.T) {
	s := startByHand(t)
	c := s.connect("a")
	// The log cuts between the two records: the fake's appenders share one commit until it is cut.
	c.send(publishBytes("t", "first", 1, false, 1))
	s.stored("mqtt", 1)
	s.log.commit()
	c.expect(puback(1))
	s.log.mu.Lock()
	s.log.cutAfter = 1
	s.log.mu.Unlock()
	c.send(publishBytes("t", "x", 1, true, 2), publishBytes("t", "y", 1, false, 3))
	s.stored("mqtt", 3)
	s.stored(RetainedTopic, 1)
	commits := s.log.pending()
	if len(commits) != 3 {
		t.Fatalf("%d commits", len(commits))
	}
	commits[0].complete(nil)
	c.expectNothing()
	commits[2].complete(nil)
	c.expectNothing()
	commits[1].complete(nil)
	c.expect(puback(2), puback(3))
}

func TestOneNotificationForACommit(t *testing.T) {
	s := startByHand(t)
	c := s.connect("a")
	for i := range 100 {
		c.send(publishBytes("t", "x", byte(i%2), false, uint16(i+1)))
		s.stored("mqtt", i+1)
	}
	c.expectNothing()
	commits := s.log.pending()
	commits[0].mu.Lock()
	asked := len(commits[0].notify)
	commits[0].mu.Unlock()
	if len(commits) != 1 || asked != 1 {
		t.Errorf("%d commits, %d notifications asked for", len(commits), asked)
	}
	commits[0].complete(nil)
	for i := 1; i < 100; i += 2 {
		c.expect(puback(uint16(i + 1)))
	}
}

func TestQoS0IsStoredAndNotAnswered(t *testing.T) {
	s := startByHand(t)
	c := s.connect("a")
	c.send(publishBytes("t", "1", 0, false, 0), publishBytes("t", "2", 1, false, 5), publishBytes("t", "3", 0, false, 0))
	s.stored("mqtt", 3)
	s.log.commit()
	c.expect(puback(5))
	c.expectNothing()
	if n := s.inflight.used.Load(); n != 0 {
		t.Errorf("%d bytes in flight", n)
	}
}

func TestRecordsCarryTheMapping(t *testing.T) {
	s := start(t)
	c := s.connect("dev-1")
	for i, p := range [][]byte{
		publishBytes("plain", "a", 0, false, 0),
		publishBytes("city/north/lamp-17/temp", "21.5", 1, true, 1),
		publishBytes("city/south/lamp-1/temp", "", 1, false, 2),
		publishBytes("plain", "", 1, true, 3),
	} {
		c.send(p)
		if i > 0 {
			c.expect(puback(uint16(i)))
		}
	}
	want := map[string][]string{
		"mqtt": {
			`plain="a" mqtt.topic=plain mqtt.client=dev-1`,
			`plain="" mqtt.topic=plain mqtt.qos=1 mqtt.retain=true mqtt.client=dev-1`,
		},
		"telemetry": {
			`lamp-17="21.5" mqtt.topic=city/north/lamp-17/temp mqtt.qos=1 mqtt.retain=true mqtt.client=dev-1 district=north`,
			`lamp-1="" mqtt.topic=city/south/lamp-1/temp mqtt.qos=1 mqtt.client=dev-1 district=south`,
		},
		RetainedTopic: {
			`city/north/lamp-17/temp="21.5" mqtt.qos=1 mqtt.client=dev-1`,
			`plain=null mqtt.qos=1 mqtt.client=dev-1`,
		},
	}
	for topic, records := range want {
		var got []string
		for _, r := range s.log.all(topic) {
			got = append(got, describe(r))
			if age := time.Now().UnixMilli() - r.Timestamp; age < 0 || age > 60_000 {
				t.Errorf("timestamp %d", r.Timestamp)
			}
		}
		if !slices.Equal(got, records) {
			t.Errorf("%s holds\n%s\nwant\n%s", topic, strings.Join(got, "\n"), strings.Join(records, "\n"))
		}
	}
}

func TestOnePublisherKeepsItsOrder(t *testing.T) {
	// [MQTT-4.6.0-5] [MQTT-4.6.0-6] records of a topic, acknowledgements, and messages to a subscriber, in the order sent.
	s := start(t)
	sub := s.connect("sub")
	sub.send(subscribeBytes(1, 1, "city/#"))
	sub.expect([]byte{0x90, 3, 0, 1, 1})
	pub := s.connect("pub")
	const n, topics = 20_000, 7
	go func() {
		var b []byte
		for i := range n {
			b = append(b, publishBytes(fmt.Sprintf("city/n/dev-%d/v", i%topics), fmt.Sprint(i), byte(i%3&1), false, uint16(i%65535+1))...)
			if len(b) > 10_000 || i == n-1 {
				if pub.trySend(b) != nil {
					return
				}
				b = b[:0]
			}
		}
	}()
	acked := make(chan error, 1)
	go func() {
		for i := range n {
			if i%3&1 == 0 {
				continue
			}
			p, err := pub.packet()
			if err != nil || !bytes.Equal(p, puback(uint16(i%65535+1))) {
				acked <- fmt.Errorf("message %d: % x %w", i, p, err)
				return
			}
		}
		acked <- nil
	}()
	last := map[string]int{}
	for range n {
		m := sub.message()
		v := m.number()
		if before, ok := last[m.topic]; ok && v <= before {
			t.Fatalf("%s: %d after %d", m.topic, v, before)
		}
		last[m.topic] = v
	}
	if err := <-acked; err != nil {
		t.Fatal(err)
	}
	lastStored := map[string]int{}
	records := s.log.all("telemetry")
	for _, r := range records {
		v := received{payload: string(r.Value)}.number()
		if before, ok := lastStored[string(r.Key)]; ok && v != before+topics {
			t.Fatalf("%s: record %d after %d", r.Key, v, before)
		}
		lastStored[string(r.Key)] = v
	}
	if len(records) != n {
		t.Fatalf("%d records", len(records))
	}
}

func TestAllPacketIdentifiersInFlight(t *testing.T) {
	s := startByHand(t, func(c *Config) { c.MaxInflightBytes, c.MaxTotalInflightBytes = 64<<20, 64<<20 })
	c := s.connect("a")
	sent := make(chan error, 1)
	go func() {
		var b []byte
		for id := 1; id <= 65535; id++ {
			b = append(b, publishBytes("t", strings.Repeat("x", 150), 1, false, uint16(id))...)
		}
		// One more than there are identifiers: it is not read before there is room again.
		sent <- c.trySend(append(b, publishBytes("t", "more", 1, false, 1)...))
	}()
	s.stored("mqtt", 65535)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	s.log.commit()
	for id := 1; id <= 65535; id++ {
		c.expect(puback(uint16(id)))
	}
	s.stored("mqtt", 65536)
	s.log.commit()
	c.expect(puback(1))
}

func TestFullWindowStopsReading(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"messages": func(c *Config) { c.MaxInflight = 10 },
		"bytes":    func(c *Config) { c.MaxInflightBytes = 10 * len(publishBytes("t", "payload", 1, false, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := startByHand(t, change)
			c := s.connect("a")
			var b []byte
			for id := range 25 {
				b = append(b, publishBytes("t", "payload", 1, false, uint16(id+1))...)
			}
			c.send(b, []byte{0xc0, 0})
			for round := range 3 {
				n := min(10*(round+1), 25)
				s.stored("mqtt", n)
				if n == 25 { // only now PINGREQ is read
					c.expect([]byte{0xd0, 0})
				}
				s.log.commit()
				for id := 10 * round; id < n; id++ {
					c.expect(puback(uint16(id + 1)))
				}
			}
		})
	}
}

func TestMessageLargerThanTheWindowGoesAlone(t *testing.T) {
	s := startByHand(t, func(c *Config) { c.MaxInflightBytes = 100 })
	c := s.connect("a")
	c.send(publishBytes("t", "small", 1, false, 1), publishBytes("t", strings.Repeat("x", 500), 1, false, 2), publishBytes("t", "z", 1, false, 3))
	for id := range 3 {
		s.stored("mqtt", id+1)
		s.log.commit()
		c.expect(puback(uint16(id + 1)))
	}
}

func TestServerWideWindowIsShared(t *testing.T) {
	one := len(publishBytes("t", "payload", 1, false, 1))
	s := startByHand(t, func(c *Config) { c.MaxTotalInflightBytes = int64(10 * one) })
	var clients []*client
	for i := range 3 {
		c := s.connect(fmt.Sprint("c", i))
		var b []byte
		for id := range 20 {
			b = append(b, publishBytes("t", "payload", 1, false, uint16(id+1))...)
		}
		c.send(b)
		clients = append(clients, c)
	}
	next := []int{1, 1, 1}
	for rounds := 0; slices.Min(next) <= 20; rounds++ {
		if rounds > 1000 {
			t.Fatalf("no progress: %v", next)
		}
		// Each client may have one burst of its own beyond the limit.
		if used := s.inflight.used.Load(); used > int64(10*one+3*20*one) {
			t.Fatalf("%d bytes in flight", used)
		}
		eventually(t, "something to commit", func() bool {
			s.log.mu.Lock()
			defer s.log.mu.Unlock()
			return s.log.open != nil
		})
		s.log.commit()
		for i, c := range clients {
			if err := c.nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			for {
				p, err := readPacket(c.r)
				if err != nil {
					break
				}
				if !bytes.Equal(p, puback(uint16(next[i]))) {
					t.Fatalf("client %d: % x, want identifier %d", i, p, next[i])
				}
				next[i]++
			}
		}
	}
}

func TestFullLogHoldsPublishersBack(t *testing.T) {
	for _, cause := range []error{ErrFull, fmt.Errorf("no leader: %w", ErrUnavailable)} {
		s := start(t)
		c := s.connect("a")
		c.send(publishBytes("t", "1", 1, false, 1))
		c.expect(puback(1))
		s.log.setRefuse(cause)
		c.send(publishBytes("t", "2", 1, false, 2))
		eventually(t, "the log line", func() bool { return strings.Contains(s.logged.String(), "holding a publisher back") })
		fresh := s.connect("b") // whose topic is not bound yet
		fresh.send(publishBytes("new", "3", 1, false, 3))
		s.connect("reader").expectNothing() // others are served
		s.log.setRefuse(nil)
		c.expect(puback(2))
		fresh.expect(puback(3))
		var got []string
		for _, r := range s.log.all("mqtt") {
			got = append(got, string(r.Value))
		}
		slices.Sort(got)
		if !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("stored %v", got)
		}
	}
}

func TestAcknowledgementsGoOnWhileAPublisherIsHeldBack(t *testing.T) {
	s := startByHand(t)
	c := s.connect("a")
	s.log.mu.Lock()
	s.log.fullAfter = 2
	s.log.mu.Unlock()
	c.send(publishBytes("t", "1", 1, false, 1), publishBytes("t", "2", 1, false, 2), publishBytes("t", "3", 1, false, 3))
	s.stored("mqtt", 2)
	s.log.commit()
	c.expect(puback(1), puback(2))
	s.log.mu.Lock()
	s.log.fullAfter = 0
	s.log.mu.Unlock()
	s.stored("mqtt", 3)
	s.log.commit()
	c.expect(puback(3))
}

func TestRefusedMessagesEndTheConnection(t *testing.T) {
	s := start(t)
	c := s.connect("a")
	c.send(publishBytes("bad/level with space", "x", 1, false, 1))
	c.expectClosed()
	s.log.setRefuse(errors.New("no such topic, and none is made"))
	c = s.connect("a")
	c.send(publishBytes("t", "x", 1, false, 1))
	c.expectClosed()
	s.expectLogged("no such topic")
	s.expectLogged("level with space")
	s.log.setRefuse(nil)
	if got := s.log.all("mqtt"); len(got) > 0 {
		t.Error("something was stored")
	}
}

func TestStaleBindingsAreMadeAgain(t *testing.T) {
	s := start(t)
	c := s.connect("a")
	c.send(publishBytes("t", "1", 1, false, 1))
	c.expect(puback(1))
	s.log.drop("mqtt")
	c.send(publishBytes("t", "2", 1, false, 2))
	c.expect(puback(2))
	if got := s.log.all("mqtt"); len(got) != 1 || string(got[0].Value) != "2" {
		t.Errorf("%d records", len(got))
	}
}

func TestBindingsAreRemembered(t *testing.T) {
	s := start(t)
	c := s.connect("a")
	for i := range 1000 {
		c.send(publishBytes(fmt.Sprint("t/", i%3), "x", 1, false, uint16(i+1)))
	}
	for i := range 1000 {
		c.expect(puback(uint16(i + 1)))
	}
	for i := range 2 * maxTargets {
		c.send(publishBytes(fmt.Sprint("many/", i), "x", 1, false, uint16(i+1)))
	}
	for i := range 2 * maxTargets {
		c.expect(puback(uint16(i + 1)))
	}
	s.log.mu.Lock()
	binds := s.log.binds
	s.log.mu.Unlock()
	if binds != 3+2*maxTargets {
		t.Errorf("bound %d times", binds)
	}
	if n := s.targetCount.Load(); n > maxTargets {
		t.Errorf("%d targets remembered", n)
	}
}

func TestNewRoutesAreUsedAtOnce(t *testing.T) {
	s := start(t)
	c := s.connect("a")
	c.send(publishBytes("city/x/y/z", "1", 1, false, 1))
	c.expect(puback(1))
	s.SetRoutes(defaultTable(t, "elsewhere"))
	c.send(publishBytes("city/x/y/z", "2", 1, false, 2))
	c.expect(puback(2))
	if got := s.log.all("elsewhere"); len(got) != 1 || string(got[0].Value) != "2" {
		t.Errorf("%d records", len(got))
	}
}

func TestQoS2EndsTheConnection(t *testing.T) {
	s := start(t)
	c := s.connect("a")
	c.send([]byte{0x34, 6, 0, 1, 't', 0, 1, 'x'})
	c.expectClosed()
	s.expectLogged("QoS 2 is not served")
	if got := s.log.all("mqtt"); len(got) > 0 {
		t.Error("the message was stored")
	}
}
