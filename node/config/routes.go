package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxTopicBytes is the longest MQTT topic or filter: its length has 16 bits (MQTT 3.1.1, section 1.5.3).
const maxTopicBytes = 65535

// routes checks the list of routes as far as it can be judged without the routing itself: filters are well-formed, and
// each route can be reached.
func (v *validator) routes() {
	for i, r := range v.c.MQTT.Routes {
		key := fmt.Sprintf("mqtt.route[%d]", i)
		if r.Topic == "" {
			v.wrong(key+".topic", "is missing", "every route needs the topic of the log it leads to")
		}
		if r.Filter == "" {
			v.wrong(key+".filter", "is missing", "every route needs an MQTT topic filter")
			continue
		}
		if message := checkFilter(r.Filter); message != "" {
			v.wrong(key+".filter", "is "+quote(r.Filter)+": "+message, "")
			continue
		}
		for j, earlier := range v.c.MQTT.Routes[:i] {
			if covers(earlier.Filter, r.Filter) {
				v.wrong(key+".filter", fmt.Sprintf("is %s, which is never reached: mqtt.route[%d] (%s) matches all of it first",
					quote(r.Filter), j, v.c.Origin(fmt.Sprintf("mqtt.route[%d].filter", j))), "put the narrower route first")
				break
			}
		}
	}
}

// checkFilter tells what is wrong with a topic filter (MQTT 3.1.1, section 4.7.1), or nothing.
func checkFilter(filter string) string {
	switch {
	case len(filter) > maxTopicBytes:
		return "it is longer than 65535 bytes"
	case !utf8.ValidString(filter) || strings.ContainsRune(filter, 0):
		return "it is no valid text"
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case strings.Contains(level, "#") && (level != "#" || i != len(levels)-1):
			return "# must be the whole last level"
		case strings.Contains(level, "+") && level != "+":
			return "+ must be a whole level"
		}
	}
	return ""
}

// covers reports whether every topic that the filter narrow matches is matched by wide, too.
func covers(wide, narrow string) bool {
	w, n := strings.Split(wide, "/"), strings.Split(narrow, "/")
	for i, level := range w {
		if level == "#" {
			return i > 0 || !strings.HasPrefix(n[0], "$") // section 4.7.2
		}
		if i >= len(n) || n[i] == "#" {
			return false
		}
		if isAnyLevel(level) {
			if i == 0 && strings.HasPrefix(n[0], "$") {
				return false
			}
			continue
		}
		if level != n[i] || strings.Contains(level, "{") {
			return level == n[i] && strings.Join(w[i:], "/") == strings.Join(n[i:], "/")
		}
	}
	return len(w) == len(n)
}

// isAnyLevel reports whether a level of a filter matches any one level.
func isAnyLevel(level string) bool {
	return level == "+" || len(level) > 2 && level[0] == '{' && strings.IndexByte(level, '}') == len(level)-1
}
