package meta

import (
	"maps"
	"slices"
)

// ConfigSource tells where a value comes from. The numbers are those of DescribeConfigs (KIP-226).
type ConfigSource int8

// The sources, strongest first.
const (
	SourceTopic          ConfigSource = 1 // the topic's own configuration
	SourceDynamicBroker  ConfigSource = 2 // altered for one broker
	SourceDynamicDefault ConfigSource = 3 // altered for all brokers
	SourceStatic         ConfigSource = 4 // the node's configuration file
	SourceDefault        ConfigSource = 5
)

// ConfigEntry is what DescribeConfigs tells about one key. It is read-only as a whole.
type ConfigEntry struct {
	Name   string
	Value  *string // nil is null
	Source ConfigSource
	Type   ConfigType
	// ReadOnly tells that the key cannot be altered at run time.
	ReadOnly bool
	// Sensitive tells that the value is withheld. No key is.
	Sensitive bool
	Doc       string
	// Synonyms are the places the value is looked for, strongest first, as far as they have one: the
	// first is the one in force.
	Synonyms []ConfigSynonym
}

// ConfigSynonym is one place of a [ConfigEntry].
type ConfigSynonym struct {
	Name   string
	Value  *string
	Source ConfigSource
}

// link is a place with its value in the unit of the key that is looked for.
type link struct {
	ConfigSynonym
	value string
}

// DescribeTopicConfigs tells about every key of a topic, ordered by name, as it is on the node that has
// the defaults.
func (s *State) DescribeTopicConfigs(t *Topic, d Defaults) []ConfigEntry {
	defs := TopicConfigs.All()
	out := make([]ConfigEntry, 0, len(defs))
	for i := range defs {
		def := &defs[i]
		var chain []link
		if v, ok := t.Configs[def.Name]; ok {
			chain = append(chain, newLink(def.Name, v, SourceTopic, 0))
		}
		out = append(out, entry(def, append(chain, s.inherited(def, d)...), false))
	}
	return out
}

// DescribeBrokerConfigs tells about every key of the node that has the defaults, ordered by name.
func (s *State) DescribeBrokerConfigs(d Defaults) []ConfigEntry {
	defs := BrokerConfigs.All()
	out := make([]ConfigEntry, 0, len(defs))
	for i := range defs {
		def := &defs[i]
		out = append(out, entry(def, s.brokerLinks(def, d), !def.Dynamic))
	}
	return out
}

// DescribeClusterConfigs tells about the dynamic defaults of all brokers, ordered by name: those that
// are set, as Kafka does.
func (s *State) DescribeClusterConfigs() []ConfigEntry {
	var out []ConfigEntry
	for _, k := range slices.Sorted(maps.Keys(s.ClusterConfigs)) {
		def := BrokerConfigs.Find(k)
		if def == nil {
			continue
		}
		out = append(out, entry(def, []link{newLink(k, s.ClusterConfigs[k], SourceDynamicDefault, 0)}, false))
	}
	return out
}

func entry(def *ConfigDef, chain []link, readOnly bool) ConfigEntry {
	e := ConfigEntry{Name: def.Name, Type: def.Type, ReadOnly: readOnly, Doc: def.Doc, Source: SourceDefault}
	if len(chain) > 0 {
		value := chain[0].value
		e.Value, e.Source = &value, chain[0].Source
	}
	e.Synonyms = make([]ConfigSynonym, len(chain))
	for i := range chain {
		e.Synonyms[i] = chain[i].ConfigSynonym
	}
	return e
}

// inherited returns where the value of a topic's key is looked for beyond the topic itself. There is
// always one.
func (s *State) inherited(def *ConfigDef, d Defaults) []link {
	var out []link
	for _, b := range def.Broker {
		bdef := BrokerConfigs.Find(b.Name)
		for _, l := range s.brokerLinks(bdef, d) {
			out = append(out, newLink(l.Name, *l.Value, l.Source, b.Unit))
		}
	}
	// A place that says something comes before a default, whichever key of the same meaning has it.
	slices.SortStableFunc(out, func(a, b link) int { return int(a.Source) - int(b.Source) })
	if len(out) == 0 {
		out = append(out, newLink(def.Name, def.Default, SourceDefault, 0))
	}
	return out
}

// brokerLinks returns where the value of a broker's key is looked for; nothing where it is null.
func (s *State) brokerLinks(def *ConfigDef, d Defaults) []link {
	var out []link
	if v, ok := s.BrokerConfigs[d.node][def.Name]; ok {
		out = append(out, newLink(def.Name, v, SourceDynamicBroker, 0))
	}
	if v, ok := s.ClusterConfigs[def.Name]; ok {
		out = append(out, newLink(def.Name, v, SourceDynamicDefault, 0))
	}
	if v, ok := d.static[def.Name]; ok {
		out = append(out, newLink(def.Name, v, SourceStatic, 0))
	}
	if !def.NoDefault {
		out = append(out, newLink(def.Name, def.Default, SourceDefault, 0))
	}
	return out
}

// brokerValue returns the value of a broker's key and where it came from; "" where it is null.
func (s *State) brokerValue(def *ConfigDef, d Defaults) (string, ConfigSource) {
	if chain := s.brokerLinks(def, d); len(chain) > 0 {
		return chain[0].value, chain[0].Source
	}
	return "", SourceDefault
}

func newLink(name, value string, source ConfigSource, unit int64) link {
	l := link{ConfigSynonym: ConfigSynonym{Name: name, Value: &value, Source: source}, value: value}
	if n := parseLong(value); unit > 1 && n > 0 {
		l.value = formatLong(n * unit)
	}
	return l
}
