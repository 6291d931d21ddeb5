package flash

import "time"

// A Window covers a day in slots.
const (
	Day        = 24 * time.Hour
	SlotLength = 15 * time.Minute
	slots      = int(Day/SlotLength) + 1 // the newest of them is being filled
)

// Window remembers how much was written in the last day. The zero value remembers nothing.
type Window struct {
	slot [slots]int64  // bytes, oldest first
	age  time.Duration // of the newest slot
	span time.Duration // that is remembered, a day at most
}

// Add lets time pass and then counts bytes. Neither may be negative.
func (w *Window) Add(passed time.Duration, bytes int64) {
	passed, bytes = max(passed, 0), max(bytes, 0)
	w.span = min(w.span+min(passed, Day), Day)
	if passed >= Day+SlotLength {
		w.slot, w.age, passed = [slots]int64{}, 0, 0
	}
	w.age += passed
	for w.age >= SlotLength {
		copy(w.slot[:], w.slot[1:])
		w.slot[slots-1] = 0
		w.age -= SlotLength
	}
	w.slot[slots-1] += bytes
}

// Bytes returns what was written in the last day. Of the slot that the day began in, the share that lies in it counts.
func (w *Window) Bytes() int64 {
	share := 1 - float64(w.age)/float64(SlotLength)
	return w.since(1) + int64(share*float64(w.slot[0]))
}

// since returns what was written in all slots from the one with index i on.
func (w *Window) since(i int) (sum int64) {
	for _, n := range w.slot[i:] {
		sum += n
	}
	return sum
}

// Span returns how much of the last day is known, and so what [Window.Bytes] is about.
func (w *Window) Span() time.Duration { return w.span }

// PerDay returns the bytes of a day at the rate of what is known, and false while too little is.
func (w *Window) PerDay() (float64, bool) {
	const enough = 10 * time.Minute
	if w.span < enough {
		return 0, false
	}
	return float64(w.Bytes()) / float64(w.span) * float64(Day), true
}
