package city

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Layout says what the columns of a recording mean.
type Layout struct {
	ID        string   // column that names the device
	Time      string   // column of the time
	TimeForm  string   // "unix" (seconds), "unixms", or a layout of Go's time package; "" tries RFC 3339 and both unix forms
	Zone      string   // of times that have none: "+02:00" or a name of the zone database; "" is UTC
	Columns   []Column // what is measured; none: every other column
	Topic     string   // pattern with {id} and {measure}
	Separator byte     // between fields, ',' if 0
	SkipBad   bool     // go on after rows that cannot be read
}

// Column is a column of measured values.
type Column struct {
	Name    string // in the file
	Measure Measure
}

// Layouts of recordings that are known by name.
var layouts = map[string]Layout{
	// Road sensors that time the vehicles between two points, Aarhus.
	"aarhus": {
		ID: "REPORT_ID", Time: "TIMESTAMP", TimeForm: "2006-01-02T15:04:05", Zone: "+02:00", Topic: "city/traffic/{id}/{measure}",
		Columns: []Column{
			{"avgSpeed", Measure{Name: "avgSpeed", Unit: "km/h"}},
			{"vehicleCount", Measure{Name: "vehicleCount"}},
			{"avgMeasuredTime", Measure{Name: "avgMeasuredTime", Unit: "s"}},
			{"medianMeasuredTime", Measure{Name: "medianMeasuredTime", Unit: "s"}},
		},
	},
	// Particulate matter, temperature and humidity, Aberdeen.
	"aberdeen": {
		ID: "location_id", Time: "time_unix", TimeForm: "unix", Topic: "city/air/{id}/{measure}",
		Columns: []Column{
			{"P1_pm10_ugm3", Measure{Name: "pm10", Unit: "ug/m3"}},
			{"P2_pm25_ugm3", Measure{Name: "pm25", Unit: "ug/m3"}},
			{"temperature_c", Measure{Name: "temperature", Unit: "Cel"}},
			{"humidity_pct", Measure{Name: "humidity", Unit: "%RH"}},
		},
	},
	"generic": {Topic: "city/{id}/{measure}"},
}

// LayoutNames lists the layouts that FindLayout knows.
func LayoutNames() []string { return []string{"aarhus", "aberdeen", "generic"} }

// FindLayout finds a layout by its name.
func FindLayout(name string) (Layout, error) {
	l, ok := layouts[name]
	if !ok {
		return Layout{}, fmt.Errorf("layout %q: %s are known", name, strings.Join(LayoutNames(), ", "))
	}
	l.Columns = slices.Clone(l.Columns)
	return l, nil
}

// ParseColumn reads a column as it is written on the command line: column[=name][:unit], where the unit "text" stands for
// words instead of numbers.
func ParseColumn(s string) (Column, error) {
	column, unit, _ := strings.Cut(s, ":")
	column, name, renamed := strings.Cut(column, "=")
	if !renamed {
		name = column
	}
	if column == "" || checkLevel(name) != nil {
		return Column{}, fmt.Errorf("measure %q: column[=name][:unit] is the form, and the name becomes a level of the topic", s)
	}
	return Column{Name: column, Measure: Measure{Name: name, Unit: strings.TrimPrefix(unit, "text"), Text: unit == "text"}}, nil
}

// checkLevel says whether s can be one level of an MQTT topic.
func checkLevel[T ~string | ~[]byte](s T) error {
	if len(s) == 0 {
		return fmt.Errorf("%w: empty", ErrValue)
	}
	if len(s) > 256 {
		return fmt.Errorf("%w: %d bytes, where a level of a topic should have at most 256", ErrValue, len(s))
	}
	for i := range len(s) {
		if c := s[i]; c == '/' || c == '+' || c == '#' || c < 0x20 {
			return fmt.Errorf("%w: %q cannot be a level of a topic", ErrValue, string(s))
		}
	}
	return nil
}

// clockReader reads times. The last one is kept: rows come in groups of the same time.
type clockReader struct {
	form string
	zone *time.Location
	text string
	last time.Time
}

func newClockReader(form, zone string) (*clockReader, error) {
	loc, err := parseZone(zone)
	return &clockReader{form: form, zone: loc}, err
}

func parseZone(s string) (*time.Location, error) {
	if s == "" {
		return time.UTC, nil
	}
	if t, err := time.Parse("-07:00", s); err == nil {
		_, offset := t.Zone()
		return time.FixedZone(s, offset), nil
	}
	loc, err := time.LoadLocation(s)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: an offset such as +02:00, or a name of the zone database: %w", s, err)
	}
	return loc, nil
}

func (c *clockReader) read(b []byte) (time.Time, error) {
	if string(b) == c.text && c.text != "" {
		return c.last, nil
	}
	t, err := c.parse(string(b))
	if err != nil {
		return t, err
	}
	if t.Year() < 1 || t.Year() > 9999 {
		return t, fmt.Errorf("%w: the year %d", ErrValue, t.Year())
	}
	c.text, c.last = string(b), t
	return t, nil
}

func (c *clockReader) parse(s string) (time.Time, error) {
	n, numErr := strconv.ParseInt(s, 10, 64)
	switch {
	case c.form == "unix" && numErr == nil:
		return time.Unix(n, 0), nil
	case c.form == "unixms" && numErr == nil:
		return time.UnixMilli(n), nil
	case c.form == "unix", c.form == "unixms":
		return time.Time{}, fmt.Errorf("%w: %q is no %s time", ErrValue, s, c.form)
	case c.form == "" && numErr == nil && n > 100_000_000_000:
		return time.UnixMilli(n), nil
	case c.form == "" && numErr == nil:
		return time.Unix(n, 0), nil
	}
	forms := []string{c.form}
	if c.form == "" {
		forms = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"}
	}
	for _, form := range forms {
		if t, err := time.ParseInLocation(form, s, c.zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %q is no time of the form %s", ErrValue, s, strings.Join(forms, ", "))
}
