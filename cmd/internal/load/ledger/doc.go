// Package ledger accounts for numbered messages: which of them are missing, doubled or out of order. It owns the
// arithmetic behind the checks of the load generator and the proof of the demonstration.
package ledger
