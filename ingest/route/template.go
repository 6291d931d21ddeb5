package route

import (
	"fmt"
	"strings"
)

// wholeTopic is the name that every template may use without the filter binding it.
const wholeTopic = "topic"

// part is a piece of a template: a literal, or, when level is not none, what a level of the topic holds.
type part struct {
	text  string
	level int // index of the level, or whole
}

const (
	literal = -1
	whole   = -2
)

// template is text with references to the levels of an MQTT topic.
type template []part

// parseTemplate compiles s. names maps the filter's names to level indexes.
func parseTemplate(s string, names map[string]int) (template, error) {
	var t template
	rest := s
	for rest != "" {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			t = append(t, part{text: rest, level: literal})
			break
		}
		if rest[i] == '}' {
			return nil, fmt.Errorf("%q: } without {", s)
		}
		if i > 0 {
			t = append(t, part{text: rest[:i], level: literal})
		}
		rest = rest[i+1:]
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return nil, fmt.Errorf("%q: { without }", s)
		}
		name := rest[:end]
		rest = rest[end+1:]
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		level, ok := names[name]
		switch {
		case name == wholeTopic:
			level = whole
		case !ok:
			return nil, fmt.Errorf("%q: {%s} is not a name of the filter", s, name)
		}
		t = append(t, part{text: name, level: level})
	}
	return t, nil
}

// checkName says whether name may stand between braces.
func checkName(name string) error {
	if name == "" {
		return fmt.Errorf("{} has no name")
	}
	for _, c := range name {
		if !isNameRune(c) {
			return fmt.Errorf("{%s}: a name is made of letters, digits, - and _", name)
		}
	}
	return nil
}

func isNameRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// constant tells whether the template yields the same for every topic.
func (t template) constant() bool {
	for _, p := range t {
		if p.level != literal {
			return false
		}
	}
	return true
}

// appendTo appends the text for a topic to dst.
func (t template) appendTo(dst []byte, topic []byte, l *levels) []byte {
	for _, p := range t {
		switch p.level {
		case literal:
			dst = append(dst, p.text...)
		case whole:
			dst = append(dst, topic...)
		default:
			dst = append(dst, l.at(topic, p.level)...)
		}
	}
	return dst
}

// mayYield tells whether s could be what the template yields for some topic; a reference stands for any text, and
// one that stands twice for two texts, so the answer may be yes too often and never no too often.
func (t template) mayYield(s string) bool {
	reach := make([]bool, len(s)+1) // reach[i]: the parts so far can yield s[:i]
	next := make([]bool, len(s)+1)
	reach[0] = true
	for _, p := range t {
		clear(next)
		any := false
		for i := range reach {
			if p.level == literal {
				if reach[i] && strings.HasPrefix(s[i:], p.text) {
					next[i+len(p.text)] = true
				}
				continue
			}
			any = any || reach[i]
			next[i] = any
		}
		reach, next = next, reach
	}
	return reach[len(s)]
}
