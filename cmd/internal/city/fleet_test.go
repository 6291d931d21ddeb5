package city

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

// script is a source of prepared events.
type script []Event

func (s *script) Next(e *Event) error {
	if len(*s) == 0 {
		return io.EOF
	}
	*e, *s = (*s)[0], (*s)[1:]
	return nil
}

// values are n readings of each of the devices, in turn.
func values(n int, devices ...string) *script {
	var s script
	for i := range n {
		for _, d := range devices {
			at := time.Unix(int64(1000+i), 0)
			s = append(s, Event{Device: []byte(d), At: at, Time: at, Measure: temperatureMeasure, Number: float64(i)})
		}
	}
	return &s
}

func quickFleet(t *testing.T, addr string, change func(*FleetOptions)) *Fleet {
	t.Helper()
	o := FleetOptions{Addr: addr, Topic: "city/air/{id}/{measure}", ClientID: "test", Window: 10, RetryFor: 10 * time.Second}
	if change != nil {
		change(&o)
	}
	f, err := NewFleet(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// inbox proves what arrives at a sink.
type inbox struct {
	mu     sync.Mutex
	proof  *Proof
	topics map[string]bool
}

func (b *inbox) take(_ int64, m mqttc.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topics[string(m.Topic)] = true
	b.proof.Arrived([]byte(strings.Split(string(m.Topic), "/")[2]), m.Payload)
	return true
}

func TestFleetPublishesEveryReadingInOrderPerDevice(t *testing.T) {
	for _, connections := range []int{0, 1, 2, 7} {
		sent := NewProof()
		b := &inbox{proof: sent, topics: map[string]bool{}}
		s := startSink(t, b.take)
		f := quickFleet(t, s.Addr(), func(o *FleetOptions) {
			o.Connections = connections
			o.Sent = func(d []byte, n int64, p []byte) {
				b.mu.Lock()
				defer b.mu.Unlock()
				sent.Sent(d, n, p)
			}
		})
		total, err := f.Run(t.Context(), values(200, "a", "b", "c", "d"))
		if err != nil {
			t.Fatal(err)
		}
		want := map[int]int{0: 4, 1: 1, 2: 2, 7: 4}[connections]
		if total.Published != 800 || total.Acked != 800 || total.Devices != 4 || total.Connections != want {
			t.Errorf("%d connections: %+v", connections, total)
		}
		if v := sent.Verdict(); !v.Ok() || v.Expected != 800 {
			t.Errorf("%d connections: %+v", connections, v)
		}
		if len(b.topics) != 4 || !b.topics["city/air/a/temperature"] {
			t.Errorf("topics %v", b.topics)
		}
	}
}

func TestFleetSurvivesALostConnectionAndLosesNothing(t *testing.T) {
	p := NewProof()
	b := &inbox{proof: p, topics: map[string]bool{}}
	var n atomic.Int64
	s := startSink(t, func(c int64, m mqttc.Message) bool { return b.take(c, m) && n.Add(1)%500 != 0 })
	f := quickFleet(t, s.Addr(), func(o *FleetOptions) {
		o.Sent = func(d []byte, n int64, payload []byte) {
			b.mu.Lock()
			defer b.mu.Unlock()
			p.Sent(d, n, payload)
		}
	})
	total, err := f.Run(t.Context(), values(500, "a", "b", "c"))
	if err != nil {
		t.Fatal(err)
	}
	v := p.Verdict()
	if total.Acked != 1500 || total.Reconnects == 0 || v.Missing != 0 || v.Duplicates == 0 || v.Duplicates > total.Resent || v.OutOfOrder != 0 {
		t.Errorf("%+v, %+v", total, v)
	}
}

func TestFleetTakesDevicesOffAndOn(t *testing.T) {
	s := startSink(t, nil)
	src := values(3, "a", "b")
	*src = append(*src, Event{Kind: Offline, Device: []byte("a"), At: time.Unix(2000, 0)},
		Event{Kind: Online, Device: []byte("a"), At: time.Unix(2001, 0)})
	*src = append(*src, *values(3, "a")...)
	*src = append(*src, Event{Kind: Offline, Device: []byte("b"), At: time.Unix(2000, 0)})
	total, err := quickFleet(t, s.Addr(), nil).Run(t.Context(), src)
	if err != nil || total.Acked != 9 || total.Reconnects < 1 {
		t.Errorf("%+v %v", total, err)
	}
}

func TestFleetStopsWithItsSourceAndItsContext(t *testing.T) {
	s := startSink(t, nil)
	broken := errors.New("line 7 is broken")
	if _, err := quickFleet(t, s.Addr(), nil).Run(t.Context(), sourceFunc(func(*Event) error { return broken })); !errors.Is(err, broken) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	f := quickFleet(t, s.Addr(), func(o *FleetOptions) { o.Speed = 0.001 })
	if total, err := f.Run(ctx, values(2, "a")); !errors.Is(err, context.DeadlineExceeded) || total.Published != 1 {
		t.Errorf("%+v %v", total, err)
	}
	if _, err := quickFleet(t, "127.0.0.1:1", nil).Run(t.Context(), values(1, "a")); err == nil {
		t.Error("published to nobody")
	}
}

type sourceFunc func(*Event) error

func (f sourceFunc) Next(e *Event) error { return f(e) }

func TestFleetRefusesTooManyDevices(t *testing.T) {
	s := startSink(t, nil)
	n := 0
	src := sourceFunc(func(e *Event) error {
		n++
		*e = Event{Device: fmt.Append(nil, n), At: time.Unix(1, 0), Measure: freeMeasure}
		return nil
	})
	f := quickFleet(t, s.Addr(), func(o *FleetOptions) { o.Connections = 1 })
	if total, err := f.Run(t.Context(), src); !errors.Is(err, ErrTooManyDevices) || total.Devices != maxDevices {
		t.Errorf("%d devices: %v", total.Devices, err)
	}
}

func TestFleetRefusesContradictions(t *testing.T) {
	for _, change := range []func(*FleetOptions){
		func(o *FleetOptions) { o.Topic = "city/{id}" },
		func(o *FleetOptions) { o.Topic = "city/{id}/{measure}/#" },
		func(o *FleetOptions) { o.Topic = "city/{id}/{measure}/{kind}" },
		func(o *FleetOptions) { o.Connections = -1 },
		func(o *FleetOptions) { o.Speed, o.Rate = 1, 1 },
		func(o *FleetOptions) { o.Rate = -1 },
	} {
		o := FleetOptions{Topic: "city/{id}/{measure}"}
		change(&o)
		if _, err := NewFleet(o); !errors.Is(err, ErrFleetOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestPacerFollowsTheRecordingOrTheRate(t *testing.T) {
	start := time.Unix(5000, 0)
	now := func() time.Time { return start.Add(time.Second) }
	at := func(s int64) *Event { return &Event{At: time.Unix(s, 0)} }
	real := pacer{start: start, speed: 10}
	if a, b, c := real.wait(at(100), now), real.wait(at(110), now), real.wait(at(150), now); a != -time.Second || b != 0 || c != 4*time.Second {
		t.Error(a, b, c)
	}
	even := pacer{start: start, rate: 2}
	if a, b, c := even.wait(at(1), now), even.wait(at(1), now), even.wait(&Event{Kind: Offline}, now); a != -time.Second || b != -time.Second/2 || c != 0 {
		t.Error(a, b, c)
	}
	if even.n != 2 {
		t.Error("an event without a reading counts in the rate")
	}
	if w := (&pacer{start: start}).wait(at(1), now); w != 0 {
		t.Error(w)
	}
}

func TestPayloadKeepsItsSequence(t *testing.T) {
	e := &Event{Measure: &Measure{Name: `a"\` + "\n"}, Number: -0.5, Time: time.UnixMilli(1_700_000_000_042)}
	p := appendPayload(nil, e, 1_234_567)
	if string(p) != `{"n":"a\"\\\u000a","v":-0.5,"t":1700000000.042,"seq":1234567}` {
		t.Errorf("%s", p)
	}
	if n, ok := payloadSeq(p); !ok || n != 1_234_567 {
		t.Error(n, ok)
	}
	for _, bad := range []string{"", "}", `{"seq":}`, `{"n":1,"seq":x}`, `{"n":1,"seq":1`, `,"seq":99999999999999999999}`, `x"seq":1}`} {
		if n, ok := payloadSeq([]byte(bad)); ok {
			t.Errorf("%q: %d", bad, n)
		}
	}
}
