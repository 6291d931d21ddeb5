package city

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"
)

// SimulatorOptions say what city is simulated. The same options make the same events on the same machine.
type SimulatorOptions struct {
	Devices  int
	Seed     uint64
	Start    time.Time     // of the simulated clock; its zone is where the city lies
	Duration time.Duration // on that clock; 0: without end
	Count    int64         // of readings; 0: without end
	Calm     bool          // no dropouts
}

// ErrSimulatorOptions is returned for options out of range.
var ErrSimulatorOptions = errors.New("bad simulator options")

// Simulator is a city as a Source: road sensors, air stations, street lamps and parking sites, each with its habits over
// the day. Incidents make the road sensors of a neighbourhood report in bursts; devices drop out and send what they held
// back when they are online again.
type Simulator struct {
	options SimulatorOptions
	end     time.Time // zero: none
	rng     *rand.Rand
	queue   schedule
	out     []pending // events of the moment, out[next:] are to come
	next    int
	left    int64 // readings still to come
	id      []byte
	over    bool
}

// pending is an event of the moment; its device gives the id.
type pending struct {
	device *simulated
	kind   Kind
	at     time.Time
	held   held
}

// held is a measured value.
type held struct {
	measure *Measure
	time    time.Time
	number  float64
}

// maxHeld is how many readings a device holds back while it is offline; then it forgets the oldest.
const maxHeld = 1000

// NewSimulator builds the city.
func NewSimulator(o SimulatorOptions) (*Simulator, error) {
	switch {
	case o.Devices < 1 || o.Devices > maxDevices:
		return nil, fmt.Errorf("%w: %d devices; a city has 1 to %d", ErrSimulatorOptions, o.Devices, maxDevices)
	case o.Duration < 0:
		return nil, fmt.Errorf("%w: the duration %s is negative", ErrSimulatorOptions, o.Duration)
	case o.Count < 0:
		return nil, fmt.Errorf("%w: %d readings; their number is not negative", ErrSimulatorOptions, o.Count)
	case o.Start.IsZero():
		return nil, fmt.Errorf("%w: the city's clock has no time to begin at", ErrSimulatorOptions)
	}
	s := &Simulator{options: o, rng: rand.New(rand.NewPCG(o.Seed, 0)), left: o.Count}
	if o.Duration > 0 {
		s.end = o.Start.Add(o.Duration)
	}
	if o.Count == 0 {
		s.left = math.MaxInt64
	}
	for i := range o.Devices {
		d := newSimulated(i, o.Seed)
		// Devices are not in step: each begins somewhere in its period.
		s.push(wakeup{at: o.Start.Add(d.within(d.habit.period())), device: d, order: i})
		if !o.Calm {
			s.push(wakeup{at: o.Start.Add(d.every(6 * time.Hour)), device: d, order: i, what: dropOut})
		}
	}
	s.push(wakeup{at: o.Start.Add(s.untilIncident()), what: incident, order: -1})
	return s, nil
}

// wakeup is something that will happen.
type wakeup struct {
	at     time.Time
	device *simulated
	order  int // of devices, so that what happens at one time has one order
	what   int
}

const (
	measure = iota
	dropOut
	comeBack
	incident
)

func (s *Simulator) push(w wakeup) { heap.Push(&s.queue, w) }

// Next yields the next event.
func (s *Simulator) Next(e *Event) error {
	for s.next == len(s.out) {
		if s.over || s.left == 0 {
			return io.EOF
		}
		s.out, s.next = s.out[:0], 0
		s.step()
	}
	p := &s.out[s.next]
	s.next++
	if p.kind == Value {
		if s.left == 0 {
			return io.EOF
		}
		s.left--
	}
	s.id = append(s.id[:0], p.device.id...)
	*e = Event{Kind: p.kind, Device: s.id, At: p.at, Measure: p.held.measure, Time: p.held.time, Number: p.held.number}
	return nil
}

// step lets the next thing happen.
func (s *Simulator) step() {
	w := heap.Pop(&s.queue).(wakeup)
	if !s.end.IsZero() && w.at.After(s.end) {
		s.finish()
		return
	}
	d := w.device
	switch w.what {
	case measure:
		s.measured(w)
	case dropOut:
		if d.offline {
			break
		}
		d.offline = true
		s.out = append(s.out, pending{device: d, kind: Offline, at: w.at})
		s.push(wakeup{at: w.at.Add(min(d.every(4*time.Minute), 30*time.Minute)), device: d, order: w.order, what: comeBack})
	case comeBack:
		s.back(d, w.at)
		s.push(wakeup{at: w.at.Add(d.every(6 * time.Hour)), device: d, order: w.order, what: dropOut})
	case incident:
		s.incident(w.at)
		s.push(wakeup{at: w.at.Add(s.untilIncident()), what: incident, order: -1})
	}
}

// measured lets a device measure: what it reads is sent, or held back while it is offline.
func (s *Simulator) measured(w wakeup) {
	d := w.device
	from := len(d.back)
	d.back = d.habit.measure(d, w.at, d.back)
	s.push(wakeup{at: w.at.Add(d.pause(w.at)), device: d, order: w.order})
	if d.offline {
		if over := len(d.back) - maxHeld; over > 0 {
			d.back = append(d.back[:0], d.back[over:]...)
		}
		return
	}
	for _, h := range d.back[from:] {
		s.out = append(s.out, pending{device: d, at: w.at, held: h})
	}
	d.back = d.back[:from]
}

// back brings a device online, with what it held back.
func (s *Simulator) back(d *simulated, at time.Time) {
	d.offline = false
	s.out = append(s.out, pending{device: d, kind: Online, at: at})
	for _, h := range d.back {
		s.out = append(s.out, pending{device: d, at: at, held: h})
	}
	d.back = d.back[:0]
}

// finish brings every device online that is not, in order, so that nothing stays unsent.
func (s *Simulator) finish() {
	s.over = true
	for len(s.queue) > 0 {
		if w := heap.Pop(&s.queue).(wakeup); w.what == comeBack {
			s.back(w.device, s.end)
		}
	}
}

func (s *Simulator) untilIncident() time.Duration { return exponential(s.rng, 40*time.Minute) }

// incident slows the road sensors of a neighbourhood, a tenth of the city, for a while.
func (s *Simulator) incident(at time.Time) {
	center, reach := s.rng.IntN(s.options.Devices), s.options.Devices/20
	until := at.Add(5*time.Minute + time.Duration(s.rng.Int64N(int64(10*time.Minute))))
	for i := range s.queue {
		d := s.queue[i].device
		if d != nil && d.index >= center-reach && d.index <= center+reach {
			d.jam = until
		}
	}
}

func exponential(r *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(r.ExpFloat64() * float64(mean))
}

// schedule is a heap of what will happen, first by time.
type schedule []wakeup

func (s schedule) Len() int { return len(s) }

func (s schedule) Less(i, j int) bool {
	a, b := &s[i], &s[j]
	switch {
	case !a.at.Equal(b.at):
		return a.at.Before(b.at)
	case a.order != b.order:
		return a.order < b.order
	}
	return a.what < b.what
}

func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }

func (s *schedule) Push(x any) { *s = append(*s, x.(wakeup)) }

func (s *schedule) Pop() any {
	old := *s
	last := old[len(old)-1]
	*s = old[:len(old)-1]
	return last
}
