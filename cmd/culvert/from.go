package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/culvert-mq/culvert/node/config"
)

// position is where to begin reading a partition.
type position struct {
	kind  positionKind
	value int64
}

type positionKind int

const (
	fromStart  positionKind = iota
	fromEnd                 // value records before the end
	fromOffset              // at the offset value
	fromTime                // at the first record that is not older than value, in ms since 1970
)

// fromHelp explains --from.
const fromHelp = `beginning, end, an offset, -N for the last N records of each partition, or a time: 2026-05-01,
2026-05-01T12:00:00Z, "2026-05-01 12:00" (local time), @1777636800 (seconds since 1970), or 90m, 7d (so long ago)`

// parseFrom reads what --from says.
func parseFrom(text string, now time.Time) (position, error) {
	switch text {
	case "beginning", "start":
		return position{kind: fromStart}, nil
	case "end":
		return position{kind: fromEnd}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 {
			return position{kind: fromEnd, value: -n}, nil
		}
		return position{kind: fromOffset, value: n}, nil
	}
	if at, ok := parseTime(text, now); ok {
		return position{kind: fromTime, value: at.UnixMilli()}, nil
	}
	return position{}, usage("--from %q is none of: %s", text, fromHelp)
}

func parseTime(text string, now time.Time) (time.Time, bool) {
	if digits, ok := strings.CutPrefix(text, "@"); ok {
		if s, err := strconv.ParseFloat(digits, 64); err == nil && s >= 0 && s < 1e12 {
			return time.UnixMilli(int64(s * 1000)), true
		}
		return time.Time{}, false
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, true
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, true
		}
	}
	var ago config.Duration
	if err := ago.UnmarshalText([]byte(text)); err == nil && ago > 0 {
		return now.Add(-ago.Std()), true
	}
	return time.Time{}, false
}
