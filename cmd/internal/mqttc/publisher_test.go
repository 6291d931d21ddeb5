package mqttc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestPublisherDeliversInOrderThroughAFullWindow(t *testing.T) {
	var got []string
	s := startSink(t, func(_ int64, m Message) bool {
		got = append(got, string(m.Payload))
		return true
	})
	p, err := NewPublisher(t.Context(), s.Addr(), PublisherOptions{Window: 7})
	if err != nil {
		t.Fatal(err)
	}
	const n = 100_000 // past the last packet id
	for i := range n {
		if err := p.Publish(t.Context(), []byte("t"), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := p.Counts(); c != (Counts{Published: n, Acked: n}) {
		t.Errorf("counts %+v", c)
	}
	p.Close()
	s.Close()
	if len(got) != n {
		t.Fatalf("%d messages arrived", len(got))
	}
	for i, g := range got {
		if g != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, g)
		}
	}
	if err := p.Publish(t.Context(), []byte("t"), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestPublisherSendsAgainInOrderAfterTheConnectionBroke(t *testing.T) {
	var mu sync.Mutex
	type arrival struct {
		conn    int64
		payload string
		dup     bool
	}
	var got []arrival
	s := startSink(t, func(conn int64, m Message) bool {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, arrival{conn, string(m.Payload), m.Dup})
		return conn > 3 || len(got)%50 != 0 // three connections die, the message they die of unacknowledged
	})
	p, err := NewPublisher(t.Context(), s.Addr(), PublisherOptions{Window: 16})
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	for i := range n {
		if err := p.Publish(t.Context(), []byte("t"), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	counts := p.Counts()
	p.Close()
	if counts.Acked != n || counts.Reconnects != 3 || counts.Resent == 0 {
		t.Errorf("counts %+v", counts)
	}
	s.Close()
	// In every connection the numbers rise by one, and each begins at or before where the one before it ended.
	next, seen := map[int64]int{}, 0
	for _, a := range got {
		var i int
		if _, err := fmt.Sscan(a.payload, &i); err != nil {
			t.Fatal(err)
		}
		if want, ok := next[a.conn]; ok && i != want {
			t.Fatalf("connection %d: message %d where %d belongs", a.conn, i, want)
		}
		if i > seen {
			t.Fatalf("message %d arrived before %d", i, seen)
		}
		if i < seen && !a.dup {
			t.Errorf("message %d came again without DUP", i)
		}
		next[a.conn], seen = i+1, max(seen, i+1)
	}
	if seen != n {
		t.Errorf("%d of %d messages arrived", seen, n)
	}
}

func TestPublisherHoldsWhatItHasWhileOffline(t *testing.T) {
	s := startSink(t, nil)
	p, err := NewPublisher(t.Context(), s.Addr(), PublisherOptions{Window: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Offline()
	for i := range 10 {
		if err := p.Publish(t.Context(), []byte("t"), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Publish(ctx, []byte("t"), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a full window offline: %v", err)
	}
	p.Online()
	if err := p.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := p.Counts(); c.Acked != 10 || c.Reconnects != 1 {
		t.Errorf("counts %+v", c)
	}
}

func TestPublisherGivesUpWhenTheBrokerStaysAway(t *testing.T) {
	s := startSink(t, nil)
	p, err := NewPublisher(t.Context(), s.Addr(), PublisherOptions{Window: 10, RetryFor: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s.Close()
	for {
		if err = p.Publish(t.Context(), []byte("t"), nil); err != nil {
			break
		}
	}
	if errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPublisherTakesAcknowledgementsInAnyOrderAndIgnoresForeignOnes(t *testing.T) {
	p := &Publisher{ring: make([]slot, 8), space: make(chan struct{}, 1), next: 5}
	for _, id := range []uint16{3, 3, 6, 65_535, 0, 1, 2} {
		p.ack(id)
	}
	if p.head != 3 || p.acked.Load() != 3 {
		t.Errorf("head %d, acknowledged %d", p.head, p.acked.Load())
	}
	p.ack(5)
	p.ack(4)
	if p.head != 5 || p.acked.Load() != 5 {
		t.Errorf("head %d, acknowledged %d", p.head, p.acked.Load())
	}
}

func TestPublisherRefusesWhatMQTTCannotCarry(t *testing.T) {
	s := startSink(t, nil)
	p, err := NewPublisher(t.Context(), s.Addr(), PublisherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, topic := range [][]byte{nil, slices.Repeat([]byte("x"), MaxString+1)} {
		if err := p.Publish(t.Context(), topic, nil); !errors.Is(err, ErrTooLarge) {
			t.Errorf("topic of %d bytes: %v", len(topic), err)
		}
	}
	if _, err := NewPublisher(t.Context(), s.Addr(), PublisherOptions{Window: MaxPacketID + 1}); err == nil {
		t.Error("a window past the packet ids was taken")
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := Dial(t.Context(), ln.Addr().String(), Options{Timeout: 30 * time.Millisecond}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
