package meta

import (
	"fmt"
	"slices"
	"strings"
)

func (c *CreateTopic) apply(s *State) (*State, Result, error) {
	if err := CheckTopicName(c.Name); err != nil {
		return nil, Result{}, err
	}
	if c.ID.IsZero() {
		return nil, Result{}, fmt.Errorf("%w: topic %s has no id", ErrInvalidRequest, c.Name)
	}
	count, err := c.count()
	if old := s.Topics[c.Name]; old != nil {
		if err == nil && old.ID == c.ID && len(old.Partitions) == count {
			return s, Result{Topic: old}, nil
		}
		return nil, Result{}, fmt.Errorf("%w: %s", ErrTopicExists, c.Name)
	}
	if err != nil {
		return nil, Result{}, err
	}
	if name, used := s.TopicNames[c.ID]; used {
		return nil, Result{}, fmt.Errorf("%w: the id %s is that of %s", ErrTopicExists, c.ID, name)
	}
	if other := s.collision(c.Name); other != "" {
		return nil, Result{}, fmt.Errorf("%w: %q collides with %q: '.' and '_' are the same in the name of a metric", ErrInvalidTopic, c.Name, other)
	}
	if err := s.checkRoom(count); err != nil {
		return nil, Result{}, err
	}
	parts, err := s.place(count, int(c.ReplicationFactor), c.Assignment)
	if err != nil {
		return nil, Result{}, err
	}
	configs := make(map[string]string, len(c.Configs))
	for k, v := range c.Configs {
		configs[k] = strings.TrimSpace(v)
	}
	if err := checkTopicConfigs(configs); err != nil {
		return nil, Result{}, err
	}
	if err := s.checkConfigRoom(nil, configs); err != nil {
		return nil, Result{}, err
	}
	t := &Topic{
		Name:       c.Name,
		ID:         c.ID,
		Internal:   InternalTopic(c.Name),
		Partitions: parts,
		Configs:    configs,
	}
	return s.withTopic(t), Result{Topic: t}, nil
}

// count returns how many partitions the command asks for.
func (c *CreateTopic) count() (int, error) {
	if len(c.Assignment) > 0 {
		if c.Partitions > 0 && int(c.Partitions) != len(c.Assignment) {
			return 0, fmt.Errorf("%w: %d partitions, but the assignment has %d", ErrInvalidRequest, c.Partitions, len(c.Assignment))
		}
		return len(c.Assignment), checkCount(len(c.Assignment))
	}
	return int(c.Partitions), checkCount(int(c.Partitions))
}

func checkCount(n int) error {
	switch {
	case n < 1:
		return fmt.Errorf("%w: %d, at least 1 is needed", ErrInvalidPartitions, n)
	case n > MaxTopicPartitions:
		return fmt.Errorf("%w: %d, a topic may have %d", ErrInvalidPartitions, n, MaxTopicPartitions)
	}
	return nil
}

// checkRoom refuses more partitions than the cluster may have.
func (s *State) checkRoom(more int) error {
	if have := s.CountPartitions(); more > MaxPartitions-have {
		return fmt.Errorf("%w: %d more would exceed the %d a cluster may have, of which %d are in use", ErrInvalidPartitions, more, MaxPartitions, have)
	}
	return nil
}

// place returns count partitions with their replicas: those of the assignment, or else replicas brokers
// each. The first broker of each partition moves on by one, and begins where the partitions that exist
// already end, so that leaders spread evenly.
func (s *State) place(count, replicas int, assignment [][]int32) ([]Partition, error) {
	if len(assignment) > 0 {
		return s.placeExplicit(assignment)
	}
	live := make([]int32, 0, len(s.Brokers))
	for _, b := range s.SortedBrokers() {
		if !b.Fenced {
			live = append(live, b.ID)
		}
	}
	switch {
	case replicas < 1:
		return nil, fmt.Errorf("%w: %d, at least 1 is needed", ErrInvalidReplicationFactor, replicas)
	case replicas > MaxReplicationFactor:
		return nil, fmt.Errorf("%w: %d, a partition may have %d", ErrInvalidReplicationFactor, replicas, MaxReplicationFactor)
	case replicas > len(live):
		return nil, fmt.Errorf("%w: %d, but %d brokers are available", ErrInvalidReplicationFactor, replicas, len(live))
	}
	first := s.CountPartitions()
	out := make([]Partition, count)
	for i := range out {
		r := make([]int32, replicas)
		for j := range r {
			r[j] = live[(first+i+j)%len(live)]
		}
		out[i] = newPartition(r)
	}
	return out, nil
}

func (s *State) placeExplicit(assignment [][]int32) ([]Partition, error) {
	bad := func(i int, format string, args ...any) error {
		return fmt.Errorf("%w: partition %d: %s", ErrInvalidReplicaAssignment, i, fmt.Sprintf(format, args...))
	}
	out := make([]Partition, len(assignment))
	for i, r := range assignment {
		switch {
		case len(r) == 0:
			return nil, bad(i, "no replicas")
		case len(r) > MaxReplicationFactor:
			return nil, bad(i, "%d replicas, %d are allowed", len(r), MaxReplicationFactor)
		case len(r) != len(assignment[0]):
			return nil, bad(i, "%d replicas, but partition 0 has %d", len(r), len(assignment[0]))
		}
		for j, id := range r {
			if _, ok := s.Brokers[id]; !ok {
				return nil, bad(i, "no broker %d is registered", id)
			}
			if slices.Contains(r[:j], id) {
				return nil, bad(i, "broker %d occurs twice", id)
			}
		}
		out[i] = newPartition(slices.Clone(r))
	}
	return out, nil
}

func newPartition(replicas []int32) Partition {
	return Partition{Replicas: replicas, ISR: slices.Clone(replicas), Leader: replicas[0]}
}

func (c *DeleteTopic) apply(s *State) (*State, Result, error) {
	t, err := s.find(c.Name, c.ID)
	if err != nil {
		return nil, Result{}, err
	}
	if t.Internal {
		return nil, Result{}, fmt.Errorf("%w: %s is an internal topic and cannot be deleted", ErrPolicyViolation, t.Name)
	}
	return s.withoutTopic(t), Result{Topic: t}, nil
}

// find returns the topic with the id unless that is zero, else the topic of the name.
func (s *State) find(name string, id TopicID) (*Topic, error) {
	if !id.IsZero() {
		if t := s.TopicByID(id); t != nil {
			return t, nil
		}
		return nil, fmt.Errorf("%w: %s", ErrUnknownTopicID, id)
	}
	if t := s.Topics[name]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("%w: %.249q", ErrUnknownTopic, name)
}

func (c *CreatePartitions) apply(s *State) (*State, Result, error) {
	t, err := s.find(c.Name, TopicID{})
	if err != nil {
		return nil, Result{}, err
	}
	have, want := len(t.Partitions), int(c.Count)
	if want <= have {
		return nil, Result{}, fmt.Errorf("%w: topic %s has %d partitions already, %d would not be more", ErrInvalidPartitions, t.Name, have, want)
	}
	if t.Internal {
		return nil, Result{}, fmt.Errorf("%w: the partitions of the internal topic %s are fixed", ErrPolicyViolation, t.Name)
	}
	if err := checkCount(want); err != nil {
		return nil, Result{}, err
	}
	if err := s.checkRoom(want - have); err != nil {
		return nil, Result{}, err
	}
	replicas := len(t.Partitions[0].Replicas)
	if n := len(c.Assignment); n > 0 {
		if n != want-have {
			return nil, Result{}, fmt.Errorf("%w: %d new partitions, but the assignment has %d", ErrInvalidReplicaAssignment, want-have, n)
		}
		if len(c.Assignment[0]) != replicas {
			return nil, Result{}, fmt.Errorf("%w: %d replicas, but the topic's partitions have %d", ErrInvalidReplicaAssignment, len(c.Assignment[0]), replicas)
		}
	}
	more, err := s.place(want-have, replicas, c.Assignment)
	if err != nil {
		return nil, Result{}, err
	}
	n := *t
	n.Partitions = slices.Concat(t.Partitions, more)
	return s.withTopic(&n), Result{Topic: &n}, nil
}
