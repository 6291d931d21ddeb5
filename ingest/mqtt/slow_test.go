package mqtt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// flood publishes n messages of QoS 1 with the payloads 0, 1, 2 ... and takes the acknowledgements.
func (c *client) flood(topic string, from, n int, pad int) {
	c.t.Helper()
	go func() {
		var b []byte
		for i := range n {
			b = append(b, publishBytes(topic, fmt.Sprintf("%d %s", from+i, strings.Repeat("x", pad)), 1, false, uint16(i%65535+1))...)
			if len(b) > 32<<10 || i == n-1 {
				if c.trySend(b) != nil {
					return
				}
				b = b[:0]
			}
		}
	}()
	for i := range n {
		c.expect(puback(uint16(i%65535 + 1)))
	}
}

// number returns the number that a flooded message begins with.
func (m received) number() int {
	number, _, _ := strings.Cut(m.payload, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return -1
	}
	return n
}

// expectNumbers reads messages with these numbers, acknowledging them.
func (c *client) expectNumbers(from, n int) {
	c.t.Helper()
	for i := range n {
		if m := c.message(); m.number() != from+i {
			c.t.Fatalf("got %d, want %d", m.number(), from+i)
		}
	}
}

// hold reads messages 0 to n-1 without acknowledging them, and waits until the server has passed over what comes then.
func (c *client) hold(n int) []received {
	c.t.Helper()
	var held []received
	for i := range n {
		m := c.unacked()
		if m.number() != i {
			c.t.Fatalf("got %d, want %d", m.number(), i)
		}
		held = append(held, m)
	}
	c.expectNothing()
	return held
}

func (c *client) release(held []received) {
	c.t.Helper()
	for _, m := range held {
		c.send(puback(m.id))
	}
}

func TestSubscriberThatDoesNotAcknowledgeLosesNothing(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxOutboundInflight = 20 })
	sub := s.connect("sub")
	sub.subscribe(1, "t")
	pub := s.connect("pub")
	pub.flood("t", 0, 3000, 10)
	sub.release(sub.hold(20)) // the window is full
	sub.expectNumbers(20, 2980)
	sub.expectNothing()
	s.live("sub")
	pub.flood("t", 3000, 10, 10)
	sub.expectNumbers(3000, 10)
	if n := testutil.ToFloat64(s.metrics.Gaps); n != 0 {
		t.Errorf("%v records missed", n)
	}
}

func TestSubscriberThatDoesNotReadLosesNothing(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxOutboundBytes = 64 << 10 })
	sub := s.connect("sub")
	sub.subscribe(0, "t")
	quick := s.connect("quick")
	quick.subscribe(0, "t")
	pub := s.connect("pub")
	var wg sync.WaitGroup
	wg.Go(func() { quick.expectNumbers(0, 12_000) })
	pub.flood("t", 0, 12_000, 1000) // more than sockets take
	wg.Wait()
	if n := s.outbound.used.Load(); n > 3*64<<10 {
		t.Errorf("%d bytes wait for subscribers", n)
	}
	sub.expectNumbers(0, 12_000)
	sub.expectNothing()
	if n := testutil.ToFloat64(s.metrics.Gaps); n != 0 {
		t.Errorf("%v records missed", n)
	}
}

func TestGapIsReported(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxOutboundInflight = 5 })
	sub := s.connect("sub")
	sub.subscribe(1, "t")
	pub := s.connect("pub")
	pub.flood("t", 0, 100, 0)
	held := sub.hold(5)
	s.log.topics["mqtt"][0].trim(50)
	sub.release(held)
	sub.expectNumbers(50, 50)
	sub.expectNothing()
	if n := testutil.ToFloat64(s.metrics.Gaps); n != 45 {
		t.Errorf("%v records missed, want 45", n)
	}
	s.expectLogged("a subscriber misses records")
	s.expectLogged("from=5 to=50")
}

func TestUnreadableRecordsAreAGap(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxOutboundInflight = 5 })
	sub := s.connect("sub")
	sub.subscribe(1, "t")
	pub := s.connect("pub")
	pub.flood("t", 0, 100, 0)
	held := sub.hold(5)
	part := s.log.topics["mqtt"][0]
	part.mu.Lock()
	part.broken = errors.New("a bad block")
	part.mu.Unlock()
	sub.release(held)
	eventually(t, "the gap", func() bool { return testutil.ToFloat64(s.metrics.Gaps) == 95 })
	part.mu.Lock()
	part.broken = nil
	part.mu.Unlock()
	pub.flood("t", 100, 5, 0)
	sub.expectNumbers(100, 5)
	sub.expectNothing()
}

func TestDeletedTopicEndsCatchingUp(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxOutboundInflight = 5 })
	sub := s.connect("sub")
	sub.subscribe(1, "t")
	pub := s.connect("pub")
	pub.flood("t", 0, 100, 0)
	held := sub.hold(5)
	s.log.drop("mqtt")
	sub.release(held)
	pub.flood("t", 0, 3, 0)
	sub.expectNumbers(0, 3)
	sub.expectNothing()
	if n := testutil.ToFloat64(s.metrics.Gaps); n != 95 {
		t.Errorf("%v records missed, want 95", n)
	}
}

func TestFilterAddedWhileBehindBeginsThere(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxOutboundInflight = 4 })
	sub := s.connect("sub")
	sub.subscribe(1, "a")
	pub := s.connect("pub")
	pub.flood("a", 0, 10, 0)
	pub.flood("b", 100, 10, 0) // before the subscription to b
	held := sub.hold(4)
	sub.subscribe(1, "b", "+/c")
	pub.flood("b", 200, 10, 0)
	pub.flood("a", 10, 1, 0)
	sub.release(held)
	sub.expectNumbers(4, 6)
	sub.expectNumbers(200, 10)
	sub.expectNumbers(10, 1)
	sub.expectNothing()
}

func TestFilterRemovedWhileBehindEndsThere(t *testing.T) {
	// [MQTT-3.10.4-2]
	s := start(t, func(c *Config) { c.MaxOutboundInflight = 4 })
	sub := s.connect("sub")
	sub.subscribe(1, "a", "b")
	pub := s.connect("pub")
	pub.flood("a", 0, 10, 0)
	pub.flood("b", 100, 10, 0)
	held := sub.hold(4)
	sub.send(unsubscribeBytes(2, "a"))
	sub.expect([]byte{0xb0, 2, 0, 2})
	sub.release(held)
	sub.expectNumbers(100, 10)
	sub.expectNothing()
}

func TestRepeatedSubscribesWaitAsOne(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxOutboundInflight = 1 })
	pub := s.connect("pub")
	for i := range 3 {
		pub.publish(fmt.Sprint("r/", i), "x", 1, true)
	}
	sub := s.connect("sub")
	sub.subscribe(1, "r/+")
	first := sub.unacked()
	for range 50 { // the window is full: nothing of these can be sent
		sub.subscribe(1, "r/+")
	}
	sub.send(unsubscribeBytes(2, "none"))
	sub.expect([]byte{0xb0, 2, 0, 2})
	ses := s.sessions.byID["sub"]
	ses.mu.Lock()
	jobs := len(ses.lag.jobs)
	ses.mu.Unlock()
	if jobs > 2 {
		t.Errorf("%d deliveries of retained messages wait", jobs)
	}
	sub.send(puback(first.id))
	for range 5 { // what is left of the first, and the others as one
		sub.message()
	}
	sub.expectNothing()
}

func TestUnsubscribeEndsRetainedMessages(t *testing.T) {
	// [MQTT-3.10.4-2]
	s := start(t, func(c *Config) { c.MaxOutboundInflight = 1 })
	pub := s.connect("pub")
	for i := range 3 {
		pub.publish(fmt.Sprint("r/", i), "x", 1, true)
	}
	sub := s.connect("sub")
	sub.subscribe(1, "r/+")
	first := sub.unacked()
	sub.send(unsubscribeBytes(2, "r/+"))
	sub.expect([]byte{0xb0, 2, 0, 2})
	sub.send(puback(first.id))
	sub.expectNothing()
	sub.subscribe(0, "live")
	pub.publish("live", "x", 1, false)
	sub.expectMessages("live=x qos0 retain=false")
}

// Subscribers of every speed, over several partitions: each gets every message once, and those of a topic in order.
func TestSubscribersOfEverySpeed(t *testing.T) {
	s := startServer(t, newMemLog(), false, func(c *Config) {
		c.MaxOutboundInflight, c.MaxOutboundBytes, c.MaxTotalOutboundBytes = 16, 4<<10, 12<<10
	})
	s.log.parts = 3
	s.log.auto(t, nil)
	const topics, each = 6, 400
	var wg sync.WaitGroup
	for n := range 8 {
		sub := s.connect(fmt.Sprint("sub", n))
		sub.subscribe(byte(n%2), []string{"t/#", "t/+", "+/+", "#"}[n%4])
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 7))
			next := [topics]int{}
			var owed []uint16
			for range topics * each {
				m := sub.unacked()
				topic := int(m.topic[len(m.topic)-1] - '0')
				if m.number() != next[topic] {
					t.Errorf("subscriber %d, %s: got %d, want %d", n, m.topic, m.number(), next[topic])
					return
				}
				next[topic]++
				if m.qos == 1 {
					owed = append(owed, m.id)
				}
				if len(owed) == 16 || r.IntN(3) == 0 {
					r.Shuffle(len(owed), func(i, j int) { owed[i], owed[j] = owed[j], owed[i] })
					for _, id := range owed {
						sub.send(puback(id))
					}
					owed = owed[:0]
				}
			}
			for _, id := range owed {
				sub.send(puback(id))
			}
			sub.expectNothing()
		})
	}
	for i := range topics {
		pub := s.connect(fmt.Sprint("pub", i))
		wg.Go(func() { pub.flood(fmt.Sprint("t/", i), 0, each, 100) })
	}
	wg.Wait()
	if n := testutil.ToFloat64(s.metrics.Gaps); n != 0 {
		t.Errorf("%v records missed", n)
	}
	if n := testutil.ToFloat64(s.metrics.CatchUps); n == 0 {
		t.Error("nobody fell behind: the test shows nothing")
	}
}
