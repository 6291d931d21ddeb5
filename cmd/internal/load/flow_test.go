package load

import (
	"errors"
	"math"
	"testing"

	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

// testFlow is a flow that has sent its first window at time 0.
func testFlow(t *testing.T, window int, count int64) *flow {
	t.Helper()
	o := DefaultMQTTOptions()
	o.Window = window
	f := newFlow(o, 1, 0, &meter{to: math.MaxInt64, latencies: newHistogram()})
	f.last = count
	f.emit(make([]byte, 0, 1<<20), f.due(), 0)
	return f
}

func acks(ids ...int) []byte {
	var b []byte
	for _, id := range ids {
		b = mqttc.AppendPuback(b, uint16(id))
	}
	return b
}

func TestFlowPatchesPacketIDAndSequenceIntoWholePackets(t *testing.T) {
	for _, tc := range []struct {
		qos    byte
		topics int
		size   int
		fill   Filler
	}{{1, 1, 150, FillReading}, {1, 3, 150, FillRandom}, {0, 2, 24, FillReading}, {1, 1, 20_000, FillRandom}, {1, 1, 0, FillReading}, {1, 1, 10, FillRandom}} {
		o := DefaultMQTTOptions()
		o.QoS, o.TopicsPerConnection, o.Size, o.Fill, o.Window = tc.qos, tc.topics, tc.size, tc.fill, 5
		f := newFlow(o, 77, 12, &meter{latencies: newHistogram()})
		f.next, f.head = mqttc.MaxPacketID-2, mqttc.MaxPacketID-2
		out := f.emit(make([]byte, 0, 1<<20), 5, 0)
		for n := int64(mqttc.MaxPacketID - 2); n < mqttc.MaxPacketID+3; n++ {
			p, used, err := mqttc.Split(out, 1<<20)
			if err != nil || used == 0 {
				t.Fatalf("%+v: message %d: %d %v", tc, n, used, err)
			}
			out = out[used:]
			m, err := mqttc.ParsePublish(p)
			if err != nil || len(m.Payload) != tc.size || string(m.Topic) != topicPattern(o.Topics).topic(12, int(n)%tc.topics) {
				t.Fatalf("%+v: message %d: %d bytes on %s, %v", tc, n, len(m.Payload), m.Topic, err)
			}
			if tc.qos > 0 && int64(m.PacketID) != n%mqttc.MaxPacketID+1 {
				t.Errorf("%+v: message %d has packet id %d", tc, n, m.PacketID)
			}
			if s, ok := parseStamp(m.Payload); tc.size >= headerSize && (!ok || s != stamp{77, 12, n}) {
				t.Errorf("%+v: message %d carries %+v", tc, n, s)
			}
		}
		if len(out) > 0 {
			t.Errorf("%+v: %d bytes left over", tc, len(out))
		}
	}
}

func TestFlowKeepsItsWindowAndItsEnd(t *testing.T) {
	f := testFlow(t, 4, 6)
	if f.next != 4 || f.due() != 0 || f.idle() {
		t.Fatalf("next %d, due %d", f.next, f.due())
	}
	b := acks(1, 2, 3)
	used, err := f.receive(b[:11], 1000)
	if err != nil || used != 8 || f.due() != 2 || f.unacked() != 2 {
		t.Fatalf("used %d, due %d, unacked %d, %v", used, f.due(), f.unacked(), err)
	}
	f.emit(make([]byte, 0, 1<<20), f.due(), 2000)
	if _, err := f.receive(acks(3, 4, 5, 6), 5000); err != nil || !f.idle() || f.due() != 0 {
		t.Fatalf("head %d, next %d, %v", f.head, f.next, err)
	}
	if f.meter.acked != 6 || f.meter.latencies.TotalCount() != 6 || f.meter.misorder != 0 {
		t.Errorf("measured %d, %d latencies, %d out of order", f.meter.acked, f.meter.latencies.TotalCount(), f.meter.misorder)
	}
}

func TestFlowTakesAcknowledgementsOutOfOrderAndCountsThem(t *testing.T) {
	f := testFlow(t, 8, 8)
	for i, ids := range [][]int{{3}, {1, 2}, {5, 4}, {7}, {6, 8}} {
		if _, err := f.receive(acks(ids...), 1000); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	if !f.idle() || f.meter.misorder != 3 || f.meter.acked != 8 {
		t.Errorf("head %d, %d out of order, %d acknowledged", f.head, f.meter.misorder, f.meter.acked)
	}
}

func TestFlowRefusesWhatABrokerMustNotSend(t *testing.T) {
	for name, b := range map[string][]byte{
		"an id that was never sent": acks(9),
		"an id twice":               acks(1, 1),
		"packet id 0":               acks(0),
		"a PUBLISH with an odd end": {0xf0, 0},
		"a CONNECT":                 {0x10, 0},
		"an endless packet":         {0x40, 0xff, 0xff, 0xff, 0x7f},
		"a length of five bytes":    {0x40, 0xff, 0xff, 0xff, 0xff, 1},
	} {
		if _, err := testFlow(t, 4, 4).receive(b, 0); !errors.Is(err, mqttc.ErrMalformed) && !errors.Is(err, mqttc.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPacedFlowMeasuresFromTheIntendedTime(t *testing.T) {
	o := DefaultMQTTOptions()
	o.Window = 2
	f := newFlow(o, 1, 0, &meter{to: math.MaxInt64, latencies: newHistogram()})
	f.paced, f.first, f.every, f.allowed = true, 1_000_000, 1_000_000, 3
	f.emit(make([]byte, 0, 1<<20), f.due(), 3_000_000) // late: two of the three fit into the window
	if f.next != 2 {
		t.Fatalf("%d sent", f.next)
	}
	if _, err := f.receive(acks(1, 2), 4_000_000); err != nil {
		t.Fatal(err)
	}
	f.emit(make([]byte, 0, 1<<20), f.due(), 4_000_000)
	if _, err := f.receive(acks(3), 5_000_000); err != nil {
		t.Fatal(err)
	}
	h := f.meter.latencies
	if h.TotalCount() != 3 || !h.ValuesAreEquivalent(h.Max(), 3_000_000) || !h.ValuesAreEquivalent(h.Min(), 2_000_000) {
		t.Errorf("%d latencies from %d to %d", h.TotalCount(), h.Min(), h.Max())
	}
}

func TestMessagesCostNoAllocation(t *testing.T) {
	f := testFlow(t, 64, math.MaxInt64)
	out, now := make([]byte, 0, 1<<20), int64(0)
	ids := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(1000, func() {
		ids = ids[:0]
		for n := f.head; n < f.next; n++ {
			ids = mqttc.AppendPuback(ids, uint16(n%mqttc.MaxPacketID+1))
		}
		now += 1000
		if _, err := f.receive(ids, now); err != nil {
			t.Fatal(err)
		}
		f.emit(out, f.due(), now)
	}); n != 0 {
		t.Errorf("%g allocations for 64 messages", n)
	}
}

func FuzzFlowReceive(f *testing.F) {
	f.Add(acks(1, 2, 3))
	f.Add(acks(2, 1, 9))
	f.Add([]byte{0xd0, 0, 0x40, 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		o := DefaultMQTTOptions()
		o.Window = 5
		fl := newFlow(o, 1, 0, &meter{to: math.MaxInt64, latencies: newHistogram()})
		fl.emit(make([]byte, 0, 1<<20), fl.due(), 0)
		used, err := fl.receive(b, 1)
		if used > len(b) || fl.head > fl.next || fl.meter.acked > 5 || fl.unacked() < 0 {
			t.Fatalf("used %d of %d, head %d, next %d, acked %d, %v", used, len(b), fl.head, fl.next, fl.meter.acked, err)
		}
	})
}
