package meta

import (
	"fmt"
	"strings"
)

// MaxTopicName is how many bytes a topic's name may have.
const MaxTopicName = 249

// CheckTopicName returns an error that wraps [ErrInvalidTopic] unless name is what Kafka allows: 1 to
// 249 of [A-Za-z0-9._-], and neither "." nor "..".
func CheckTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidTopic)
	case name == "." || name == "..":
		return fmt.Errorf("%w: it cannot be %q", ErrInvalidTopic, name)
	case len(name) > MaxTopicName:
		return fmt.Errorf("%w: it has %d characters, %d are allowed", ErrInvalidTopic, len(name), MaxTopicName)
	}
	for i := range len(name) {
		if c := name[i]; !legalNameByte(c) {
			return fmt.Errorf("%w: %q holds %q, allowed are ASCII letters, digits, '.', '_' and '-'", ErrInvalidTopic, name, c)
		}
	}
	return nil
}

func legalNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// collision returns the name of a topic from which name differs only by '.' in place of '_', or "".
// Kafka refuses such a pair because both become the same name of a metric.
func (s *State) collision(name string) string {
	if !strings.ContainsAny(name, "._") {
		return ""
	}
	folded := foldName(name)
	found := ""
	for other := range s.Topics {
		if other != name && foldName(other) == folded && (found == "" || other < found) {
			found = other
		}
	}
	return found
}

func foldName(name string) string { return strings.ReplaceAll(name, ".", "_") }
