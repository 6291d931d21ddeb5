// Package flash keeps a budget of bytes that may be written in a day, because flash wears with every block. It is pure:
// no clock, no I/O; who uses it tells what was written since the last time, and is told how long commits shall be held
// open, so that fewer of them do the same work.
//
// The [Window] remembers what was written in each quarter of an hour of the last day. The [Controller] decides from it.
// What a process has to remember over a restart is a [Record], described in FORMAT.md.
package flash
