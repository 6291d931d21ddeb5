package flash

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAWindowForgetsWhatIsADayOld(t *testing.T) {
	var w Window
	w.Add(0, 1000)
	if w.Bytes() != 1000 || w.Span() != 0 {
		t.Fatalf("%d bytes in %v", w.Bytes(), w.Span())
	}
	w.Add(23*time.Hour, 500)
	if w.Bytes() != 1500 || w.Span() != 23*time.Hour {
		t.Fatalf("%d bytes in %v", w.Bytes(), w.Span())
	}
	w.Add(time.Hour+SlotLength/2, 1) // half of the first slot has left
	if got := w.Bytes(); got != 1001 || w.Span() != Day {
		t.Fatalf("%d bytes in %v", got, w.Span())
	}
	w.Add(SlotLength, 0)
	if got := w.Bytes(); got != 501 {
		t.Fatalf("%d bytes", got)
	}
	w.Add(1000*time.Hour, 7)
	if got := w.Bytes(); got != 7 || w.Span() != Day {
		t.Fatalf("%d bytes in %v after a long time", got, w.Span())
	}
	w.Add(-time.Hour, -7)
	if got := w.Bytes(); got != 7 {
		t.Fatalf("%d bytes after a step backwards", got)
	}
}

// Whatever is added when, the window holds what was written in a day: not less than in the last day less a slot, and not
// more than in the last day and a slot.
func TestAWindowIsADayLong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type piece struct {
			at time.Duration
			n  int64
		}
		var w Window
		var all []piece
		now := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			passed := time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "passed"))
			n := rapid.Int64Range(0, 1e9).Draw(t, "bytes")
			now += passed
			w.Add(passed, n)
			all = append(all, piece{now, n})
		}
		var least, most int64
		for _, p := range all {
			if now-p.at < Day-SlotLength {
				least += p.n
			}
			if now-p.at <= Day+SlotLength {
				most += p.n
			}
		}
		if got := w.Bytes(); got < least || got > most {
			t.Fatalf("%d bytes, written were %d to %d", got, least, most)
		}
	})
}

func TestTheRateOfADayIsToldWhenEnoughIsKnown(t *testing.T) {
	var w Window
	w.Add(time.Minute, 1<<20)
	if _, ok := w.PerDay(); ok {
		t.Error("of a minute")
	}
	w.Add(59*time.Minute, 1<<20)
	if got, ok := w.PerDay(); !ok || got != 48<<20 {
		t.Errorf("2 MiB in an hour are %v a day", got)
	}
}
