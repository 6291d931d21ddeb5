// Package compact keeps the last record of every key of the partitions whose cleanup.policy is compact, as Kafka's
// cleaner does, on a store whose segments hold the batches of all partitions.
//
// A pass builds one map of the latest offset of every key of the partitions that are dirty enough, over all of them, from
// where the last pass ended (their Cleaned offset) as far as the map has room. It then goes through the sealed segments,
// oldest first, and finds what nobody needs any more: superseded records, records without a key, tombstones past their
// delete horizon, records of aborted transactions, and the markers of transactions that have no records left. Writing a
// segment anew costs flash, whoever owns the rest of it: it is done when enough of the segment is dead, and at once when a
// partition may wait no longer or the map was full.
//
// The invariant behind Cleaned: below it no two records of a partition have the same key. So a later pass needs to know
// the keys behind it only. It moves to the first segment in which the pass has left something dead. And a tombstone, or
// what held its place, gets its delete horizon only when no older record of the partition waits to be removed: what it
// deletes cannot come back when it goes.
//
// A pass may end anywhere. Every segment is replaced at once, oldest first, and Cleaned is written last.
package compact
