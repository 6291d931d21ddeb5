package meta

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Apply returns the state after c, which shares with s what c does not change. s itself is never
// modified; it is what is returned when c changes nothing or is refused.
func (s *State) Apply(c Command) (*State, Result, error) {
	n, r, err := c.apply(s)
	if err != nil {
		return s, Result{}, err
	}
	if n != s {
		n.Version = s.Version + 1
		r.Changed = true
	}
	return n, r, nil
}

// CheckClusterID returns an error that wraps [ErrClusterID] unless id is a UUID in the form Kafka writes
// it in.
func CheckClusterID(id string) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(b) != 16 {
		return fmt.Errorf("%w: %.40q is not 16 bytes in base64url", ErrClusterID, id)
	}
	return nil
}

func (c *SetClusterID) apply(s *State) (*State, Result, error) {
	if err := CheckClusterID(c.ID); err != nil {
		return nil, Result{}, err
	}
	switch s.ClusterID {
	case c.ID:
		return s, Result{}, nil
	case "":
		n := s.clone()
		n.ClusterID = c.ID
		return n, Result{}, nil
	}
	return nil, Result{}, fmt.Errorf("%w: this is cluster %s, not %s", ErrClusterID, s.ClusterID, c.ID)
}

func (c *RegisterBroker) apply(s *State) (*State, Result, error) {
	if err := c.check(); err != nil {
		return nil, Result{}, err
	}
	old, known := s.Brokers[c.ID]
	if known && old.Incarnation == c.Incarnation && old.Rack == c.Rack && slices.Equal(old.Endpoints, c.Endpoints) {
		return s, Result{BrokerEpoch: old.Epoch}, nil
	}
	if !known && len(s.Brokers) >= MaxBrokers {
		return nil, Result{}, fmt.Errorf("%w: %d brokers are registered, no more are allowed", ErrPolicyViolation, len(s.Brokers))
	}
	b := Broker{
		ID:          c.ID,
		Epoch:       s.Version + 1,
		Incarnation: c.Incarnation,
		Endpoints:   slices.Clone(c.Endpoints),
		Rack:        c.Rack,
	}
	n := s.clone()
	n.Brokers = maps.Clone(s.Brokers)
	n.Brokers[c.ID] = b
	return n, Result{BrokerEpoch: b.Epoch}, nil
}

func (c *RegisterBroker) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: registration of broker %d: %s", ErrInvalidRequest, c.ID, fmt.Sprintf(format, args...))
	}
	switch {
	case c.ID < 0:
		return bad("the id must not be negative")
	case len(c.Incarnation) > 64:
		return bad("the incarnation has more than 64 bytes")
	case len(c.Rack) > 128 || strings.ContainsAny(c.Rack, "\x00\n"):
		return bad("the rack has more than 128 bytes, or line breaks in it")
	case len(c.Endpoints) > 16:
		return bad("more than 16 endpoints")
	}
	for _, e := range c.Endpoints {
		if e.Host == "" || len(e.Host) > MaxHost || e.Port == 0 || len(e.Listener) > 64 {
			return bad("endpoint %.64s %.255q port %d is not complete", e.Listener, e.Host, e.Port)
		}
	}
	return nil
}

func (c *AllocateProducerIDs) apply(s *State) (*State, Result, error) {
	if c.Count < 1 || c.Count > MaxProducerIDBlock {
		return nil, Result{}, fmt.Errorf("%w: a block of %d, allowed are 1 to %d", ErrProducerIDs, c.Count, MaxProducerIDBlock)
	}
	if s.NextProducerID > math.MaxInt64-int64(c.Count) {
		return nil, Result{}, fmt.Errorf("%w: all are used up", ErrProducerIDs)
	}
	n := s.clone()
	n.NextProducerID += int64(c.Count)
	return n, Result{FirstProducerID: s.NextProducerID}, nil
}
