package config

import (
	"reflect"
)

// Reloadable is the part of a configuration that a running node takes over on SIGHUP: the fields tagged reload:"yes",
// and no others. What they mean for what exists: retention applies to every topic without its own, at once; partitions
// and auto-creation to topics created from then on; routes and defaults to messages received from then on; the
// selection of topics upstream starts and stops their forwarding, each from its stored position.
type Reloadable struct {
	LogLevel         string       // node.log_level
	Retention        Duration     // log.retention
	RetentionBytes   Size         // log.retention_bytes
	TrustClock       bool         // log.trust_clock
	NumPartitions    int32        // log.num_partitions
	AutoCreateTopics bool         // log.auto_create_topics
	MQTTDefaults     MQTTDefaults // mqtt.defaults
	Routes           []Route      // mqtt.route
	UpstreamTopics   []string     // upstream.topics
	UpstreamExclude  []string     // upstream.exclude
}

// Reloadable returns the part of c that may change while the node runs. It shares memory with c.
func (c *Config) Reloadable() Reloadable {
	return Reloadable{
		LogLevel:         c.Node.LogLevel,
		Retention:        c.Log.Retention,
		RetentionBytes:   c.Log.RetentionBytes,
		TrustClock:       c.Log.TrustClock,
		NumPartitions:    c.Log.NumPartitions,
		AutoCreateTopics: c.Log.AutoCreateTopics,
		MQTTDefaults:     c.MQTT.Defaults,
		Routes:           c.MQTT.Routes,
		UpstreamTopics:   c.Upstream.Topics,
		UpstreamExclude:  c.Upstream.Exclude,
	}
}

// WithReloadable returns a copy of c in which the reloadable part is that of next: what a node runs with after a
// reload, so that the next comparison still names what waits for a restart. c is not changed.
func (c *Config) WithReloadable(next *Config) *Config {
	merged, r := *c, next.Reloadable()
	merged.Node.LogLevel = r.LogLevel
	merged.Log.Retention = r.Retention
	merged.Log.RetentionBytes = r.RetentionBytes
	merged.Log.TrustClock = r.TrustClock
	merged.Log.NumPartitions = r.NumPartitions
	merged.Log.AutoCreateTopics = r.AutoCreateTopics
	merged.MQTT.Defaults = r.MQTTDefaults
	merged.MQTT.Routes = r.Routes
	merged.Upstream.Topics = r.UpstreamTopics
	merged.Upstream.Exclude = r.UpstreamExclude
	return &merged
}

// Change is a key whose value differs between two configurations.
type Change struct {
	Key      string // in full, like mqtt.listen
	Old, New string // as they are written in the file
	Reload   bool   // whether a running node takes it over; otherwise it needs a restart
}

// Changes returns what is different in next, in the order of the file.
func (c *Config) Changes(next *Config) []Change {
	values := map[string]reflect.Value{}
	next.walk(func(key string, _ field, v reflect.Value) { values[key] = v })
	var changes []Change
	c.walk(func(key string, f field, v reflect.Value) {
		other := values[key]
		empty := (f.typ.Kind() == reflect.Slice || f.typ.Kind() == reflect.Map) && v.Len() == 0 && other.Len() == 0
		if empty || reflect.DeepEqual(v.Interface(), other.Interface()) {
			return
		}
		changes = append(changes, Change{Key: key, Old: tomlValue(v), New: tomlValue(other), Reload: f.reload})
	})
	return changes
}
