// Package group coordinates consumer groups. It keeps the offsets that they commit, for clients that assign partitions to
// themselves and for the node's own use; the group protocol will stand beside that.
//
// Committed offsets are records of the internal topic __consumer_offsets, in Kafka's format, in the partition that Kafka
// would choose. A commit is answered when its records are durable. What the offsets are is a pure function of these
// records (offsets.go); the Coordinator reads them when it is opened.
package group
