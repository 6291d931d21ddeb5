// Package logtool reads, checks, prints and repairs the log of a node that does not run: what somebody needs who has its card
// in a reader. Everything but Repair only reads, so that it works on a card that is mounted read-only, on files that are
// damaged or of another version, and beside a running node, where what it tells may be moving.
//
// What stands in the files log/store knows. Here it is put together over all of them: which offsets are in force in which
// file, whether the files fit each other, and the names of topics for the ids of partitions.
package logtool
