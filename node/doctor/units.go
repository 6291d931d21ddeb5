package doctor

import (
	"strconv"
	"time"
)

// size writes a number of bytes for people: binary units, about three digits.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, i := float64(n), 0
	for v >= 1023.5 && i < len(units)-1 {
		v /= 1024
		i++
	}
	digits := 0
	if i > 0 && v < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + units[i]
}

// short writes a time for people: about two digits.
func short(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Second, " s"}, {time.Millisecond, " ms"}, {time.Microsecond, " us"}} {
		if d >= u.unit {
			v, digits := float64(d)/float64(u.unit), 0
			if v < 9.95 {
				digits = 1
			}
			return strconv.FormatFloat(v, 'f', digits, 64) + u.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + " ns"
}

// plural writes a count with its noun.
func plural[T ~int | ~int64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(int64(n), 10) + " " + many
}
