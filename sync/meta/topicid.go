package meta

import (
	"encoding/base64"
	"fmt"
)

// TopicID is the UUID of a topic. Its text form is Kafka's: base64url without padding, 22 characters.
// The zero id stands for "none".
type TopicID [16]byte

// IsZero tells whether the id is the one that stands for "none".
func (id TopicID) IsZero() bool { return id == TopicID{} }

// String returns the 22 characters Kafka prints.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseTopicID reads what [TopicID.String] writes.
func ParseTopicID(s string) (TopicID, error) {
	var id TopicID
	if len(s) != 22 {
		return id, fmt.Errorf("topic id %.40q has not 22 characters", s)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return id, fmt.Errorf("topic id %q: %w", s, err)
	}
	copy(id[:], b)
	return id, nil
}

// MarshalText implements [encoding.TextMarshaler].
func (id TopicID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *TopicID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseTopicID(string(b))
	return err
}
