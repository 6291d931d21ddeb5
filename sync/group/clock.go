package group

import "time"

// plausible is before every commit whose time is right. A gateway without a battery for its clock begins in 1970.
var plausible = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// maxStep is by how much a clock may be corrected for its time before to be still good for retention.
const maxStep = time.Minute

// clock tells since when the time of commits can be compared with the time of now: retention must not trust a clock that
// jumped. What was committed before a step has its whole retention from the step on.
type clock struct {
	opened  time.Time // when the offsets were read
	stepped time.Time // when the last step was noticed; zero when there was none
	last    time.Time // the last now
}

// see takes the time into account. A time with a monotonic reading, as time.Now gives it, tells a step from time that has
// passed.
func (c *clock) see(now time.Time) {
	passed := now.Sub(c.last)                  // by the monotonic clock
	shown := now.Round(0).Sub(c.last.Round(0)) // by the one that is set
	c.step(now, shown-passed)
	c.last = now
}

func (c *clock) step(now time.Time, by time.Duration) {
	if by.Abs() > maxStep {
		c.stepped = now
	}
}
