package city

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"
)

// monday is the start of a working day.
var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func simulate(t testing.TB, o SimulatorOptions, fn func(Event)) {
	t.Helper()
	s, err := NewSimulator(o)
	if err != nil {
		t.Fatal(err)
	}
	drain(t, s, fn)
}

func TestTheSameSeedMakesTheSameCity(t *testing.T) {
	fingerprint := func(seed uint64) string {
		h := sha256.New()
		simulate(t, SimulatorOptions{Devices: 50, Seed: seed, Start: monday, Duration: 4 * time.Hour}, func(e Event) {
			if e.Kind == Value {
				h.Write(appendPayload(nil, &e, 0))
			}
			fmt.Fprintln(h, e.Kind, string(e.Device), e.At.UnixNano())
		})
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	if a, b := fingerprint(1), fingerprint(1); a != b {
		t.Error("the same seed made two cities")
	}
	if fingerprint(1) == fingerprint(2) {
		t.Error("two seeds made the same city")
	}
}

func TestSimulatedEventsAreInOrderAndDevicesOfflineSaySo(t *testing.T) {
	last, measured, offline, drops := monday, map[string]time.Time{}, map[string]bool{}, 0
	kinds := map[string]int{}
	simulate(t, SimulatorOptions{Devices: 200, Seed: 3, Start: monday, Duration: 24 * time.Hour}, func(e Event) {
		id := string(e.Device)
		if e.At.Before(last) {
			t.Fatalf("%s at %s after %s", id, e.At, last)
		}
		last = e.At
		switch e.Kind {
		case Offline:
			offline[id] = true
			drops++
		case Online:
			offline[id] = false
		default:
			if offline[id] {
				t.Fatalf("%s publishes while it is offline", id)
			}
			if e.Time.Before(measured[id]) || e.Time.After(e.At) {
				t.Fatalf("%s: measured %s, before that %s, sent %s", id, e.Time, measured[id], e.At)
			}
			measured[id] = e.Time
			kinds[e.Measure.Name]++
		}
	})
	for id, off := range offline {
		if off {
			t.Errorf("%s stays offline with what it held back", id)
		}
	}
	if drops < 200 || len(measured) != 200 || len(kinds) != 8 {
		t.Errorf("%d dropouts, %d devices, measures %v", drops, len(measured), kinds)
	}
}

func TestSimulatedCityHasItsDay(t *testing.T) {
	var vehicles, reports [24]float64
	lamps := map[bool]float64{}
	simulate(t, SimulatorOptions{Devices: 100, Seed: 5, Start: monday, Duration: 24 * time.Hour, Calm: true}, func(e Event) {
		switch h := e.Time.Hour(); e.Measure {
		case vehiclesMeasure:
			vehicles[h] += e.Number
			reports[h]++
		case powerMeasure:
			lamps[h == 20] = max(lamps[h == 20], e.Number)
			if h == 12 && e.Number > 1 {
				t.Fatalf("a lamp takes %g W at noon", e.Number)
			}
		}
	})
	if rush, night := vehicles[8]/reports[8], vehicles[3]/reports[3]; rush < 2*night {
		t.Errorf("%.1f vehicles a minute in the rush, %.1f at night", rush, night)
	}
	if lamps[true] < 60 {
		t.Errorf("lamps take at most %g W in the evening", lamps[true])
	}
}

func TestIncidentsMakeBursts(t *testing.T) {
	perMinute := map[time.Time]int{}
	simulate(t, SimulatorOptions{Devices: 100, Seed: 5, Start: monday, Duration: 24 * time.Hour, Calm: true}, func(e Event) {
		if e.Measure == speedMeasure {
			perMinute[e.At.Truncate(time.Minute)]++
		}
	})
	quiet, burst := 0, 0
	for _, n := range perMinute {
		if n < 60 {
			quiet++
		} else {
			burst++
		}
	}
	if burst < 20 || quiet < 600 {
		t.Errorf("%d quiet minutes and %d with a burst", quiet, burst)
	}
}

func TestSimulatorStopsAfterItsCount(t *testing.T) {
	n := 0
	simulate(t, SimulatorOptions{Devices: 10, Seed: 1, Start: monday, Count: 12_345}, func(e Event) {
		if e.Kind == Value {
			n++
		}
	})
	if n != 12_345 {
		t.Errorf("%d readings", n)
	}
}

func TestRefusalsOfTheSimulatorAreForPeople(t *testing.T) {
	_, err := NewSimulator(SimulatorOptions{Devices: 1, Start: time.Now(), Count: -1})
	if want := "bad simulator options: -1 readings; their number is not negative"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestSimulatorRefusesNonsense(t *testing.T) {
	for _, o := range []SimulatorOptions{
		{Devices: 0, Start: monday}, {Devices: maxDevices + 1, Start: monday}, {Devices: 1},
		{Devices: 1, Start: monday, Duration: -1}, {Devices: 1, Start: monday, Count: -1},
	} {
		if _, err := NewSimulator(o); !errors.Is(err, ErrSimulatorOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
