// Package boltfile reads bbolt files without trusting them. bbolt maps its file and follows what stands in it: a damaged
// page makes it panic, partly on goroutines of its own. So a file is walked here before it is opened there, and of one
// that is damaged all that can still be reached is read here.
//
// The layout is that of bbolt's file format 2, with pages of 4096 bytes. A page is a header (id 8, flags 2, count 2,
// overflow 4) and elements of 16 bytes; a leaf's are flags, position, key size and value size, a branch's position, key
// size and page id. The first two pages are meta pages. Numbers are in the machine's order, which is little endian on
// every target.
package boltfile
