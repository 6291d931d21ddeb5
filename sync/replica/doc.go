// Package replica holds the partitions of this node: it makes them as the metadata says, leads them, and is the only way
// by which records enter the log.
//
// A partition that this node leads and nobody else replicates has its high watermark at its durable end.
package replica
