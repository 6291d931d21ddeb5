package route

import (
	"errors"
	"fmt"
	"strings"
)

// Default is the index that Target.Route and Error.Route have for the default.
const Default = -1

// ErrNoRoute says that no route matches an MQTT topic and that there is no default.
var ErrNoRoute = errors.New("route: no route matches and there is no default topic")

// ErrName is what every *NameError wraps.
var ErrName = errors.New("route: not a log topic's name")

// NameError says that a route would send a message to a log topic that cannot exist.
type NameError struct {
	Route int    // index of the route, or Default
	Name  string // what the template yielded
}

// Error implements error.
func (e *NameError) Error() string {
	return fmt.Sprintf("%s: topic %.80q: %s", position(e.Route, ""), e.Name, checkTopic(e.Name))
}

// Unwrap returns ErrName.
func (e *NameError) Unwrap() error { return ErrName }

// Error is a mistake in the description of a table.
type Error struct {
	Route  int    // index of the route as given to New, or Default
	Filter string // its filter
	Field  string // "filter", "topic", "key", "headers.<name>"
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s %v", position(e.Route, e.Filter), e.Field, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func position(route int, filter string) string {
	switch {
	case route == Default:
		return "mqtt default route"
	case filter == "":
		return fmt.Sprintf("mqtt route %d", route)
	default:
		return fmt.Sprintf("mqtt route %d (%s)", route, filter)
	}
}

// Route describes one route, as it stands in the configuration.
type Route struct {
	Filter  string           // topic filter with named levels; not used in the default
	Topic   string           // template of the log topic; "" in the default refuses what no route matches
	Key     string           // template of the key; "" means the default's, in the default {topic}
	Headers []HeaderTemplate // added to each record, in this order
}

// HeaderTemplate describes a header that a route adds.
type HeaderTemplate struct {
	Name  string // must not begin with "mqtt.": those are the server's
	Value string // template
}

// Target is where a message goes.
type Target struct {
	Route   int // index of the route that matched, or Default
	Topic   string
	Key     []byte
	Headers []Header
}

// Header is one header of a Target.
type Header struct {
	Key   string
	Value []byte
}

// rule is a compiled Route.
type rule struct {
	filter  filter
	topic   template
	name    string // the topic when it is constant
	key     template
	headers []headerRule
}

type headerRule struct {
	name  string
	value template
}

// Table is a compiled list of routes. It is immutable and safe for concurrent use.
type Table struct {
	rules []rule
	def   *rule
}

// New compiles routes and the default. An error is an *Error that names the route, or several of them joined.
func New(routes []Route, def Route) (*Table, error) {
	if def.Key == "" {
		def.Key = "{" + wholeTopic + "}"
	}
	t := &Table{rules: make([]rule, 0, len(routes))}
	var errs []error
	for i, r := range routes {
		if r.Key == "" {
			r.Key = def.Key
		}
		c, err := compile(i, r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.rules = append(t.rules, c)
	}
	if def.Topic != "" {
		c, err := compile(Default, def)
		if err != nil {
			errs = append(errs, err)
		}
		t.def = &c
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return t, nil
}

func compile(index int, r Route) (rule, error) {
	var c rule
	fail := func(field string, err error) (rule, error) {
		return rule{}, &Error{Route: index, Filter: r.Filter, Field: field, Err: err}
	}
	names := map[string]int{}
	var err error
	if index != Default {
		if c.filter, names, err = parseFilter(r.Filter); err != nil {
			return fail("filter", err)
		}
	}
	if c.topic, err = parseTemplate(r.Topic, names); err != nil {
		return fail("topic", err)
	}
	if err = checkTopicTemplate(c.topic, r.Topic); err != nil {
		return fail("topic", err)
	}
	if c.topic.constant() {
		c.name = r.Topic
	}
	if c.key, err = parseTemplate(r.Key, names); err != nil {
		return fail("key", err)
	}
	seen := map[string]bool{}
	for _, h := range r.Headers {
		field := "headers." + h.Name
		switch {
		case h.Name == "":
			return fail("headers", errors.New("a header has no name"))
		case strings.HasPrefix(h.Name, "mqtt."):
			return fail(field, errors.New("names beginning with mqtt. are set by the server"))
		case seen[h.Name]:
			return fail(field, errors.New("stands twice"))
		}
		seen[h.Name] = true
		v, err := parseTemplate(h.Value, names)
		if err != nil {
			return fail(field, err)
		}
		c.headers = append(c.headers, headerRule{name: h.Name, value: v})
	}
	return c, nil
}

// checkTopicTemplate checks what is known of a topic template before a message comes.
func checkTopicTemplate(t template, s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	if t.constant() {
		if why := checkTopic(s); why != "" {
			return fmt.Errorf("%.80q: %s", s, why)
		}
		return nil
	}
	for i, p := range t {
		switch p.level {
		case whole:
			return fmt.Errorf("%q: {%s} may hold a slash, which a log topic's name may not", s, wholeTopic)
		case literal:
			if why := checkChars(p.text); why != "" {
				return fmt.Errorf("%q: %s", s, why)
			}
			if i == 0 && strings.HasPrefix(p.text, internalPrefix) {
				return fmt.Errorf("%q: names beginning with %s are internal", s, internalPrefix)
			}
		}
	}
	return nil
}

// Resolve returns where a message with this MQTT topic goes. The topic must be a valid topic name. What Target holds is
// not shared with topic. Errors: ErrNoRoute, *NameError.
func (t *Table) Resolve(topic []byte) (Target, error) {
	var l levels
	l.split(topic)
	for i := range t.rules {
		if t.rules[i].filter.match(topic, &l) {
			return t.rules[i].target(i, topic, &l)
		}
	}
	if t.def == nil {
		return Target{}, ErrNoRoute
	}
	return t.def.target(Default, topic, &l)
}

func (r *rule) target(index int, topic []byte, l *levels) (Target, error) {
	name := r.name
	if name == "" {
		name = string(r.topic.appendTo(nil, topic, l))
		if checkTopic(name) != "" {
			return Target{}, &NameError{Route: index, Name: name}
		}
	}
	out := Target{Route: index, Topic: name, Key: r.key.appendTo([]byte{}, topic, l)}
	for _, h := range r.headers {
		if v := h.value.appendTo(nil, topic, l); len(v) > 0 {
			out.Headers = append(out.Headers, Header{Key: h.name, Value: v})
		}
	}
	return out, nil
}

// MayYield tells whether some MQTT topic could be routed to the log topic: subscribers are served from such topics.
func (t *Table) MayYield(logTopic string) bool {
	if checkTopic(logTopic) != "" {
		return false
	}
	for i := range t.rules {
		if t.rules[i].topic.mayYield(logTopic) {
			return true
		}
	}
	return t.def != nil && t.def.topic.mayYield(logTopic)
}
