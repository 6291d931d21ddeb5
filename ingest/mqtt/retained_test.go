package mqtt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestRetainedMessages(t *testing.T) {
	s := start(t)
	pub := s.connect("pub")
	watch := s.connect("watch")
	watch.subscribe(1, "r/#")
	s.live("watch")
	// [MQTT-3.3.1-5] stored with its QoS, [MQTT-3.3.1-9] delivered with RETAIN 0 to those who subscribed before.
	pub.publish("r/a", "1", 1, true)
	pub.publish("r/b", "2", 0, true)
	watch.expectMessages("r/a=1 qos1 retain=false", "r/b=2 qos0 retain=false")
	check := func(want ...string) {
		t.Helper()
		eventually(t, "everything to be committed", s.log.settled)
		// [MQTT-3.3.1-6] sent to a new subscription, [MQTT-3.3.1-8] with RETAIN 1.
		c := s.connect("new")
		c.subscribe(1, "r/#")
		var got []string
		for range want {
			got = append(got, c.message().String())
		}
		c.expectNothing()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		c.nc.Close()
	}
	check("r/a=1 qos1 retain=true", "r/b=2 qos0 retain=true")
	// [MQTT-3.3.1-12] without RETAIN nothing is kept, replaced or removed.
	pub.publish("r/a", "3", 1, false)
	pub.publish("r/a", "", 1, false)
	pub.publish("r/c", "4", 1, false)
	watch.expectMessages("r/a=3 qos1 retain=false", "r/a= qos1 retain=false", "r/c=4 qos1 retain=false")
	check("r/a=1 qos1 retain=true", "r/b=2 qos0 retain=true")
	// [MQTT-3.3.1-7] QoS 0 replaces, too.
	pub.publish("r/a", "5", 0, true)
	watch.expectMessages("r/a=5 qos0 retain=false")
	check("r/a=5 qos0 retain=true", "r/b=2 qos0 retain=true")
	// [MQTT-3.3.1-10] an empty one is delivered and removes, [MQTT-3.3.1-11] and is not kept.
	pub.publish("r/a", "", 1, true)
	pub.publish("r/never", "", 1, true)
	watch.expectMessages("r/a= qos1 retain=false", "r/never= qos1 retain=false")
	check("r/b=2 qos0 retain=true")
	eventually(t, "the count", func() bool { return s.Stats().Retained == 1 })
}

func TestRetainedMessagesByFilter(t *testing.T) {
	s := start(t)
	pub := s.connect("pub")
	topics := []string{"a", "a/b", "a/b/c", "/", "/a", "a/", "$SYS/x", "b", "b/b"}
	for _, topic := range topics {
		pub.publish(topic, "v", 1, true)
	}
	for _, filter := range []string{"#", "+", "+/+", "a/#", "a/+", "+/b/#", "/#", "/+", "$SYS/#", "a/b", "none", "b"} {
		var want []string
		for _, topic := range topics {
			if matchFilter(filter, topic) {
				want = append(want, topic)
			}
		}
		c := s.connect("sub")
		c.subscribe(0, filter)
		var got []string
		for range want {
			m := c.message()
			if !m.retain {
				t.Errorf("%s: %s", filter, m)
			}
			got = append(got, m.topic)
		}
		c.expectNothing()
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", filter, got, want)
		}
		c.nc.Close()
	}
}

func TestRetainedMessageComesOnceForOverlappingFilters(t *testing.T) {
	s := start(t)
	pub := s.connect("pub")
	pub.publish("a/b", "v", 1, true)
	c := s.connect("sub")
	c.send(pack(0x82, []byte{0, 1}, str("a/b"), []byte{0}, str("a/#"), []byte{1}))
	c.expect([]byte{0x90, 4, 0, 1, 0, 1})
	c.expectMessages("a/b=v qos1 retain=true")
	c.expectNothing()
}

func TestRetainedMessagesSurviveARestart(t *testing.T) {
	log := newMemLog()
	log.parts = 3
	log.auto(t, nil)
	first := startServer(t, log, false)
	pub := first.connect("pub")
	for i := range 100 {
		pub.publish(fmt.Sprint("r/", i), "old", 1, true)
	}
	for i := range 100 {
		switch i % 3 {
		case 0:
			pub.publish(fmt.Sprint("r/", i), "new", 1, true)
		case 1:
			pub.publish(fmt.Sprint("r/", i), "", 1, true)
		}
	}
	if err := first.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := startServer(t, log, false)
	c := second.connect("sub")
	c.subscribe(1, "r/+")
	got := map[string]string{}
	for range 67 {
		m := c.message()
		got[m.topic] = m.payload
	}
	c.expectNothing()
	for i := range 100 {
		want := []string{"new", "", "old"}[i%3]
		if got[fmt.Sprint("r/", i)] != want {
			t.Errorf("r/%d is %q, want %q", i, got[fmt.Sprint("r/", i)], want)
		}
	}
	if n := second.Stats().Retained; n != 67 {
		t.Errorf("%d retained", n)
	}
}

func TestManyRetainedMessagesReachASlowSubscriber(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxOutboundInflight, c.MaxOutboundBytes = 10, 2000 })
	pub := s.connect("pub")
	const n = 3 * retainedBatch
	var b []byte
	for i := range n {
		b = append(b, publishBytes(fmt.Sprintf("r/%d/x", i), fmt.Sprint(i), 1, true, uint16(i+1))...)
	}
	go func() { _ = pub.trySend(b) }()
	for i := range n {
		pub.expect(puback(uint16(i + 1)))
	}
	sub := s.connect("sub")
	sub.subscribe(1, "r/+/x")
	pub.publish("r/live/x", "live", 1, false)
	seen := map[string]int{}
	for range n {
		m := sub.message()
		if !m.retain {
			t.Fatalf("%s before all retained messages", m)
		}
		seen[m.topic]++
	}
	if len(seen) != n {
		t.Errorf("%d topics", len(seen))
	}
	sub.expectMessages("r/live/x=live qos1 retain=false")
	sub.expectNothing()
}

func TestRetainedMessagesAreBounded(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxRetained = 3 })
	pub := s.connect("pub")
	for i := range 5 {
		pub.publish(fmt.Sprint("r/", i), "x", 1, true)
		s.retained.follow()
	}
	pub.publish("r/1", "replaced", 1, true)
	pub.publish("r/0", "", 1, true)
	s.retained.follow()
	pub.publish("r/4", "fits now", 1, true)
	c := s.connect("sub")
	c.subscribe(0, "r/#")
	var got []string
	for range 3 {
		m := c.message()
		got = append(got, m.topic+"="+m.payload)
	}
	c.expectNothing()
	slices.Sort(got)
	if !slices.Equal(got, []string{"r/1=replaced", "r/2=x", "r/4=fits now"}) {
		t.Errorf("retained %q", got)
	}
	if got := s.log.all("mqtt"); len(got) != 8 {
		t.Errorf("%d messages stored, want all", len(got))
	}

	s = start(t, func(c *Config) { c.MaxRetainedBytes = 1000 })
	pub = s.connect("pub")
	pub.publish("r/large", strings.Repeat("x", 1000), 1, true)
	pub.publish("r/small", "x", 1, true)
	pub.publish("r/small", strings.Repeat("x", 2000), 1, true)
	c = s.connect("sub")
	c.subscribe(0, "r/#")
	c.expectMessages("r/small=x qos0 retain=true")
	c.expectNothing()
}

func TestRetainedIndexAgainstAMap(t *testing.T) {
	x := &retainedIndex{srv: &Server{cfg: DefaultConfig(), metrics: NewMetrics(nil)}}
	naive := map[string]int64{}
	levels := []string{"", "a", "b", "$c", "ü"}
	topic := func(r *rand.Rand) string {
		parts := make([]string, 1+r.IntN(4))
		for i := range parts {
			parts[i] = levels[r.IntN(len(levels))]
		}
		if t := strings.Join(parts, "/"); t != "" {
			return t
		}
		return "/"
	}
	r := rand.New(rand.NewPCG(1, 2))
	for offset := range int64(5000) {
		name := topic(r)
		rec := &Record{Offset: offset, Key: []byte(name), Value: []byte("x")}
		if r.IntN(3) == 0 {
			rec.Value = nil
			delete(naive, name)
		} else {
			naive[name] = offset
		}
		x.apply(0, rec)
		if int(x.count.Load()) != len(naive) {
			t.Fatalf("count %d, want %d", x.count.Load(), len(naive))
		}
		if offset%50 != 0 {
			continue
		}
		filter := topic(r)
		switch r.IntN(4) {
		case 0:
			filter = "#"
		case 1:
			filter += "/#"
		case 2:
			filter = strings.Replace(filter, "a", "+", 1)
		}
		var want, got []int64
		for name, at := range naive {
			if matchFilter(filter, name) {
				want = append(want, at)
			}
		}
		x.root.match(filter, true, func(at *place) { got = append(got, at.offset) })
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%s: got %v, want %v", filter, got, want)
		}
	}
	for name := range naive {
		x.apply(0, &Record{Key: []byte(name)})
	}
	if x.count.Load() != 0 || x.bytes.Load() != 0 || !x.root.children.empty() {
		t.Errorf("%d topics and %d bytes are left", x.count.Load(), x.bytes.Load())
	}
}

func TestUnreadableRetainedMessageIsLeftOut(t *testing.T) {
	s := start(t)
	pub := s.connect("pub")
	pub.publish("r/1", "x", 1, true)
	s.retained.follow()
	part := s.log.topics[RetainedTopic][0]
	part.mu.Lock()
	part.broken = errors.New("a bad block")
	part.mu.Unlock()
	c := s.connect("sub")
	c.subscribe(0, "r/#")
	c.expectNothing()
	part.mu.Lock()
	part.broken = nil
	part.records[0].Offset = -1 // compacted away
	part.mu.Unlock()
	c.subscribe(0, "r/#")
	c.expectNothing()
	s.live("sub")
	pub.publish("r/2", "y", 1, true)
	c.expectMessages("r/2=y qos0 retain=false")
	c.subscribe(0, "r/#")
	c.expectMessages("r/2=y qos0 retain=true")
}
