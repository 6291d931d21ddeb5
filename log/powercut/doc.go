// Package powercut owns the laboratory in which the store loses its power: a file system that writes down every call the
// store makes, a model of what a disk may hold after a cut at any of them, and the look at what the store makes of each
// such disk. All of it is behind the build tag powercut (make powercut).
//
// Three processes take part, each of them the test's own binary. The recorder serves a FUSE file system from memory and
// puts every call, with what it was called with and what became of it, into one journal. The driver runs the real store
// on it with little of everything (segments, journal, thresholds), so that commits, wraps, seals, rewrites and drops come
// often, and notes in the same journal what it is about to do and what was acknowledged; the recorder kills it at chosen
// calls, and another driver goes on. The test then reads the journal and cuts the power behind any of its entries.
//
// What a cut leaves is the choice of a disk and a file system together: see disk. What must then be there is what the
// notes say: see ledger. How the store is asked is in verify.
package powercut
