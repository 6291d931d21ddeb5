package meta

import (
	"maps"
	"slices"
)

// Limits of a cluster of gateways. They bound what the metadata can cost every node in memory (P9)
// and what one answer to a Metadata request can weigh (about 350 kB at the limit).
const (
	// MaxPartitions is how many partitions all topics may have together: each costs every node
	// about a kilobyte of memory, and a gateway should spend no more than a few megabytes on that.
	MaxPartitions = 8192
	// MaxTopicPartitions is how many partitions one topic may have.
	MaxTopicPartitions = 1024
	// MaxBrokers is how many brokers may be registered.
	MaxBrokers = 256
	// MaxReplicationFactor is how many replicas a partition may have.
	MaxReplicationFactor = 9
	// MaxConfigValue is how many bytes one configuration value may have.
	MaxConfigValue = 4096
	// MaxConfigBytes is how many bytes the keys and values of all configurations may have together.
	MaxConfigBytes = 4 << 20
	// MaxHost is how many bytes the host name of an endpoint may have.
	MaxHost = 255
)

// State is an immutable snapshot of the cluster's metadata. Nothing that is reached through it may be
// modified; [State.Apply] shares what did not change between one state and the next. It may be read
// from any number of goroutines.
type State struct {
	// Version counts the commands that changed something since the empty state, whose version is 0.
	Version int64
	// ClusterID is 22 characters of base64url, or empty before the cluster was given one.
	ClusterID string
	Brokers   map[int32]Broker
	Topics    map[string]*Topic
	// TopicNames finds a topic's name by its id.
	TopicNames map[TopicID]string
	// ClusterConfigs are the dynamic defaults of all brokers, BrokerConfigs the dynamic overrides of
	// single ones.
	ClusterConfigs map[string]string
	BrokerConfigs  map[int32]map[string]string
	// NextProducerID is the first producer id that was never allocated.
	NextProducerID int64
}

// Broker is one registered node.
type Broker struct {
	ID int32
	// Epoch grows with every registration: it is the version of the state the registration made.
	Epoch int64
	// Incarnation is drawn anew by every start of the node's process.
	Incarnation string
	Endpoints   []Endpoint
	Rack        string // empty when unknown
	Fenced      bool
}

// Endpoint is an address at which a broker's clients or peers reach it.
type Endpoint struct {
	Listener string `json:"listener"` // its name, as in Kafka's listeners: "PLAINTEXT"
	Host     string `json:"host"`
	Port     uint16 `json:"port"`
}

// Topic is one topic. Partitions are numbered by their position.
type Topic struct {
	Name       string
	ID         TopicID
	Internal   bool
	Partitions []Partition
	// Configs holds the topic's own configuration only, not what it inherits; see [State.TopicConfig].
	Configs map[string]string
}

// Partition is where one partition lives. The first replica is the preferred leader.
type Partition struct {
	Replicas, ISR  []int32
	Leader         int32 // -1 when none
	LeaderEpoch    int32 // grows with every change of the leader
	PartitionEpoch int32 // grows with every change of anything
}

// Internal topics. They are created by culvert itself, listed to clients as internal, and cannot be
// deleted by them.
const (
	ConsumerOffsetsTopic = "__consumer_offsets"
	MQTTRetainedTopic    = "__mqtt_retained"
)

// InternalTopic tells whether a topic of that name is one of culvert's own.
func InternalTopic(name string) bool {
	return name == ConsumerOffsetsTopic || name == MQTTRetainedTopic
}

// Empty returns the state before the first command.
func Empty() *State {
	return &State{
		Brokers:        map[int32]Broker{},
		Topics:         map[string]*Topic{},
		TopicNames:     map[TopicID]string{},
		ClusterConfigs: map[string]string{},
		BrokerConfigs:  map[int32]map[string]string{},
	}
}

// Topic returns the topic of that name, or nil.
func (s *State) Topic(name string) *Topic { return s.Topics[name] }

// TopicByID returns the topic with that id, or nil.
func (s *State) TopicByID(id TopicID) *Topic {
	if name, ok := s.TopicNames[id]; ok {
		return s.Topics[name]
	}
	return nil
}

// SortedTopics returns all topics by name.
func (s *State) SortedTopics() []*Topic {
	out := make([]*Topic, 0, len(s.Topics))
	for _, name := range slices.Sorted(maps.Keys(s.Topics)) {
		out = append(out, s.Topics[name])
	}
	return out
}

// SortedBrokers returns all brokers by id.
func (s *State) SortedBrokers() []Broker {
	out := make([]Broker, 0, len(s.Brokers))
	for _, id := range slices.Sorted(maps.Keys(s.Brokers)) {
		out = append(out, s.Brokers[id])
	}
	return out
}

// CountPartitions returns how many partitions all topics have together.
func (s *State) CountPartitions() int {
	n := 0
	for _, t := range s.Topics {
		n += len(t.Partitions)
	}
	return n
}

// clone returns a state that shares everything with s. Whoever changes it replaces the map that
// changes by a clone of its own first.
func (s *State) clone() *State {
	n := *s
	return &n
}

// withTopic returns a state in which t stands under its name and id.
func (s *State) withTopic(t *Topic) *State {
	n := s.clone()
	n.Topics = maps.Clone(s.Topics)
	n.Topics[t.Name] = t
	if s.TopicNames[t.ID] != t.Name {
		n.TopicNames = maps.Clone(s.TopicNames)
		n.TopicNames[t.ID] = t.Name
	}
	return n
}

// withoutTopic returns a state without t.
func (s *State) withoutTopic(t *Topic) *State {
	n := s.clone()
	n.Topics = maps.Clone(s.Topics)
	n.TopicNames = maps.Clone(s.TopicNames)
	delete(n.Topics, t.Name)
	delete(n.TopicNames, t.ID)
	return n
}
