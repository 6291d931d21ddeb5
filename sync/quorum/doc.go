// Package quorum keeps the cluster's metadata: hashicorp/raft around the state machine of package meta.
//
// A node that was told of nobody else forms a quorum of its own, without any configuration. It has one
// voter, elects itself at once and reads what it committed before it asks for anything. Callers see
// three things only: the state ([Quorum.State]), proposals ([Quorum.Propose]) and changes in order
// ([Quorum.Watch]). How many voters there are, and by what they talk, does not show.
//
// The directory of a quorum holds the raft log with the vote (bbolt), snapshots of the state, and the
// node's identity; FORMAT.md describes them. Whatever is damaged is renamed to *.damaged-N, logged,
// told by [Quorum.Damage], and the node goes on with what is left: the log up to the first entry that
// cannot be read, on top of the newest snapshot that can.
//
// # Order of locks
//
// Quorum has no lock that is held while anything outside the package is called, but one rule: a
// function given to [Quorum.Watch] runs on the goroutine that Propose waits for. It must not call
// Propose, nor wait for a lock under which somebody else does.
package quorum
