package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. It reads 67108864, "64MiB" and "64MB" (a thousand thousands), and "unlimited" as
// [Unlimited]; where a key has no use for that, its limits refuse it.
type Size int64

// Units of [Size].
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// Unlimited is the value, of a [Size] or a [Duration], of what has no limit. It is also what Kafka's -1 means.
const Unlimited = -1

// Auto is the value of an [AutoSize] or an [AutoDuration] that culvert is to choose itself.
const Auto = -1

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// String returns the value as it is written in the file, in the largest unit that divides it.
func (s Size) String() string {
	if s == Unlimited {
		return "unlimited"
	}
	for _, u := range sizeUnits[:4] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText returns what [Size.UnmarshalText] reads.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	in := string(text)
	if in == "unlimited" || in == "-1" {
		*s = Unlimited
		return nil
	}
	digits := strings.TrimLeft(in, "0123456789")
	number, unit := in[:len(in)-len(digits)], strings.TrimSpace(digits)
	if number == "" {
		return fmt.Errorf(`%s is no size: write it like 67108864 or "64MiB"`, quote(in))
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return fmt.Errorf("size %s is too large", quote(in))
	}
	factor := int64(1)
	if unit != "" {
		if factor, err = sizeUnit(number, unit); err != nil {
			return fmt.Errorf("size %s has %w", quote(in), err)
		}
	}
	if n > math.MaxInt64/factor {
		return fmt.Errorf("size %s is too large", quote(in))
	}
	*s = Size(n * factor)
	return nil
}

func sizeUnit(number, unit string) (int64, error) {
	for _, u := range sizeUnits {
		if u.name == unit {
			return u.bytes, nil
		}
	}
	for _, u := range sizeUnits {
		if strings.EqualFold(u.name, unit) {
			return 0, fmt.Errorf("the unit %s: write %q", quote(unit), number+u.name)
		}
	}
	for _, u := range sizeUnits[:4] {
		if strings.EqualFold(u.name[:1], unit) || strings.EqualFold(u.name[:2], unit) {
			return 0, fmt.Errorf("the unit %s: write %q", quote(unit), number+u.name)
		}
	}
	if strings.HasPrefix(unit, ".") || strings.HasPrefix(unit, ",") {
		return 0, errors.New("a fraction: write a whole number of a smaller unit")
	}
	return 0, fmt.Errorf("the unknown unit %s: use B, kB, MB, GB, TB or KiB, MiB, GiB, TiB", quote(unit))
}

// Duration is a length of time. Besides what [time.ParseDuration] reads it knows days and weeks ("7d", "1d12h") and
// "unlimited", as [Unlimited]; where a key has no use for that, its limits refuse it.
type Duration time.Duration

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Milliseconds returns d as Kafka's configuration counts it: -1 for [Unlimited].
func (d Duration) Milliseconds() int64 {
	if d == Unlimited {
		return -1
	}
	return d.Std().Milliseconds()
}

// String returns the value as it is written in the file.
func (d Duration) String() string {
	switch {
	case d == Unlimited:
		return "unlimited"
	case d == 0:
		return "0s"
	case d%Duration(day) == 0:
		return strconv.FormatInt(int64(d)/int64(day), 10) + "d"
	}
	s := d.Std().String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText returns what [Duration.UnmarshalText] reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	in := string(text)
	switch in {
	case "unlimited", "-1":
		*d = Unlimited
		return nil
	case "0":
		*d = 0
		return nil
	}
	if _, err := strconv.ParseFloat(in, 64); err == nil {
		return fmt.Errorf(`duration %s has no unit: write it like "%ss", "%sh" or "%sd"`, quote(in), in, in, in)
	}
	total, rest, err := leadingDays(in)
	if err == nil && rest != "" {
		var clock time.Duration
		clock, err = time.ParseDuration(rest)
		if err == nil && (clock < 0 || clock > math.MaxInt64-total) {
			err = errors.New("out of range")
		}
		total += clock
	}
	if err != nil || in == "" {
		return fmt.Errorf(`%s is no duration: write it like "250ms", "30s", "1h30m" or "7d"`, quote(in))
	}
	*d = Duration(total)
	return nil
}

// leadingDays takes the weeks and days off the front of a duration.
func leadingDays(in string) (total time.Duration, rest string, err error) {
	rest = in
	for _, unit := range []struct {
		letter byte
		length time.Duration
	}{{'w', week}, {'d', day}} {
		after := strings.TrimLeft(rest, "0123456789")
		if after == "" || after == rest || after[0] != unit.letter {
			continue
		}
		n, err := strconv.ParseInt(rest[:len(rest)-len(after)], 10, 64)
		if err != nil || n > int64((math.MaxInt64-total)/unit.length) {
			return 0, "", errors.New("out of range")
		}
		total += time.Duration(n) * unit.length
		rest = after[1:]
	}
	return total, rest, nil
}

// AutoSize is a [Size], or [Auto].
type AutoSize Size

// IsAuto reports whether culvert is to choose the size.
func (a AutoSize) IsAuto() bool { return a == Auto }

// String returns the value as it is written in the file.
func (a AutoSize) String() string {
	if a.IsAuto() {
		return "auto"
	}
	return Size(a).String()
}

// MarshalText returns what [AutoSize.UnmarshalText] reads.
func (a AutoSize) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads a size or "auto".
func (a *AutoSize) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*a = Auto
		return nil
	}
	if in := string(text); in == "-1" || in == "unlimited" {
		return fmt.Errorf(`%s is no size: write "auto", or a size like "200MiB"`, quote(in))
	}
	return (*Size)(a).UnmarshalText(text)
}

// AutoDuration is a [Duration], or [Auto].
type AutoDuration Duration

// IsAuto reports whether culvert is to choose the duration.
func (a AutoDuration) IsAuto() bool { return a == Auto }

// Std returns a as the standard library's type; it has no meaning for [Auto].
func (a AutoDuration) Std() time.Duration { return time.Duration(a) }

// String returns the value as it is written in the file.
func (a AutoDuration) String() string {
	if a.IsAuto() {
		return "auto"
	}
	return Duration(a).String()
}

// MarshalText returns what [AutoDuration.UnmarshalText] reads.
func (a AutoDuration) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads a duration or "auto".
func (a *AutoDuration) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*a = Auto
		return nil
	}
	if in := string(text); in == "-1" || in == "unlimited" {
		return fmt.Errorf(`%s is no duration: write "auto", or a duration like "50ms"`, quote(in))
	}
	return (*Duration)(a).UnmarshalText(text)
}

// quote returns s quoted for a message, cut when it is long.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
