package meta

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ConfigType is the type of a configuration value. The numbers are those of DescribeConfigs (KIP-569).
type ConfigType int8

// The types that occur.
const (
	TypeBoolean ConfigType = 1
	TypeString  ConfigType = 2
	TypeInt     ConfigType = 3
	TypeShort   ConfigType = 4
	TypeLong    ConfigType = 5
	TypeDouble  ConfigType = 6
	TypeList    ConfigType = 7
)

// ConfigDef describes one configuration key.
type ConfigDef struct {
	Name string
	Type ConfigType
	// Default is the value where nothing else is said. NoDefault means there is none: such a key has the
	// value null.
	Default   string
	NoDefault bool
	// Doc is shown to users of DescribeConfigs.
	Doc string
	// Dynamic tells that a broker's key can be altered at run time. Every topic key can.
	Dynamic bool
	// Broker names the broker keys from which a topic key inherits, the first that is set counts.
	Broker []BrokerKey
	// check is asked about a value that its type allows. Nil allows all.
	check func(d *ConfigDef, v string) error
}

// BrokerKey is a broker's key from which a topic's key inherits.
type BrokerKey struct {
	Name string
	// Unit is how many of the topic key's units one of the broker key's is: 3600000 where hours are
	// the default of milliseconds. 0 stands for "the same value".
	Unit int64
}

// Check returns a [*ConfigError] unless v is a value the key may have. The value is taken as Kafka
// does: surrounding white space does not count.
func (d *ConfigDef) Check(v string) error {
	if len(v) > MaxConfigValue {
		return d.refuse(v, "it has %d bytes, %d are allowed", len(v), MaxConfigValue)
	}
	v = strings.TrimSpace(v)
	switch d.Type {
	case TypeBoolean:
		if !strings.EqualFold(v, "true") && !strings.EqualFold(v, "false") {
			return d.refuse(v, "true or false is needed")
		}
	case TypeInt, TypeShort, TypeLong:
		if _, err := strconv.ParseInt(v, 10, d.bits()); err != nil {
			return d.refuse(v, "a whole number of %d bits is needed", d.bits())
		}
	case TypeDouble:
		if f, err := strconv.ParseFloat(v, 64); err != nil || f != f {
			return d.refuse(v, "a number is needed")
		}
	case TypeString, TypeList:
		for _, r := range v {
			if r < ' ' || r == 0x7f {
				return d.refuse(v, "control characters are not allowed")
			}
		}
	}
	if d.check != nil {
		return d.check(d, v)
	}
	return nil
}

func (d *ConfigDef) bits() int {
	switch d.Type {
	case TypeShort:
		return 16
	case TypeInt:
		return 32
	}
	return 64
}

func (d *ConfigDef) refuse(v, format string, args ...any) error {
	return &ConfigError{Key: d.Name, Value: v, Reason: fmt.Sprintf(format, args...)}
}

// ConfigTable is a set of definitions, ordered by name.
type ConfigTable struct{ defs []ConfigDef }

func newTable(defs []ConfigDef) *ConfigTable {
	slices.SortFunc(defs, func(a, b ConfigDef) int { return strings.Compare(a.Name, b.Name) })
	return &ConfigTable{defs}
}

// All returns the definitions ordered by name, not to be modified.
func (t *ConfigTable) All() []ConfigDef { return t.defs }

// Find returns the definition of a key, or nil.
func (t *ConfigTable) Find(name string) *ConfigDef {
	i, ok := slices.BinarySearchFunc(t.defs, name, func(d ConfigDef, n string) int { return strings.Compare(d.Name, n) })
	if !ok {
		return nil
	}
	return &t.defs[i]
}

// find is Find with the error that is due for an unknown key.
func (t *ConfigTable) find(name, value string) (*ConfigDef, error) {
	if d := t.Find(name); d != nil {
		return d, nil
	}
	if len(name) > 100 {
		name = name[:100] + "..."
	}
	return nil, &ConfigError{Key: name, Value: value, Reason: "there is no such key"}
}

// Checks.

func atLeast(least int64) func(*ConfigDef, string) error {
	return func(d *ConfigDef, v string) error {
		if n, err := strconv.ParseInt(v, 10, 64); err != nil || n < least {
			return d.refuse(v, "at least %d is needed", least)
		}
		return nil
	}
}

func between(least, most int64) func(*ConfigDef, string) error {
	return func(d *ConfigDef, v string) error {
		if n, err := strconv.ParseInt(v, 10, 64); err != nil || n < least || n > most {
			return d.refuse(v, "%d to %d is needed", least, most)
		}
		return nil
	}
}

func ratio(d *ConfigDef, v string) error {
	if f, err := strconv.ParseFloat(v, 64); err != nil || f < 0 || f > 1 {
		return d.refuse(v, "0 to 1 is needed")
	}
	return nil
}

func oneOf(values ...string) func(*ConfigDef, string) error {
	return func(d *ConfigDef, v string) error {
		if !slices.Contains(values, v) {
			return d.refuse(v, "one of %s is needed", strings.Join(values, ", "))
		}
		return nil
	}
}

// someOf asks for a list of one or more of the values, each once.
func someOf(values ...string) func(*ConfigDef, string) error {
	return func(d *ConfigDef, v string) error {
		seen := splitList(v)
		if len(seen) == 0 {
			return d.refuse(v, "at least one of %s is needed", strings.Join(values, ", "))
		}
		for i, e := range seen {
			if !slices.Contains(values, e) {
				return d.refuse(v, "%q is none of %s", e, strings.Join(values, ", "))
			}
			if slices.Contains(seen[:i], e) {
				return d.refuse(v, "%q occurs twice", e)
			}
		}
		return nil
	}
}

// never allows the default only: remote storage is reported for the sake of tools, but it is not there.
func never(d *ConfigDef, v string) error {
	if !strings.EqualFold(v, d.Default) {
		return d.refuse(v, "there is no remote storage")
	}
	return nil
}

// throttledReplicas allows "*" or a list of partition:broker.
func throttledReplicas(d *ConfigDef, v string) error {
	if v == "*" {
		return nil
	}
	for _, e := range splitList(v) {
		p, b, ok := strings.Cut(e, ":")
		_, err1 := strconv.ParseUint(p, 10, 31)
		_, err2 := strconv.ParseUint(b, 10, 31)
		if !ok || err1 != nil || err2 != nil {
			return d.refuse(v, "* or a list of partition:broker is needed, not %q", e)
		}
	}
	return nil
}

// splitList splits a value of [TypeList]. An empty value is an empty list.
func splitList(v string) []string {
	if v = strings.TrimSpace(v); v == "" {
		return nil
	}
	out := strings.Split(v, ",")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}
