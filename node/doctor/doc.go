// Package doctor examines a machine before, or while, a node runs on it: how fast and on what the data directory syncs,
// how full and how mounted it is, whether the clock, the power, the memory and the ports will do. It measures, and tells
// in plain words what the measurement means and what to do about it.
//
// It changes nothing. The one thing it writes is a file of its own in the data directory, to measure syncs with, which it
// removes; of a running node's files it reads the locks alone. What the kernel tells is read below a root of choice, so
// that every judgement is tested on trees that stand for machines which are not at hand.
package doctor
