// Package meta is the cluster's metadata as a pure state machine: brokers, topics with their ids,
// partitions with replicas and leaders, topic and broker configurations, blocks of producer ids.
//
// A [State] is immutable: [State.Apply] takes a [Command] and returns the next state. There is no
// clock, no I/O, no goroutine and no randomness here; ids and addresses come inside the command, so
// that every voter of a quorum that applies the same commands in the same order holds the same
// state. Who proposes commands, in which order they are committed, and how a state is stored is the
// matter of package quorum.
//
// Applying a command to a state and throwing the result away is how a request is validated without
// being carried out (the validateOnly of CreateTopics and its relatives).
//
// The package also owns the tables of configuration keys ([TopicConfigs], [BrokerConfigs]): their
// types, defaults, checks and documentation, what value is in force for a topic or a broker
// ([State.TopicConfig], [State.BrokerConfig]) and where it came from ([State.DescribeTopicConfigs],
// [State.DescribeBrokerConfigs]).
package meta
