// Package fsx holds what the log asks of a file system beyond package os: files written whole or not at all,
// directories synced after a rename, files whose blocks exist before they are needed, one owner per directory, free
// space, and what kind of device lies below. It also asks the kernel what it knows of time beyond the clock on the wall:
// which boot this is, how long it lasts, whether the clock has been set.
//
// It also holds the fault seam: a Faults value, where one is given, is asked before every step that can fail, so that
// tests make a disk full, a sync fail or a process stop at a step of their choice.
package fsx
