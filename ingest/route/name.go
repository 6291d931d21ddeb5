package route

import (
	"fmt"
	"strings"
)

const (
	internalPrefix = "__"
	maxTopicLength = 249 // as Kafka: a directory named after a topic and a partition still fits into 255 bytes
)

// checkTopic says why name cannot be a log topic that messages are routed to, or "".
func checkTopic(name string) string {
	switch {
	case name == "":
		return "is empty"
	case name == "." || name == "..":
		return "a log topic cannot be named . or .."
	case len(name) > maxTopicLength:
		return fmt.Sprintf("is longer than %d bytes", maxTopicLength)
	case strings.HasPrefix(name, internalPrefix):
		return "names beginning with " + internalPrefix + " are internal"
	}
	return checkChars(name)
}

// checkChars says which character of s cannot be in a log topic's name, or "".
func checkChars(s string) string {
	for _, c := range s {
		if !isNameRune(c) && c != '.' {
			return fmt.Sprintf("%q cannot be in a log topic's name (a-z A-Z 0-9 . _ -)", c)
		}
	}
	return ""
}
