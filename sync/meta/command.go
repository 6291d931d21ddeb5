package meta

// Command is a change of the metadata. The types of this file are all there are; each can be stored by
// [EncodeCommand].
type Command interface {
	// tag names the type in the stored form. It never changes.
	tag() string
	// apply returns s itself when there is nothing to change.
	apply(s *State) (*State, Result, error)
}

// Result is what a command came to, beside the new state.
type Result struct {
	// Changed is false when the state already was what the command asked for.
	Changed bool
	// Topic is the topic as it is now (CreateTopic, CreatePartitions, AlterTopicConfigs) or was
	// (DeleteTopic).
	Topic *Topic
	// BrokerEpoch is the epoch of a RegisterBroker.
	BrokerEpoch int64
	// FirstProducerID is where the block of an AllocateProducerIDs begins.
	FirstProducerID int64
}

// SetClusterID names the cluster. It is the first command of a new cluster, and repeating it changes
// nothing; another id is refused with [ErrClusterID].
type SetClusterID struct {
	ID string `json:"id"` // a UUID in 22 characters of base64url
}

// RegisterBroker makes a node known, or renews its registration after a restart. The same incarnation
// with the same addresses changes nothing.
type RegisterBroker struct {
	ID          int32      `json:"id"`
	Incarnation string     `json:"incarnation"` // drawn by every start of the process
	Endpoints   []Endpoint `json:"endpoints"`
	Rack        string     `json:"rack,omitempty"`
}

// CreateTopic creates a topic. Where Assignment is given, it alone says how many partitions and
// replicas there are; else Partitions and ReplicationFactor do, and replicas are spread over the brokers
// that are not fenced.
//
// A topic of the same name, id and number of partitions that is already there is no error, and is
// returned as it is: so a topic can be put back whose metadata was lost.
type CreateTopic struct {
	Name              string            `json:"name"`
	ID                TopicID           `json:"topic_id"` // drawn by who proposes; not zero
	Partitions        int32             `json:"partitions,omitempty"`
	ReplicationFactor int16             `json:"replication_factor,omitempty"`
	Assignment        [][]int32         `json:"assignment,omitempty"` // replicas per partition
	Configs           map[string]string `json:"configs,omitempty"`
}

// DeleteTopic deletes a topic, named by its id if that is not zero, else by its name. Internal topics
// are refused with [ErrPolicyViolation].
type DeleteTopic struct {
	Name string  `json:"name,omitempty"`
	ID   TopicID `json:"topic_id,omitzero"`
}

// CreatePartitions grows a topic to Count partitions. Assignment, where given, has the replicas of the
// new partitions only.
type CreatePartitions struct {
	Name       string    `json:"name"`
	Count      int32     `json:"count"`
	Assignment [][]int32 `json:"assignment,omitempty"`
}

// AlterTopicConfigs changes the configuration of a topic: all of Ops or nothing. With Replace, what
// Ops does not set returns to its default, and only [OpSet] is allowed (the older AlterConfigs).
type AlterTopicConfigs struct {
	Name    string     `json:"name"`
	Ops     []ConfigOp `json:"ops"`
	Replace bool       `json:"replace,omitempty"`
}

// AllBrokers in place of a broker's id stands for the dynamic defaults of all brokers.
const AllBrokers int32 = -1

// AlterBrokerConfigs changes the dynamic configuration of one broker, or with [AllBrokers] the defaults
// of all. Keys that only a restart can change are refused with [ErrInvalidRequest].
type AlterBrokerConfigs struct {
	Broker  int32      `json:"broker"`
	Ops     []ConfigOp `json:"ops"`
	Replace bool       `json:"replace,omitempty"`
}

// Op says what a [ConfigOp] does to its key. The numbers are those of IncrementalAlterConfigs (KIP-339).
type Op int8

// The operations.
const (
	OpSet      Op = 0
	OpDelete   Op = 1 // back to the default
	OpAppend   Op = 2 // adds elements to a list that does not have them yet
	OpSubtract Op = 3 // takes elements out of a list
)

// ConfigOp changes one key of a configuration.
type ConfigOp struct {
	Key   string `json:"key"`
	Op    Op     `json:"op,omitempty"`
	Value string `json:"value,omitempty"` // unused by OpDelete
}

// AllocateProducerIDs reserves Count producer ids that nobody was given before: those beginning with
// [Result.FirstProducerID].
type AllocateProducerIDs struct {
	Count int32 `json:"count"`
}

// MaxProducerIDBlock is how many producer ids may be allocated at once.
const MaxProducerIDBlock = 100_000

func (*SetClusterID) tag() string        { return "set-cluster-id" }
func (*RegisterBroker) tag() string      { return "register-broker" }
func (*CreateTopic) tag() string         { return "create-topic" }
func (*DeleteTopic) tag() string         { return "delete-topic" }
func (*CreatePartitions) tag() string    { return "create-partitions" }
func (*AlterTopicConfigs) tag() string   { return "alter-topic-configs" }
func (*AlterBrokerConfigs) tag() string  { return "alter-broker-configs" }
func (*AllocateProducerIDs) tag() string { return "allocate-producer-ids" }

// newCommand returns an empty command of the type that has the tag, or nil.
func newCommand(tag string) Command {
	switch tag {
	case "set-cluster-id":
		return new(SetClusterID)
	case "register-broker":
		return new(RegisterBroker)
	case "create-topic":
		return new(CreateTopic)
	case "delete-topic":
		return new(DeleteTopic)
	case "create-partitions":
		return new(CreatePartitions)
	case "alter-topic-configs":
		return new(AlterTopicConfigs)
	case "alter-broker-configs":
		return new(AlterBrokerConfigs)
	case "allocate-producer-ids":
		return new(AllocateProducerIDs)
	}
	return nil
}
