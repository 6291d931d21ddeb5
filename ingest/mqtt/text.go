package mqtt

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// validText tells whether b may stand in an MQTT string: well-formed UTF-8 without surrogates [MQTT-1.5.3-1] and without
// U+0000 [MQTT-1.5.3-2]. A U+FEFF is a character like any other and is kept [MQTT-1.5.3-3].
func validText(b []byte) bool {
	return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}

// checkTopicName returns an error if b cannot be the topic of a message.
func checkTopicName(p packetType, b []byte) error {
	switch {
	case len(b) == 0:
		return violation(p, "MQTT-4.7.3-1", "the topic name is empty")
	case !utf8.Valid(b):
		clause := "MQTT-3.3.2-1"
		if p == typeConnect {
			clause = "MQTT-3.1.3-10"
		}
		return violation(p, clause, "the topic name is not valid UTF-8 [MQTT-1.5.3-1]")
	case bytes.IndexByte(b, 0) >= 0:
		return violation(p, "MQTT-4.7.3-2", "the topic name holds U+0000 [MQTT-1.5.3-2]")
	case bytes.IndexByte(b, '+') >= 0 || bytes.IndexByte(b, '#') >= 0:
		return violation(p, "MQTT-3.3.2-2", "the topic name holds a wildcard [MQTT-4.7.1-1]")
	}
	return nil
}

// checkFilter returns an error if b is not a topic filter.
func checkFilter(p packetType, b []byte) error {
	clause := "MQTT-3.8.3-1"
	if p == typeUnsubscribe {
		clause = "MQTT-3.10.3-1"
	}
	switch {
	case len(b) == 0:
		return violation(p, "MQTT-4.7.3-1", "a topic filter is empty")
	case !utf8.Valid(b):
		return violation(p, clause, "a topic filter is not valid UTF-8 [MQTT-1.5.3-1]")
	case bytes.IndexByte(b, 0) >= 0:
		return violation(p, "MQTT-4.7.3-2", "a topic filter holds U+0000 [MQTT-1.5.3-2]")
	}
	for i, c := range b {
		switch c {
		case '#':
			if i != len(b)-1 || i > 0 && b[i-1] != '/' {
				return violation(p, "MQTT-4.7.1-2", "# must be the whole last level of a topic filter")
			}
		case '+':
			if i > 0 && b[i-1] != '/' || i < len(b)-1 && b[i+1] != '/' {
				return violation(p, "MQTT-4.7.1-3", "+ must be a whole level of a topic filter")
			}
		}
	}
	return nil
}

// isWild tells whether a filter has wildcards.
func isWild(filter string) bool { return strings.ContainsAny(filter, "+#") }

// cutLevel returns the first level of a topic or filter, what follows the separator, and whether there was one.
func cutLevel(s string) (level, rest string, more bool) {
	return strings.Cut(s, "/")
}

// matchFilter tells whether topic matches filter (section 4.7). Both must be valid.
func matchFilter(filter, topic string) bool {
	if topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false // [MQTT-4.7.2-1]
	}
	for {
		f, filterRest, moreFilter := cutLevel(filter)
		if f == "#" {
			return true
		}
		t, topicRest, moreTopic := cutLevel(topic)
		if f != "+" && f != t {
			return false
		}
		if !moreTopic {
			return !moreFilter || filterRest == "#"
		}
		if !moreFilter {
			return false
		}
		filter, topic = filterRest, topicRest
	}
}
