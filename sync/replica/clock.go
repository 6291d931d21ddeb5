package replica

import (
	"fmt"
	"time"
)

const (
	// firstYear is the earliest year that a clock can rightly tell, because culvert did not exist before, and lastYear the
	// last one that is reckoned with.
	firstYear, lastYear = 2024, 2199
	// maxLeap is how far the clock may leap forward without records expiring late.
	maxLeap = 24 * time.Hour
	// settled is how long a clock that leapt must then have run evenly to be believed.
	settled = 10 * time.Minute
	// unsteady is a change of the clock against the time since boot that is no correction any more but a step.
	unsteady = time.Minute
)

// clockGuard decides whether retention may go by the clock on the wall. A clock that is wrong by years would expire a
// whole log in one pass. So nothing expires by time while nobody has set the clock, or it tells a year that cannot be; and
// after a leap forward of more than a day, whether at once or in steps, not before it has run evenly for ten minutes: time
// for a source that was wrong to be outvoted, or for somebody to see it. The zero value has seen nothing.
//
// It is used by one goroutine at a time.
type clockGuard struct {
	begun bool
	base  time.Duration // of the wall above the time since boot, as it was believed last
	last  time.Duration // the same, as of the last look
	since time.Duration // the time since boot at which it last made a step
}

// look takes the clocks of one moment: the wall's, the time since boot, and whether something keeps the wall's right.
// Newest is the largest timestamp in the log, ms, -1 if there is none: at the first look it stands for the last time that
// the clock was seen. It returns why nothing may expire by time now, "" if it may.
func (g *clockGuard) look(wall time.Time, up time.Duration, synchronised bool, newest int64) (held string) {
	year := wall.UTC().Year()
	if year > lastYear { // beyond what the sums below can hold
		g.since = up
		return fmt.Sprintf("the clock tells the year %d", year)
	}
	above := time.Duration(wall.UnixNano()) - up
	if !g.begun {
		g.begun, g.base, g.last, g.since = true, above, above, up
		if now := wall.UnixMilli(); newest >= 0 && now > newest && time.Duration(now-newest)*time.Millisecond > maxLeap {
			g.base -= time.Duration(now-newest) * time.Millisecond
		}
	}
	if step := above - g.last; step > unsteady || step < -unsteady {
		g.since = up
	}
	g.last = above
	if up-g.since >= settled {
		g.base = above
	}
	switch leap := above - g.base; {
	case !synchronised:
		return "the clock is not synchronised"
	case year < firstYear:
		return fmt.Sprintf("the clock tells the year %d", year)
	case leap > maxLeap:
		return fmt.Sprintf("the clock leapt forward by %v; it is believed when it has run evenly for %v", leap.Round(time.Minute), settled)
	}
	return ""
}
