// Package replica holds the partitions of this node: it makes them as the metadata says, leads them, and is the only way
// by which records enter the log.
//
// It also decides what leaves the log: by each topic's own retention, as far as the clock can be believed, and by the limits
// of the log and of the device, where topics give way by their priority (planRoom). What leaves is counted, in the same
// commit, as expired, or as lost if it was still to be forwarded to the centre: the ledger of a partition adds up.
//
// A partition that this node leads and nobody else replicates has its high watermark at its durable end.
package replica
