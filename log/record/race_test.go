//go:build race

package record

// raceEnabled: sync.Pool forgets on purpose under the race detector, so that allocations cannot be counted.
const raceEnabled = true
