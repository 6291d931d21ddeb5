// Package store keeps the record batches of all partitions of a node durable: one store per node.
//
// What arrives while one group is being synced forms the next Group. One goroutine, the committer, writes groups in
// order. A small group goes to the journal, a ring of preallocated blocks, with one sync; its batches stay in memory,
// where readers find them, until the absorber has moved them into the active segment, a bbolt file. A large group goes
// to the active segment at once, behind all that is still pending. A full segment is sealed with an index and the next
// one begins with a snapshot of the State, so that opening a store reads the ends of the sealed segments, scans the
// active one and replays the journal behind the last absorbed group.
//
// FORMAT.md beside this file holds the bytes.
//
// Lock order, outermost first: a Source's own mutex, Store.mu; and independently of the former Store.reclaimMu,
// Store.absorbMu, then one of Store.mu, Store.pendMu, and Log.mu before segment.mu. Group.mu is innermost everywhere.
package store
