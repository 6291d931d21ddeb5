package city

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// simulated is one device of the simulated city.
type simulated struct {
	index   int
	id      string
	habit   habit
	rng     *rand.Rand
	state   float64   // of the habit: what drifts slowly
	level   float64   // of the habit: what differs from device to device, 0 to 1
	jam     time.Time // an incident holds until then
	offline bool
	back    []held // measured and not sent yet
}

// habit is how one kind of device behaves.
type habit interface {
	period() time.Duration
	// measure appends what the device reads now.
	measure(d *simulated, at time.Time, into []held) []held
}

// newSimulated makes device number i: of ten, four watch a road, three are lamps, two watch a parking site, one the air.
func newSimulated(i int, seed uint64) *simulated {
	d := &simulated{index: i, rng: rand.New(rand.NewPCG(seed, uint64(i)+1))}
	kind := ""
	switch i % 10 {
	case 0, 1, 2, 3:
		d.habit, kind = road{}, "road"
	case 4, 5, 6:
		d.habit, kind = lamp{}, "lamp"
	case 7, 8:
		d.habit, kind = parking{}, "parking"
	default:
		d.habit, kind = air{}, "air"
	}
	d.id = fmt.Sprintf("%s-%04d", kind, i)
	d.level, d.state = d.rng.Float64(), d.rng.Float64()
	return d
}

// within is a random time below limit.
func (d *simulated) within(limit time.Duration) time.Duration {
	return time.Duration(d.rng.Int64N(int64(limit)))
}

// every is a random time with that mean, as between things that happen by chance.
func (d *simulated) every(mean time.Duration) time.Duration { return exponential(d.rng, mean) }

// pause is the time to the next measurement: the period with the jitter of a cheap clock, a tenth of it in a jam.
func (d *simulated) pause(at time.Time) time.Duration {
	p := d.habit.period()
	if _, watches := d.habit.(road); watches && at.Before(d.jam) {
		p /= 10
	}
	return p - p/50 + d.within(p/25)
}

// drift moves the slow state, between 0 and 1, by a small step.
func (d *simulated) drift(step float64) float64 {
	d.state = min(max(d.state+step*(d.rng.Float64()-0.5), 0), 1)
	return d.state
}

// hour is the time of day, 0 to 24.
func hour(at time.Time) float64 {
	return float64(at.Hour()) + float64(at.Minute())/60 + float64(at.Second())/3600
}

// bump is a bell around a time of day, 1 at its top; it goes round midnight.
func bump(h, top, width float64) float64 {
	d := math.Abs(h - top)
	d = min(d, 24-d)
	return math.Exp(-d * d / (2 * width * width))
}

// traffic is how full the streets are, 0 to 1: two rushes on a working day, one slow hump at the weekend.
func traffic(at time.Time) float64 {
	h := hour(at)
	if day := at.Weekday(); day == time.Saturday || day == time.Sunday {
		return 0.05 + 0.5*bump(h, 14, 4)
	}
	return min(0.04+0.85*bump(h, 8, 1.1)+0.9*bump(h, 16.5, 1.6)+0.4*bump(h, 12.5, 3), 1)
}

// The measures of the simulated city.
var (
	speedMeasure       = &Measure{Name: "avgSpeed", Unit: "km/h"}
	vehiclesMeasure    = &Measure{Name: "vehicleCount"}
	pm10Measure        = &Measure{Name: "pm10", Unit: "ug/m3"}
	pm25Measure        = &Measure{Name: "pm25", Unit: "ug/m3"}
	temperatureMeasure = &Measure{Name: "temperature", Unit: "Cel"}
	humidityMeasure    = &Measure{Name: "humidity", Unit: "%RH"}
	powerMeasure       = &Measure{Name: "power", Unit: "W"}
	freeMeasure        = &Measure{Name: "free"}
)

// decimal rounds to one digit behind the point, so that the shortest text of the number has no more.
func decimal(v float64) float64 { return math.Round(v*10) / 10 }

// road watches a street: vehicles since the last report, and how fast they were.
type road struct{}

func (road) period() time.Duration { return time.Minute }

func (road) measure(d *simulated, at time.Time, into []held) []held {
	full := min(traffic(at)*(0.6+0.8*d.level), 1)
	free := 40 + 60*math.Floor(3*d.level)/3 // 40, 60 or 80 km/h when the street is empty
	if at.Before(d.jam) {
		full = 1
		free /= 3
	}
	speed := free*(1-0.6*full) + 3*d.rng.NormFloat64()
	vehicles := math.Round(30*full + math.Sqrt(30*full+0.3)*d.rng.NormFloat64())
	return append(into, held{speedMeasure, at, math.Round(max(speed, 3))}, held{vehiclesMeasure, at, max(vehicles, 0)})
}

// lamp reports its power: full in the evening, dimmed at night, next to nothing by day. All switch within minutes.
type lamp struct{}

func (lamp) period() time.Duration { return 5 * time.Minute }

func (lamp) measure(d *simulated, at time.Time, into []held) []held {
	h, watts := hour(at)+0.2*d.level, 0.4
	switch {
	case h >= 17.5 && h < 23, h >= 5.5 && h < 7.2:
		watts = 70 + 30*d.level
	case h >= 23 || h < 5.5:
		watts = (70 + 30*d.level) * 0.45
	}
	return append(into, held{powerMeasure, at, decimal(watts * (1 + 0.01*d.rng.NormFloat64()))})
}

// parking counts free places: full at work or in the evening, by the site's place in the city.
type parking struct{}

func (parking) period() time.Duration { return 30 * time.Second }

func (parking) measure(d *simulated, at time.Time, into []held) []held {
	places := 20 + math.Floor(180*d.level)
	busy := 0.1 + 0.8*bump(hour(at), 13, 3.5)
	if d.index%2 == 0 {
		busy = 0.1 + 0.8*bump(hour(at), 1, 5)
	}
	if d.state += 0.1 * (busy - d.state); d.rng.IntN(4) > 0 {
		return into // most of the time nobody comes or goes
	}
	free := math.Round(places * (1 - d.drift(0.05)))
	return append(into, held{freeMeasure, at, free})
}

// air is a station for particulate matter and weather.
type air struct{}

func (air) period() time.Duration { return 2 * time.Minute }

func (air) measure(d *simulated, at time.Time, into []held) []held {
	h := hour(at)
	pm10 := 8 + 25*traffic(at)*d.level + 30*d.drift(0.05) + d.rng.NormFloat64()
	season := -math.Cos(2 * math.Pi * float64(at.YearDay()-20) / 365)
	temperature := 10 + 9*season + 4*math.Sin(2*math.Pi*(h-9)/24) + 2*d.level + 0.2*d.rng.NormFloat64()
	humidity := min(max(95-2*temperature-10*math.Sin(2*math.Pi*(h-9)/24)+d.rng.NormFloat64(), 15), 100)
	return append(into,
		held{pm10Measure, at, decimal(max(pm10, 0.3))},
		held{pm25Measure, at, decimal(max(pm10*(0.4+0.2*d.level), 0.1))},
		held{temperatureMeasure, at, decimal(temperature)},
		held{humidityMeasure, at, decimal(humidity)})
}
