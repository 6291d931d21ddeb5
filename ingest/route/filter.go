package route

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLevels bounds the levels of a route's filter.
const maxLevels = 128

// filter is a compiled topic filter with named levels.
type filter struct {
	levels []string // text of each level; "+" for one that matches anything
	rest   bool     // ends with #
}

// parseFilter compiles s and returns where each name is.
func parseFilter(s string) (filter, map[string]int, error) {
	if s == "" {
		return filter{}, nil, fmt.Errorf("is empty")
	}
	if len(s) > 65535 || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return filter{}, nil, fmt.Errorf("%.40q: not a valid MQTT string", s)
	}
	var f filter
	names := map[string]int{}
	for i, level := range strings.Split(s, "/") {
		switch {
		case f.rest:
			return filter{}, nil, fmt.Errorf("%q: # may only be the last level", s)
		case i >= maxLevels:
			return filter{}, nil, fmt.Errorf("%.40q...: more than %d levels", s, maxLevels)
		case level == "#":
			f.rest = true
		case level == "+":
			f.levels = append(f.levels, "+")
		case strings.ContainsAny(level, "#+"):
			return filter{}, nil, fmt.Errorf("%q: # and + must fill a whole level, %q does not", s, level)
		case strings.ContainsAny(level, "{}"):
			name, err := levelName(level)
			if err != nil {
				return filter{}, nil, fmt.Errorf("%q: %w", s, err)
			}
			if _, dup := names[name]; dup {
				return filter{}, nil, fmt.Errorf("%q: {%s} stands twice", s, name)
			}
			names[name] = i
			f.levels = append(f.levels, "+")
		default:
			f.levels = append(f.levels, level)
		}
	}
	return f, names, nil
}

// levelName returns the name in a level like {device}.
func levelName(level string) (string, error) {
	if len(level) < 2 || level[0] != '{' || strings.IndexByte(level, '}') != len(level)-1 ||
		strings.IndexByte(level[1:], '{') >= 0 {
		return "", fmt.Errorf("a {name} must fill a whole level, %q does not", level)
	}
	name := level[1 : len(level)-1]
	if err := checkName(name); err != nil {
		return "", err
	}
	if name == wholeTopic {
		return "", fmt.Errorf("{%s} is the whole MQTT topic and cannot name a level", wholeTopic)
	}
	return name, nil
}

// match tells whether topic, whose levels are l, matches.
func (f *filter) match(topic []byte, l *levels) bool {
	n := l.count()
	if n < len(f.levels) || n > len(f.levels) && !f.rest {
		return false
	}
	if len(topic) > 0 && topic[0] == '$' && (len(f.levels) == 0 || f.levels[0] == "+") {
		return false
	}
	for i, want := range f.levels {
		if want != "+" && string(l.at(topic, i)) != want {
			return false
		}
	}
	return true
}

// levels remembers where the levels of a topic end: at is then a slice expression.
type levels struct {
	ends  []int
	array [16]int
}

// split finds the levels of topic. Only the first maxLevels can be asked for with at; count counts all.
func (l *levels) split(topic []byte) {
	l.ends = l.array[:0]
	for i, c := range topic {
		if c == '/' {
			l.ends = append(l.ends, i)
		}
	}
	l.ends = append(l.ends, len(topic))
}

func (l *levels) count() int { return len(l.ends) }

func (l *levels) at(topic []byte, i int) []byte {
	start := 0
	if i > 0 {
		start = l.ends[i-1] + 1
	}
	return topic[start:l.ends[i]]
}
