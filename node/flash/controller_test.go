package flash

import (
	"fmt"
	"math"
	"testing"
	"time"
)

const (
	gb       = 1_000_000_000
	syncTime = 5 * time.Millisecond // of a card
)

// A city publishes messages of 150 bytes; it is asked for the rate a second at a time of day.
type city func(at time.Duration) float64

func steady(rate float64) city { return func(time.Duration) float64 { return rate } }

// simulation is a store on a card under the load of a city, and what a controller made of it.
type simulation struct {
	t       *testing.T
	c       *Controller
	cfg     Config
	now     time.Duration
	step    time.Duration // between two looks
	groups  float64       // parts of commits
	minutes []int64       // bytes written in each minute

	longest time.Duration // linger
	turns   int           // how often the linger changed its direction
	rising  bool
	warned  bool
	last    State
}

func simulate(t *testing.T, cfg Config) *simulation {
	return &simulation{t: t, cfg: cfg, step: 10 * time.Second, c: NewController(cfg, Window{})}
}

// run lets time pass.
func (s *simulation) run(d time.Duration, load city) *simulation {
	linger := s.c.linger
	for end := s.now + d; s.now < end; s.now += s.step {
		rate := load(s.now % Day)
		bytes, groups := s.cost(rate, linger)
		s.last = s.c.Step(s.step, bytes, groups)
		if at := int(s.now / time.Minute); at >= len(s.minutes) {
			s.minutes = append(s.minutes, bytes)
		} else {
			s.minutes[at] += bytes
		}
		if s.last.Linger < s.cfg.Min || s.last.Linger > max(s.cfg.Max, s.cfg.Min) {
			s.t.Fatalf("linger of %v", s.last.Linger)
		}
		if s.last.Linger != linger && (s.last.Linger > linger) != s.rising {
			s.rising = !s.rising
			s.turns++
		}
		linger = s.last.Linger
		s.longest = max(s.longest, linger)
		s.warned = s.warned || s.last.Exceeding
	}
	return s
}

// cost returns what is written between two looks: commits as far apart as the linger, the sync and the next message have
// it, in the journal in blocks of 4 KiB, and what they hold once more in a segment, every second.
func (s *simulation) cost(rate float64, linger time.Duration) (bytes, groups int64) {
	if rate <= 0 {
		return 0, 0
	}
	const message = 150.0 / 2 // compressed
	apart := (linger + syncTime).Seconds() + 1/rate
	s.groups += s.step.Seconds() / apart
	groups = int64(s.groups)
	s.groups -= float64(groups)
	frame := math.Ceil((rate*apart*message+200)/4096) * 4096
	return int64(frame*float64(groups) + (1.05*rate*message+16<<10)*s.step.Seconds()), groups
}

// worst returns the most that was written in 24 hours, and which they were.
func (s *simulation) worst() (most int64, end time.Duration) {
	sum := int64(0)
	for i, n := range s.minutes {
		sum += n
		if i >= 24*60 {
			sum -= s.minutes[i-24*60]
		}
		if sum > most {
			most, end = sum, time.Duration(i+1)*time.Minute
		}
	}
	return most, end
}

func (s *simulation) String() string {
	most, end := s.worst()
	return fmt.Sprintf("at most %.2f GB in a day (the one that ends after %v), linger up to %v, now %+v", float64(most)/gb, end, s.longest, s.last)
}

func (s *simulation) keeps() {
	s.t.Helper()
	if most, _ := s.worst(); most > s.cfg.Budget || s.warned {
		s.t.Errorf("a budget of %.1f GB is not kept: %v", float64(s.cfg.Budget)/gb, s)
	}
}

// Loads as they are in a city.
var (
	dayAndNight = func(day, night float64) city {
		return func(at time.Duration) float64 {
			if at >= 7*time.Hour && at < 20*time.Hour {
				return day
			}
			return night
		}
	}
	everyHour = func(burst, rest float64) city {
		return func(at time.Duration) float64 {
			if at%time.Hour < 5*time.Minute {
				return burst
			}
			return rest
		}
	}
	rushHours = func(at time.Duration) float64 {
		h := at.Hours()
		return 50 + 1500*math.Exp(-(h-8)*(h-8)) + 1500*math.Exp(-(h-17)*(h-17))
	}
)

func TestTheBudgetIsKeptWhereLongerCommitsCanKeepIt(t *testing.T) {
	for name, c := range map[string]struct {
		load   city
		budget int64
	}{
		"steady, 1000 a second":        {steady(1000), 20 * gb},
		"steady, 20 a second":          {steady(20), 4 * gb},
		"day and night":                {dayAndNight(1000, 10), 12 * gb},
		"bursts every hour":            {everyHour(2000, 5), 5 * gb},
		"bursts in the night only":     {func(at time.Duration) float64 { return everyHour(3000, 0)(at) * float64(1-min(1, at/(6*time.Hour))) }, 2 * gb},
		"rush hours":                   {rushHours, 10 * gb},
		"a load that grows by the day": {func(at time.Duration) float64 { return 10 + 400*at.Hours()/24 }, 8 * gb},
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, Config{Budget: c.budget, Max: time.Second}).run(3*Day, c.load)
			s.keeps()
			if s.longest == 0 {
				t.Errorf("the budget was no bound: %v", s)
			}
			t.Log(s)
		})
	}
}

func TestALoadThatFitsTheBudgetWithRoomToSpareIsNotDelayed(t *testing.T) {
	for name, c := range map[string]struct {
		load city
		room float64 // budget over need: the more a load varies, the more
		most time.Duration
	}{
		"steady": {steady(20), 1.1, 0}, "bursts every hour": {everyHour(1000, 1), 1.25, 0}, "day and night": {dayAndNight(40, 1), 1.8, 0},
		"rush hours": {func(at time.Duration) float64 { return rushHours(at) / 30 }, 1.5, 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			free := simulate(t, Config{Budget: Unlimited, Max: time.Second}).run(3*Day, c.load)
			most, _ := free.worst()
			if free.longest != 0 || free.warned || !math.IsInf(free.last.Allowed, 1) {
				t.Fatalf("delayed without a budget: %v", free)
			}
			s := simulate(t, Config{Budget: int64(c.room * float64(most)), Max: time.Second}).run(3*Day, c.load)
			s.keeps()
			if s.longest > c.most {
				t.Errorf("delayed for nothing: %v", s)
			}
		})
	}
}

func TestABudgetThatCannotBeKeptIsToldAndCommitsWaitAsLongAsTheyMay(t *testing.T) {
	s := simulate(t, Config{Budget: 10 * gb, Max: time.Second}).run(2*time.Hour, steady(2000))
	for s.now < 2*Day && !s.warned {
		s.run(time.Minute, steady(2000))
	}
	if !s.warned || s.last.Linger != time.Second || s.now > 12*time.Hour {
		t.Errorf("told after %v: %v", s.now, s)
	}
	s.run(2*Day, steady(2000))
	if !s.last.Exceeding || s.last.Linger != time.Second || s.last.Day < 10*gb {
		t.Errorf("not told any more: %v", s)
	}
	s.run(30*time.Hour, steady(1))
	if s.last.Exceeding || s.last.Linger != 0 {
		t.Errorf("told for ever: %v", s)
	}
}

func TestWhatCannotBeHelpedCostsNoMoreThanTheLongestDelay(t *testing.T) {
	alone := simulate(t, Config{Budget: Unlimited, Min: time.Second, Max: time.Second}).run(2*Day, steady(2000))
	s := simulate(t, Config{Budget: 10 * gb, Max: time.Second}).run(3*Day, steady(2000))
	least := alone.minutes[len(alone.minutes)-1]
	if got := s.minutes[len(s.minutes)-1]; got > least*102/100 {
		t.Errorf("%d bytes in the last minute, with the longest linger it is %d", got, least)
	}
}

func TestTheLingerStaysWithinItsBounds(t *testing.T) {
	for _, c := range []Config{
		{Budget: 20 * gb, Min: 50 * time.Millisecond, Max: 100 * time.Millisecond}, {Budget: Unlimited, Min: 50 * time.Millisecond, Max: time.Second},
		{Budget: 1, Min: 0, Max: 0}, {Budget: 1, Min: 2 * time.Second, Max: time.Second}, {Budget: math.MaxInt64, Max: time.Hour},
	} {
		s := simulate(t, c).run(6*time.Hour, steady(1000)) // which looks at every step
		if c.Budget == 1 && s.last.Linger != max(c.Min, c.Max) || c.Budget == Unlimited && s.longest != c.Min {
			t.Errorf("%+v: %v", c, s)
		}
	}
}

func TestALoadFromNowhereUsesWhatWasSavedAndNotMore(t *testing.T) {
	s := simulate(t, Config{Budget: 10 * gb, Max: time.Second}).run(Day, steady(1))
	if s.longest != 0 {
		t.Fatalf("a message a second is delayed: %v", s)
	}
	s.run(5*time.Minute, steady(5000))
	if s.longest != 0 {
		t.Errorf("five minutes are delayed, after a quiet day: %v", s)
	}
	s.run(55*time.Minute, steady(5000))
	if s.last.Linger != time.Second {
		t.Errorf("an hour at more than can be kept up is not slowed down: %v", s)
	}
	s.run(Day, steady(200))
	s.keeps()
}

func TestWhatWouldTakeTheWholeCreditIsSlowedDownWithinSeconds(t *testing.T) {
	s := simulate(t, Config{Budget: gb, Max: time.Second}).run(Day, steady(1))
	s.step = time.Second
	s.run(10*time.Second, steady(20000))
	if s.last.Linger < 500*time.Millisecond {
		t.Errorf("after 10 s: %v", s)
	}
}

func TestAShortBurstIsNotDelayed(t *testing.T) {
	s := simulate(t, Config{Budget: 4 * gb, Max: time.Second}).run(Day, steady(2))
	for range 20 {
		s.run(2*time.Second, steady(100)) // a gateway that was away sends what it has
		s.run(10*time.Minute, steady(2))
	}
	if s.longest != 0 {
		t.Errorf("delayed: %v", s)
	}
	s.keeps()
}

func TestTheLingerDoesNotFlap(t *testing.T) {
	s := simulate(t, Config{Budget: 20 * gb, Max: time.Second}).run(2*Day, steady(1000))
	s.turns = 0
	s.run(Day, steady(1000))
	if s.turns > 100 {
		t.Errorf("the linger turned %d times in a day: %v", s.turns, s)
	}
	before := s.last.Linger
	for range 100 {
		s.run(time.Minute, steady(1000))
		if change := math.Abs(float64(s.last.Linger-before)) / float64(before); change > 0.1 {
			t.Fatalf("from %v to %v in a minute", before, s.last.Linger)
		}
		before = s.last.Linger
	}
}

func TestARestartForgetsNothing(t *testing.T) {
	cfg, load := Config{Budget: 18 * gb, Max: time.Second}, steady(900)
	whole := simulate(t, cfg)
	for whole.now < 3*Day {
		whole.run(8*time.Hour, load)
		whole.c = NewController(cfg, whole.c.Window())
	}
	whole.run(time.Hour, load)
	if most, _ := whole.worst(); most > cfg.Budget {
		t.Errorf("restarted with its memory: %v", whole)
	}
	forgetful := simulate(t, cfg)
	for forgetful.now < 3*Day {
		forgetful.run(2*time.Hour, load)
		forgetful.c = NewController(cfg, Window{})
	}
	if most, _ := forgetful.worst(); most <= cfg.Budget {
		t.Errorf("the memory makes no difference: %v", forgetful)
	}
}

func BenchmarkStep(b *testing.B) {
	c := NewController(Config{Budget: 10 * gb, Max: time.Second}, Window{})
	for b.Loop() {
		c.Step(time.Second, 100_000, 20)
	}
}
