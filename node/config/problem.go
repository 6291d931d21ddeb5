package config

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// ErrInvalid is what every error about a configuration's content is: errors.Is tells it from one about reading.
var ErrInvalid = errors.New("invalid configuration")

// Origin tells where a value came from. At most one of File, Variable and Flag is set; none means the default.
type Origin struct {
	File     string
	Line     int // counted from 1; 0 when unknown
	Variable string
	Flag     string
}

// IsDefault reports whether nothing set the value.
func (o Origin) IsDefault() bool { return o.File == "" && o.Variable == "" && o.Flag == "" }

// String returns the origin as messages name it.
func (o Origin) String() string {
	switch {
	case o.File != "" && o.Line > 0:
		return o.File + ":" + strconv.Itoa(o.Line)
	case o.File != "":
		return o.File
	case o.Variable != "":
		return "variable " + o.Variable
	case o.Flag != "":
		return "flag --" + o.Flag
	}
	return "default"
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Origin  Origin
	Key     string // in full, like mqtt.listen; empty when the problem is not about one key
	Message string // what is wrong, beginning after the key
	Hint    string // what to do, or empty
}

// Error returns the problem on one line: place, key, what is wrong, what to do.
func (p *Problem) Error() string {
	var b strings.Builder
	if !p.Origin.IsDefault() {
		b.WriteString(p.Origin.String() + ": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + " ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Unwrap makes every problem an [ErrInvalid].
func (p *Problem) Unwrap() error { return ErrInvalid }

// Problems is everything that is wrong with a configuration, in the order of the file, then by key.
type Problems []*Problem

// Error returns one line per problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes the list an [ErrInvalid].
func (ps Problems) Unwrap() error { return ErrInvalid }

// maxProblems is how many problems are told at once.
const maxProblems = 20

func (ps *Problems) add(o Origin, key, message, hint string) {
	*ps = append(*ps, &Problem{Origin: o, Key: key, Message: message, Hint: hint})
}

// err returns the list as an error, sorted, or nil when there is nothing in it.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.Origin.Line, b.Origin.Line), cmp.Compare(a.Key, b.Key))
	})
	if more := len(ps) - maxProblems; more > 0 {
		ps = append(ps[:maxProblems:maxProblems], &Problem{Message: "and " + strconv.Itoa(more) + " more"})
	}
	return ps
}

// origins holds where each key came from that is not a default. A list counts for all that is in it.
type origins map[string]Origin

func (o origins) of(key string) Origin {
	for {
		if origin, ok := o[key]; ok {
			return origin
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			return Origin{}
		}
		key = key[:cut]
	}
}

// Origin returns where the value of key, in full like mqtt.listen, came from.
func (c *Config) Origin(key string) Origin { return c.origins.of(key) }
