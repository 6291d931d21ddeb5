package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxTopicBytes  = 65535 // a filter's length has 16 bits (MQTT 3.1.1, section 1.5.3)
	maxLevels      = 128
	wholeTopic     = "topic" // the placeholder that is the whole MQTT topic
	internalPrefix = "__"
	serverHeaders  = "mqtt." // headers of this prefix are the server's
)

// routes checks that filters are well-formed, that placeholders are known, that topics can exist and that each route
// can be reached. The routing itself checks again, but does not know lines.
func (v *validator) routes() {
	d := &v.c.MQTT.Defaults
	if message := checkTemplate(d.Key, nil); message != "" {
		v.wrong("mqtt.defaults.key", "is "+quote(d.Key)+": "+message, "")
	}
	for i, r := range v.c.MQTT.Routes {
		key := fmt.Sprintf("mqtt.route[%d]", i)
		if r.Topic == "" {
			v.wrong(key+".topic", "is missing", "every route needs the topic of the log it leads to")
		}
		if r.Filter == "" {
			v.wrong(key+".filter", "is missing", "every route needs an MQTT topic filter")
			continue
		}
		names, message := checkFilter(r.Filter)
		if message != "" {
			v.wrong(key+".filter", "is "+quote(r.Filter)+": "+message, "")
			continue
		}
		v.templates(key, r, names)
		for j, earlier := range v.c.MQTT.Routes[:i] {
			if covers(earlier.Filter, r.Filter) {
				v.wrong(key+".filter", fmt.Sprintf("is %s, which is never reached: mqtt.route[%d] (%s) matches all of it first",
					quote(r.Filter), j, v.c.Origin(fmt.Sprintf("mqtt.route[%d].filter", j))), "put the narrower route first")
				break
			}
		}
	}
}

// templates checks what a route makes of the names in its filter.
func (v *validator) templates(key string, r Route, names []string) {
	if r.Topic != "" {
		message := checkTemplate(r.Topic, names)
		if message == "" {
			message = checkTopicTemplate(r.Topic, names)
		}
		if message != "" {
			v.wrong(key+".topic", "is "+quote(r.Topic)+": "+message, "")
		}
	}
	if message := checkTemplate(r.Key, names); message != "" {
		v.wrong(key+".key", "is "+quote(r.Key)+": "+message, "")
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		header := join(key+".headers", name)
		if name == "" || strings.HasPrefix(name, serverHeaders) {
			v.wrong(header, "is a header that cannot be set", "names beginning with mqtt. are set by the server")
		}
		if message := checkTemplate(r.Headers[name], names); message != "" {
			v.wrong(header, "is "+quote(r.Headers[name])+": "+message, "")
		}
	}
}

// checkFilter returns the names in a topic filter, or tells what is wrong with it (MQTT 3.1.1, section 4.7.1).
func checkFilter(filter string) (names []string, message string) {
	switch {
	case len(filter) > maxTopicBytes:
		return nil, fmt.Sprintf("it is longer than %d bytes", maxTopicBytes)
	case !utf8.ValidString(filter) || strings.ContainsRune(filter, 0):
		return nil, "it is no valid text"
	}
	levels := strings.Split(filter, "/")
	if len(levels) > maxLevels {
		return nil, fmt.Sprintf("it has more than %d levels", maxLevels)
	}
	for i, level := range levels {
		switch {
		case strings.Contains(level, "#") && (level != "#" || i != len(levels)-1):
			return nil, "# must be the whole last level"
		case strings.Contains(level, "+") && level != "+":
			return nil, "+ must be a whole level"
		case strings.ContainsAny(level, "{}"):
			name := strings.TrimSuffix(strings.TrimPrefix(level, "{"), "}")
			switch {
			case len(name) != len(level)-2 || !isPlaceholder(name):
				return nil, quote(level) + " must be a whole level like {device}, a name of letters, digits, - and _"
			case name == wholeTopic:
				return nil, "{topic} is the whole MQTT topic, so it cannot name a level"
			case slices.Contains(names, name):
				return nil, "{" + name + "} stands twice"
			}
			names = append(names, name)
		}
	}
	return names, ""
}

func isPlaceholder(name string) bool {
	for i := range len(name) {
		if !isNameByte(name[i]) || name[i] == '.' {
			return false
		}
	}
	return name != ""
}

// checkTemplate tells what is wrong with the placeholders of a template, or nothing.
func checkTemplate(template string, names []string) string {
	for rest := template; ; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			return ""
		}
		name, after, closed := strings.Cut(rest[i+1:], "}")
		if rest[i] == '}' || !closed {
			return "a brace has no partner"
		}
		if name != wholeTopic && !slices.Contains(names, name) {
			known := slices.Concat(names, []string{wholeTopic})
			message := fmt.Sprintf("{%s} is no name in the filter", name)
			if hint := didYouMean(bracedAll(nearest(name, known))); hint != "" {
				return message + ", " + hint
			}
			return message + "; known are " + strings.Join(bracedAll(known), ", ")
		}
		rest = after
	}
}

func bracedAll(names []string) []string {
	braced := make([]string, len(names))
	for i, n := range names {
		braced[i] = "{" + n + "}"
	}
	return braced
}

// checkTopicTemplate tells why a template, whose placeholders are known, makes no topic of the log, or nothing.
func checkTopicTemplate(template string, names []string) string {
	if strings.Contains(template, "{"+wholeTopic+"}") {
		return "{topic} may hold a slash, which the name of a topic of the log may not"
	}
	example := template
	for _, n := range names {
		example = strings.ReplaceAll(example, "{"+n+"}", "x")
	}
	switch {
	case strings.HasPrefix(example, internalPrefix):
		return "names beginning with __ are internal"
	case !isTopicName(example):
		return "use letters, digits, dot, dash, underscore and names of the filter only"
	}
	return ""
}

// covers reports whether every topic that the filter narrow matches is matched by wide, too.
func covers(wide, narrow string) bool {
	w, n := strings.Split(wide, "/"), strings.Split(narrow, "/")
	system := strings.HasPrefix(n[0], "$") // not matched by leading wildcards: section 4.7.2
	for i, level := range w {
		if level == "#" {
			return i > 0 || !system
		}
		if i >= len(n) || n[i] == "#" {
			return false
		}
		if isAnyLevel(level) && (i > 0 || !system) {
			continue
		}
		if level != n[i] {
			return false
		}
	}
	return len(w) == len(n)
}

// isAnyLevel reports whether a level of a filter matches any one level.
func isAnyLevel(level string) bool {
	return level == "+" || strings.HasPrefix(level, "{")
}
