package meta

import (
	"errors"
	"fmt"
)

// What a command can be refused for. Each corresponds to one error code of the native protocol, named
// in brackets; the text that wraps it tells the user what was wrong with which value.
var (
	// ErrTopicExists: a topic of that name, or one with that id, is there already [TOPIC_ALREADY_EXISTS].
	ErrTopicExists = errors.New("topic already exists")
	// ErrUnknownTopic: there is no topic of that name [UNKNOWN_TOPIC_OR_PARTITION].
	ErrUnknownTopic = errors.New("unknown topic")
	// ErrUnknownTopicID: there is no topic with that id [UNKNOWN_TOPIC_ID].
	ErrUnknownTopicID = errors.New("unknown topic id")
	// ErrInvalidTopic: the name is not a legal one, or collides with another [INVALID_TOPIC_EXCEPTION].
	ErrInvalidTopic = errors.New("invalid topic name")
	// ErrInvalidPartitions: a partition count is out of range or would not grow [INVALID_PARTITIONS].
	ErrInvalidPartitions = errors.New("invalid number of partitions")
	// ErrInvalidReplicationFactor: fewer than one, or more replicas than brokers [INVALID_REPLICATION_FACTOR].
	ErrInvalidReplicationFactor = errors.New("invalid replication factor")
	// ErrInvalidReplicaAssignment: an explicit assignment contradicts itself or the brokers known
	// [INVALID_REPLICA_ASSIGNMENT].
	ErrInvalidReplicaAssignment = errors.New("invalid replica assignment")
	// ErrInvalidConfig: a configuration key is unknown or its value is not allowed [INVALID_CONFIG].
	// The error is a [*ConfigError].
	ErrInvalidConfig = errors.New("invalid configuration")
	// ErrInvalidRequest: the command contradicts itself, or asks for what cannot be changed at run time
	// [INVALID_REQUEST].
	ErrInvalidRequest = errors.New("invalid request")
	// ErrPolicyViolation: the command is well-formed, but this cluster does not allow it
	// [POLICY_VIOLATION].
	ErrPolicyViolation = errors.New("policy violation")
	// ErrUnknownBroker: no broker with that id is registered [BROKER_ID_NOT_REGISTERED].
	ErrUnknownBroker = errors.New("unknown broker")
	// ErrClusterID: the cluster has another id than the command says [INCONSISTENT_CLUSTER_ID].
	ErrClusterID = errors.New("inconsistent cluster id")
	// ErrProducerIDs: the producer ids are used up, or the block asked for has no legal size
	// [UNKNOWN_SERVER_ERROR].
	ErrProducerIDs = errors.New("cannot allocate producer ids")
)

// ConfigError tells which key of a configuration was refused, and why. It unwraps to
// [ErrInvalidConfig].
type ConfigError struct {
	Key, Value string
	Reason     string
}

// Error names key and value, shortened.
func (e *ConfigError) Error() string {
	v := e.Value
	if len(v) > 100 {
		v = v[:100] + "..."
	}
	return fmt.Sprintf("invalid value %q for configuration %s: %s", v, e.Key, e.Reason)
}

// Unwrap returns [ErrInvalidConfig].
func (e *ConfigError) Unwrap() error { return ErrInvalidConfig }

// Why stored bytes could not be read.
var (
	// ErrCorrupt: a stored state or command is not what this package writes.
	ErrCorrupt = errors.New("corrupt metadata")
	// ErrNewer: a stored state or command was written by a later version of culvert and must not be
	// read by this one. The error is a [*NewerError].
	ErrNewer = errors.New("metadata of a newer version")
	// ErrTooLarge: a state or command is larger than may be stored.
	ErrTooLarge = errors.New("metadata too large")
)

// NewerError tells what this version does not know. It unwraps to [ErrNewer].
type NewerError struct {
	What  string // "state version 3", "command \"add-acl\""
	Known string // what is known instead
}

// Error tells what was found and what is known.
func (e *NewerError) Error() string {
	return fmt.Sprintf("%s was written by a newer version (known here: %s)", e.What, e.Known)
}

// Unwrap returns [ErrNewer].
func (e *NewerError) Unwrap() error { return ErrNewer }
