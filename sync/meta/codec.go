package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

const (
	// StateVersion is the version of the stored form of a [State] that this package writes.
	StateVersion = 1
	// MaxStateBytes is how large the stored form of a state may be. A cluster at its limits takes a
	// tenth of it.
	MaxStateBytes = 32 << 20
	// MaxCommandBytes is how large the stored form of a command may be.
	MaxCommandBytes = 256 << 10

	stateFormat = "culvert-meta"
)

// storedState is the stored form of a State: lists in order instead of maps, so that the same state is
// always the same bytes.
type storedState struct {
	Format         string                      `json:"format"`
	Version        int                         `json:"version"`
	StateVersion   int64                       `json:"state_version"`
	ClusterID      string                      `json:"cluster_id"`
	NextProducerID int64                       `json:"next_producer_id"`
	ClusterConfigs map[string]string           `json:"cluster_configs,omitempty"`
	BrokerConfigs  map[int32]map[string]string `json:"broker_configs,omitempty"`
	Brokers        []storedBroker              `json:"brokers,omitempty"`
	Topics         []storedTopic               `json:"topics,omitempty"`
}

type storedBroker struct {
	ID          int32      `json:"id"`
	Epoch       int64      `json:"epoch"`
	Incarnation string     `json:"incarnation"`
	Endpoints   []Endpoint `json:"endpoints"`
	Rack        string     `json:"rack,omitempty"`
	Fenced      bool       `json:"fenced,omitempty"`
}

type storedTopic struct {
	Name       string            `json:"name"`
	ID         TopicID           `json:"id"`
	Internal   bool              `json:"internal,omitempty"`
	Partitions []storedPartition `json:"partitions"`
	Configs    map[string]string `json:"configs,omitempty"`
}

type storedPartition struct {
	Replicas       []int32 `json:"replicas"`
	ISR            []int32 `json:"isr"`
	Leader         int32   `json:"leader"`
	LeaderEpoch    int32   `json:"leader_epoch"`
	PartitionEpoch int32   `json:"partition_epoch"`
}

// Encode returns the stored form of s: JSON, the same bytes for the same state, without a checksum. It
// fails with [ErrTooLarge] only.
func (s *State) Encode() ([]byte, error) {
	out := storedState{
		Format:         stateFormat,
		Version:        StateVersion,
		StateVersion:   s.Version,
		ClusterID:      s.ClusterID,
		NextProducerID: s.NextProducerID,
		ClusterConfigs: s.ClusterConfigs,
		BrokerConfigs:  s.BrokerConfigs,
	}
	for _, b := range s.SortedBrokers() {
		out.Brokers = append(out.Brokers, storedBroker(b))
	}
	for _, t := range s.SortedTopics() {
		st := storedTopic{Name: t.Name, ID: t.ID, Internal: t.Internal, Configs: t.Configs}
		for _, p := range t.Partitions {
			st.Partitions = append(st.Partitions, storedPartition(p))
		}
		out.Topics = append(out.Topics, st)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode metadata: %w", err)
	}
	if len(b) > MaxStateBytes {
		return nil, fmt.Errorf("%w: %d bytes, %d are allowed", ErrTooLarge, len(b), MaxStateBytes)
	}
	return b, nil
}

// DecodeState reads what [State.Encode] wrote. It fails with [ErrNewer] if that was a later version,
// else with [ErrCorrupt] or [ErrTooLarge]. Configuration keys that are not known here are kept.
func DecodeState(b []byte) (*State, error) {
	if len(b) > MaxStateBytes {
		return nil, fmt.Errorf("%w: %d bytes, %d are allowed", ErrTooLarge, len(b), MaxStateBytes)
	}
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	switch {
	case head.Format != stateFormat || head.Version < 1:
		return nil, fmt.Errorf("%w: format %.40q version %d is not metadata of culvert", ErrCorrupt, head.Format, head.Version)
	case head.Version > StateVersion:
		return nil, &NewerError{What: fmt.Sprintf("metadata version %d", head.Version), Known: fmt.Sprint(StateVersion)}
	}
	var in storedState
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return in.state()
}

func (in *storedState) state() (*State, error) {
	bad := func(format string, args ...any) (*State, error) {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	}
	s := Empty()
	s.Version, s.ClusterID, s.NextProducerID = in.StateVersion, in.ClusterID, in.NextProducerID
	if s.Version < 0 || s.NextProducerID < 0 {
		return bad("negative version or producer id")
	}
	if s.ClusterID != "" && CheckClusterID(s.ClusterID) != nil {
		return bad("cluster id %.40q", s.ClusterID)
	}
	maps.Copy(s.ClusterConfigs, in.ClusterConfigs)
	for id, c := range in.BrokerConfigs {
		if len(c) > 0 {
			s.BrokerConfigs[id] = c
		}
	}
	if len(in.Brokers) > MaxBrokers {
		return bad("%d brokers", len(in.Brokers))
	}
	for _, b := range in.Brokers {
		if _, dup := s.Brokers[b.ID]; dup || b.ID < 0 {
			return bad("broker %d is negative or occurs twice", b.ID)
		}
		s.Brokers[b.ID] = Broker(b)
	}
	total := 0
	for i := range in.Topics {
		t, err := in.Topics[i].topic()
		if err != nil {
			return nil, err
		}
		if s.Topics[t.Name] != nil || s.TopicNames[t.ID] != "" {
			return bad("topic %s or its id %s occurs twice", t.Name, t.ID)
		}
		if total += len(t.Partitions); total > MaxPartitions {
			return bad("more than %d partitions", MaxPartitions)
		}
		s.Topics[t.Name], s.TopicNames[t.ID] = t, t.Name
	}
	return s, nil
}

func (in *storedTopic) topic() (*Topic, error) {
	if err := CheckTopicName(in.Name); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if in.ID.IsZero() || len(in.Partitions) == 0 || len(in.Partitions) > MaxTopicPartitions {
		return nil, fmt.Errorf("%w: topic %s with id %s and %d partitions", ErrCorrupt, in.Name, in.ID, len(in.Partitions))
	}
	t := &Topic{Name: in.Name, ID: in.ID, Internal: in.Internal, Configs: map[string]string{}}
	maps.Copy(t.Configs, in.Configs)
	for i, p := range in.Partitions {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("%w: topic %s partition %d: %w", ErrCorrupt, in.Name, i, err)
		}
		t.Partitions = append(t.Partitions, Partition(p))
	}
	return t, nil
}

func (p *storedPartition) check() error {
	switch {
	case len(p.Replicas) == 0 || len(p.Replicas) > MaxReplicationFactor:
		return fmt.Errorf("%d replicas", len(p.Replicas))
	case p.LeaderEpoch < 0 || p.PartitionEpoch < 0:
		return fmt.Errorf("negative epoch")
	case p.Leader != -1 && !slices.Contains(p.Replicas, p.Leader):
		return fmt.Errorf("leader %d is no replica", p.Leader)
	}
	for i, id := range p.Replicas {
		if id < 0 || slices.Contains(p.Replicas[:i], id) {
			return fmt.Errorf("replica %d is negative or occurs twice", id)
		}
	}
	for i, id := range p.ISR {
		if !slices.Contains(p.Replicas, id) || slices.Contains(p.ISR[:i], id) {
			return fmt.Errorf("in-sync replica %d is no replica or occurs twice", id)
		}
	}
	return nil
}

// storedCommand is the stored form of a command.
type storedCommand struct {
	Type string          `json:"type"`
	Body json.RawMessage `json:"body"`
}

// EncodeCommand returns the stored form of c: JSON without a checksum. It fails with [ErrTooLarge] only.
func EncodeCommand(c Command) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.tag(), err)
	}
	b, err := json.Marshal(storedCommand{Type: c.tag(), Body: body})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.tag(), err)
	}
	if len(b) > MaxCommandBytes {
		return nil, fmt.Errorf("%w: %s of %d bytes, %d are allowed", ErrTooLarge, c.tag(), len(b), MaxCommandBytes)
	}
	return b, nil
}

// DecodeCommand reads what [EncodeCommand] wrote. A command or a field of one that is not known here
// fails with [ErrNewer]: leaving it out would make this voter's state differ from that of others.
// Anything else fails with [ErrCorrupt] or [ErrTooLarge].
func DecodeCommand(b []byte) (Command, error) {
	if len(b) > MaxCommandBytes {
		return nil, fmt.Errorf("%w: a command of %d bytes, %d are allowed", ErrTooLarge, len(b), MaxCommandBytes)
	}
	var in storedCommand
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, fmt.Errorf("%w: command: %w", ErrCorrupt, err)
	}
	c := newCommand(in.Type)
	if c == nil {
		if in.Type == "" {
			return nil, fmt.Errorf("%w: command without a type", ErrCorrupt)
		}
		return nil, &NewerError{What: fmt.Sprintf("command %.40q", in.Type), Known: "version " + fmt.Sprint(StateVersion)}
	}
	if err := json.Unmarshal(in.Body, c); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, in.Type, err)
	}
	strict := json.NewDecoder(bytes.NewReader(in.Body))
	strict.DisallowUnknownFields()
	if err := strict.Decode(newCommand(in.Type)); err != nil && !errors.Is(err, io.EOF) {
		return nil, &NewerError{What: fmt.Sprintf("command %q (%v)", in.Type, err), Known: "version " + fmt.Sprint(StateVersion)}
	}
	return c, nil
}

// CommandName returns the name of a command's type for logs and metrics: "create-topic".
func CommandName(c Command) string { return c.tag() }
