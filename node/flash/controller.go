package flash

import (
	"math"
	"time"
)

// Unlimited is a budget that nothing exceeds.
const Unlimited = -1

// Config is what a controller keeps to.
type Config struct {
	Budget int64         // bytes that may be written in any 24 hours; Unlimited, or above 0
	Min    time.Duration // a commit is held open at least so long, whatever is written
	Max    time.Duration // and at most; not below Min
}

// State is what a controller has decided, and why.
type State struct {
	Linger    time.Duration // how long a commit is to be held open
	Day       int64         // bytes written in the last 24 hours
	Rate      float64       // bytes a second that have been written, about in the last minute
	Allowed   float64       // bytes a second that may be written for hours; +Inf without a budget
	Exceeding bool          // more than the budget was written in the last 24 hours
}

// Controller decides how long commits are held open. It is not safe for concurrent use.
//
// Every step it asks how much could be written at once without harm: so that, with three quarters of the budget's even
// rate from now on, no window of 24 hours, from the one that ends now to the one that ends tomorrow, holds more than the
// budget. That is the credit. It is what was saved in the last day, and what is written today beyond those three quarters
// reduces it. A load that goes on for an hour may use up the credit at a pace of hours, a burst at a pace of minutes. So a
// load that fits the budget with some room to spare is not delayed, though it comes in bursts or by day only, and one that
// does not fit is slowed down evenly and never starved.
//
// From the bytes that a commit costs follows how far apart commits must be. The linger grows to that at once; it shrinks
// slowly, and only when there is room to spare, so that it does not flap.
type Controller struct {
	cfg    Config
	window Window
	linger time.Duration
	bytes  fading // written in the last minute
	groups fading // commits, likewise
	hour   fading // bytes written in the last hour
}

const (
	// base is the share of the budget's even rate that is left for whatever comes.
	base = 0.75
	// margin is the share of the budget that is planned with: the linger follows what has happened.
	margin = 0.98
	// A load may use up the credit at these paces, short or long.
	shortPace, longPace = 15 * time.Minute, 6 * time.Hour
	// calm is the share of what is allowed below which the linger shrinks.
	calm = 0.92
	// shrink is the share of the linger that is left after a second of shrinking.
	shrink = 0.97
	// finest is the linger below which there might as well be none.
	finest = time.Millisecond
)

// fading is a sum in which what was added counts less the older it is.
type fading struct {
	sum    float64
	memory time.Duration // after which it counts for a third
}

func (f *fading) add(passed time.Duration, n int64) {
	f.sum = f.sum*math.Exp(-passed.Seconds()/f.memory.Seconds()) + float64(n)
}

// rate returns what is added in a second.
func (f *fading) rate() float64 { return f.sum / f.memory.Seconds() }

// NewController returns a controller that goes on from what is known of the last day.
func NewController(cfg Config, day Window) *Controller {
	cfg.Max = max(cfg.Max, cfg.Min)
	return &Controller{
		cfg: cfg, window: day, linger: cfg.Min,
		bytes: fading{memory: time.Minute}, groups: fading{memory: time.Minute}, hour: fading{memory: time.Hour},
	}
}

// Window returns what the controller knows of the last day.
func (c *Controller) Window() Window { return c.window }

// Step takes what was written, in how many commits, in the time that has passed since the last step, and decides. Steps
// should be a second or so apart.
func (c *Controller) Step(passed time.Duration, bytes, groups int64) State {
	passed, bytes, groups = max(passed, 0), max(bytes, 0), max(groups, 0)
	c.window.Add(passed, bytes)
	c.bytes.add(passed, bytes)
	c.groups.add(passed, groups)
	c.hour.add(passed, bytes)
	s := State{Linger: c.cfg.Min, Day: c.window.Bytes(), Rate: c.bytes.rate(), Allowed: math.Inf(1)}
	if c.cfg.Budget > 0 {
		even := margin * float64(c.cfg.Budget) / Day.Seconds()
		credit := c.credit(even)
		s.Allowed = max(0, base*even+credit/longPace.Seconds())
		c.follow(passed, max(0, base*even+credit/shortPace.Seconds()), s.Allowed)
		s.Linger, s.Exceeding = c.linger, s.Day > c.cfg.Budget
	}
	return s
}

// credit returns the bytes that could be written at once, where even is the budget's even rate in bytes a second. It is
// negative when even the base rate would exceed the budget.
func (c *Controller) credit(even float64) float64 {
	budget, least := even*Day.Seconds(), math.Inf(1)
	kept := float64(c.window.since(0))
	for i, gone := range c.window.slot {
		// As long as slot i is in the window, which counts it in full, the base rate goes on.
		ahead := time.Duration(i+1)*SlotLength - c.window.age
		least = min(least, budget-kept-base*even*ahead.Seconds())
		kept -= float64(gone)
	}
	return least
}

// follow brings the linger nearer to where what is written is what is allowed: for a short time, and for long.
func (c *Controller) follow(passed time.Duration, short, long float64) {
	now := c.bytes.rate()
	lasting := min(now, c.hour.rate())
	switch {
	case lasting > long:
		c.linger = max(c.linger, c.apart(long))
	case now > short:
		c.linger = max(c.linger, c.apart(short))
	case lasting < calm*long && now < calm*short:
		less := max(math.Pow(shrink, passed.Seconds()), lasting/long)
		c.linger = time.Duration(float64(c.linger) * less)
		if c.linger < finest {
			c.linger = 0
		}
	}
	c.linger = min(max(c.linger, c.cfg.Min), c.cfg.Max)
}

// apart returns how far apart commits must be, at what they have cost lately, to write so many bytes a second.
func (c *Controller) apart(rate float64) time.Duration {
	if c.groups.sum == 0 || rate <= 0 {
		return c.cfg.Max
	}
	return seconds(c.bytes.sum / c.groups.sum / rate)
}

func seconds(s float64) time.Duration {
	if s >= float64(math.MaxInt64)/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(s * float64(time.Second))
}
