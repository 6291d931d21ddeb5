// Package record owns the record batch of magic 2, the form in which records arrive from native clients, lie in the
// log, travel to consumers and are forwarded: viewing it without copying, checking what a client sent, building it
// record by record, and compressing it. FORMAT.md draws its bytes.
//
// Nothing here keeps a batch alive or copies it without saying so. Every function that reads bytes from outside is
// bounded by what it was given and by a limit on what compressed bytes may grow to; none of them panics on any input
// that Split has let through.
package record
