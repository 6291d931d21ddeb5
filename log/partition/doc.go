// Package partition gives the batches of one partition their offsets: it closes the records that arrive one by one into
// batches, checks idempotent producers, and knows where the partition begins and ends.
//
// A record or batch that is appended joins the store's open group. It can be read, and End moves, when the group is
// durable. When the group fails, the partition goes back to its durable end, as if what was in the group, and all behind
// it, had never been appended.
package partition
