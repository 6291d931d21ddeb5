package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Validate checks every value and the values against each other. The error is of type [Problems].
func (c *Config) Validate() error {
	v := validator{c: c}
	c.walk(v.field)
	v.names()
	v.listeners()
	v.routes()
	v.upstream()
	if len(v.problems) == 0 { // else sizes out of range would be reported once more, as contradictions
		v.sizes()
	}
	return v.problems.err()
}

type validator struct {
	c        *Config
	problems Problems
}

// wrong reports a problem with one key.
func (v *validator) wrong(key, message, hint string) {
	v.problems.add(v.c.Origin(key), key, message, hint)
}

// conflict reports that keys contradict each other. The first that is not a default gets the blame, the places of the
// others are told.
func (v *validator) conflict(keys []string, message, hint string) {
	blamed := keys[0]
	if i := slices.IndexFunc(keys, func(k string) bool { return !v.c.Origin(k).IsDefault() }); i > 0 {
		blamed = keys[i]
	}
	for _, k := range keys {
		if o := v.c.Origin(k); k != blamed && !o.IsDefault() {
			message += fmt.Sprintf(" (%s: %s)", k, o)
		}
	}
	o := v.c.Origin(blamed)
	if blamed != keys[0] {
		blamed, message = "", keys[0]+" "+message
	}
	v.problems.add(o, blamed, message, hint)
}

// field checks one value against the tags of its field.
func (v *validator) field(key string, f field, value reflect.Value) {
	switch {
	case len(f.oneof) > 0:
		if s := value.String(); !slices.Contains(f.oneof, s) {
			hint := didYouMean(quoteAll(nearest(s, f.oneof)))
			if hint == "" {
				hint = "write one of " + strings.Join(quoteAll(f.oneof), ", ")
			}
			v.wrong(key, "is "+quote(s), hint)
		}
	case value.CanInt():
		if f.also != "" && value.Int() == f.limit(f.also) {
			return
		}
		switch {
		case f.min != "" && value.Int() < f.limit(f.min):
			v.wrong(key, fmt.Sprintf("is %v", value), "the least is "+f.min+f.exception())
		case f.max != "" && value.Int() > f.limit(f.max):
			v.wrong(key, fmt.Sprintf("is %v", value), "the most is "+f.max+f.exception())
		}
	}
}

// limit returns the number that a tag of the field stands for.
func (f field) limit(text string) int64 {
	value := reflect.New(f.typ).Elem()
	if isText(f.typ) {
		if err := setText(value, text); err == nil {
			return value.Int()
		}
	}
	var n int64
	_, _ = fmt.Sscan(text, &n) // the tags are tested
	return n
}

func (f field) exception() string {
	if f.also == "" {
		return ""
	}
	if strings.Trim(f.also, "-01s") == "" {
		return ", or " + f.also
	}
	return fmt.Sprintf(", or %q", f.also)
}

func quoteAll(texts []string) []string {
	var quoted []string
	for _, t := range texts {
		quoted = append(quoted, quote(t))
	}
	return quoted
}

// names checks what becomes part of topic names.
func (v *validator) names() {
	n := &v.c.Node
	if n.Name != "" && !isTopicName(n.Name) {
		v.wrong("node.name", "is "+quote(n.Name), "use letters, digits, dot, dash and underscore only")
	}
	switch t := v.c.MQTT.Defaults.Topic; {
	case strings.HasPrefix(t, internalPrefix):
		v.wrong("mqtt.defaults.topic", "is "+quote(t)+", which is internal", "names of your own do not begin with __")
	case t != "" && !isTopicName(t):
		v.wrong("mqtt.defaults.topic", "is "+quote(t)+", which is no name for a topic",
			"use letters, digits, dot, dash and underscore only")
	}
	if strings.ContainsRune(n.DataDir, 0) {
		v.wrong("node.data_dir", "contains a zero byte", "")
	}
}

// isTopicName reports whether Kafka allows name for a topic.
func isTopicName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > maxNameLength {
		return false
	}
	for i := range len(name) {
		if !isNameByte(name[i]) {
			return false
		}
	}
	return true
}

// sizes checks what must fit into what.
func (v *validator) sizes() {
	c := v.c
	// small must not be above factor-th of large.
	fits := func(small string, s Size, factor Size, large string, l Size, reason string) {
		if s <= 0 || l <= 0 || s <= l/factor {
			return
		}
		message := fmt.Sprintf("is %v, but %s is %v: %s", s, large, l, reason)
		v.conflict([]string{small, large}, message, fmt.Sprintf("make it %v or less, or raise %s", l/factor, large))
	}
	l, m := &c.Log, &c.MQTT
	if l.SegmentBytes > maxSegmentBytes {
		v.wrong("log.segment_bytes", fmt.Sprintf("is %v", l.SegmentBytes),
			fmt.Sprintf("the most is %v on a 32-bit machine", maxSegmentBytes))
	}
	fits("log.max_message_bytes", l.MaxMessageBytes, 1, "kafka.max_request_bytes", c.Kafka.MaxRequestBytes,
		"no client could send such a batch")
	fits("mqtt.max_packet_bytes", m.MaxPacketBytes, 1, "log.max_message_bytes", l.MaxMessageBytes,
		"such a message could not be stored")
	fits("log.max_message_bytes", l.MaxMessageBytes, 1, "log.max_pending_bytes", l.MaxPendingBytes,
		"such a batch could not be held")
	fits("commit.absorb_bytes", c.Commit.AbsorbBytes, 1, "log.segment_bytes", l.SegmentBytes,
		"a segment must hold what is written to it at a time")
	fits("commit.absorb_bytes", c.Commit.AbsorbBytes, 1, "log.journal_bytes", l.JournalBytes,
		"so much can never gather in the journal")
	fits("commit.direct_bytes", c.Commit.DirectBytes, 2, "log.journal_bytes", l.JournalBytes,
		"the journal must have room for another commit while one is written to the segment")
	fits("log.segment_bytes", l.SegmentBytes, 2, "log.max_bytes", l.MaxBytes,
		"one segment is written while another can be dropped")
	fits("log.retention_bytes", l.RetentionBytes, 1, "log.max_bytes", l.MaxBytes,
		"one partition would be promised more than the log may take in all")
	fits("mqtt.max_packet_bytes", m.MaxPacketBytes, 1, "mqtt.max_inflight_bytes", m.MaxInflightBytes,
		"such a message could not be held")
	fits("log.max_message_bytes", l.MaxMessageBytes, 1, "kafka.max_inflight_bytes", c.Kafka.MaxInflightBytes,
		"such a batch could not be held")
	fits("mqtt.max_outbound_bytes", m.MaxOutboundBytes, 1, "mqtt.max_total_outbound_bytes", m.MaxTotalOutboundBytes,
		"one client would be promised more than all together")
	fits("mqtt.max_inflight_bytes", m.MaxInflightBytes, 1, "mqtt.max_total_inflight_bytes", m.MaxTotalInflightBytes,
		"one client would be promised more than all together")
	if l.Retention > 0 && l.SegmentAge > l.Retention {
		v.conflict([]string{"log.segment_age", "log.retention"}, fmt.Sprintf(
			"is %v, but log.retention is %v: records go in whole segments, so they would stay longer than promised",
			l.SegmentAge, l.Retention), fmt.Sprintf("make it %v or less", l.Retention))
	}
	if c := &v.c.Commit; l.WriteBudget != Unlimited && !c.Linger.IsAuto() && c.Linger > AutoDuration(c.MaxDelay) {
		v.conflict([]string{"commit.max_delay", "commit.linger"}, fmt.Sprintf(
			"is %v, but commit.linger is %v: commits wait that long already, so log.write_budget could do nothing", c.MaxDelay, c.Linger),
			fmt.Sprintf("make it %v or more", c.Linger))
	}
	v.memory()
}

// A share is memory that one key promises.
type share struct {
	key   string
	bytes Size
}

func (c *Config) shares() []share {
	shares := []share{{"log.max_pending_bytes", c.Log.MaxPendingBytes}}
	if c.Kafka.Listen != "" {
		shares = append(shares, share{"kafka.max_inflight_bytes", c.Kafka.MaxInflightBytes})
	}
	if c.MQTT.Listen != "" {
		shares = append(shares, share{"mqtt.max_total_inflight_bytes", c.MQTT.MaxTotalInflightBytes},
			share{"mqtt.max_total_outbound_bytes", c.MQTT.MaxTotalOutboundBytes},
			share{"mqtt.max_held_bytes", c.MQTT.MaxHeldBytes},
			share{"mqtt.max_retained_bytes", c.MQTT.MaxRetainedBytes})
	}
	if len(c.Upstream.Brokers) > 0 {
		shares = append(shares, share{"upstream.max_inflight_bytes", c.Upstream.MaxInflightBytes})
	}
	return shares
}

// PromisedBytes returns the memory that the limits of c allow to be in use together, were all of them reached. The
// process itself and connections come on top.
func (c *Config) PromisedBytes() Size {
	total := Size(0)
	for _, s := range c.shares() {
		total += max(0, s.bytes)
	}
	return total
}

// memory checks that what the configuration promises fits into the memory it allows.
func (v *validator) memory() {
	limit := v.c.Node.MemoryLimit
	total := v.c.PromisedBytes()
	if limit.IsAuto() || Size(limit) >= total {
		return
	}
	involved := []string{"node.memory_limit"}
	for _, s := range v.c.shares() {
		involved = append(involved, s.key)
	}
	v.conflict(involved, fmt.Sprintf("is %v, but %s together may take %v", limit,
		strings.Join(involved[1:], ", "), total), "raise it, or lower them")
}
