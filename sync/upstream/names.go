package upstream

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// ErrTopicName tells that a topic's name at the centre would not be a legal one.
var ErrTopicName = errors.New("upstream: not a legal topic name")

// maxTopicName is the longest name a topic may have, in bytes (Kafka's Topic.MAX_NAME_LENGTH).
const maxTopicName = 249

// template turns a topic's name here into its name at the centre.
type template struct {
	parts []string // what stands around every {topic}, the site filled in
}

// parseTemplate reads a template with the placeholders {site} and {topic}.
func parseTemplate(text, site string) (template, error) {
	var parts []string
	var b strings.Builder
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		end := strings.IndexByte(rest[i:], '}')
		if rest[i] == '}' || end < 0 {
			return template{}, fmt.Errorf("upstream: topic template %q: brace at %d has no partner", text, i+len(text)-len(rest))
		}
		switch name := rest[i+1 : i+end]; name {
		case "site":
			if site == "" {
				return template{}, fmt.Errorf("upstream: topic template %q needs a site", text)
			}
			b.WriteString(site)
		case "topic":
			parts = append(parts, b.String())
			b.Reset()
		default:
			return template{}, fmt.Errorf("upstream: topic template %q: unknown placeholder {%s} (there are {site} and {topic})", text, name)
		}
		rest = rest[i+end+1:]
	}
	parts = append(parts, b.String())
	for _, p := range parts {
		if i := strings.IndexFunc(p, func(r rune) bool { return !topicRune(r) }); i >= 0 {
			return template{}, fmt.Errorf("%w: template %q makes %q, and only letters, digits, '.', '_' and '-' may stand in a name", ErrTopicName, text, p)
		}
	}
	if len(parts) == 1 { // all topics go to one
		if err := checkTopic(parts[0]); err != nil {
			return template{}, err
		}
	}
	return template{parts}, nil
}

// name is the central name of a topic, or an error that is ErrTopicName.
func (t template) name(topic string) (string, error) {
	name := strings.Join(t.parts, topic)
	return name, checkTopic(name)
}

func topicRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

func checkTopic(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%w: %q", ErrTopicName, name)
	case len(name) > maxTopicName:
		return fmt.Errorf("%w: %q has %d characters, %d are the most", ErrTopicName, name, len(name), maxTopicName)
	case strings.ContainsFunc(name, func(r rune) bool { return !topicRune(r) }):
		return fmt.Errorf("%w: %q", ErrTopicName, name)
	}
	return nil
}

// selector says which topics are forwarded.
type selector struct{ include, exclude []string }

func newSelector(include, exclude []string) (*selector, error) {
	for _, list := range [][]string{include, exclude} {
		for _, p := range list {
			bad := strings.ContainsFunc(p, func(r rune) bool { return !topicRune(r) && r != '*' && r != '?' })
			if p == "" || bad {
				return nil, fmt.Errorf("upstream: topic pattern %q: a name, with * for any characters and ? for one", p)
			}
		}
	}
	return &selector{include, exclude}, nil
}

// match tells whether the topic is forwarded. Internal topics are not: their records belong to this cluster, and a
// centre that forwards back would have them circle.
func (s *selector) match(topic string) bool {
	return !strings.HasPrefix(topic, "__") && matchAny(s.include, topic) && !matchAny(s.exclude, topic)
}

func matchAny(patterns []string, topic string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, topic); ok {
			return true
		}
	}
	return false
}
