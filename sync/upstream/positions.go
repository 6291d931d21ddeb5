package upstream

import "context"

// Position says that everything of the partition below Offset has been confirmed by the centre, was refused by it, or
// is lost: forwarding continues at Offset.
type Position struct {
	PartitionID
	Offset int64
}

// Positions keeps how far each partition has been forwarded. It is the one place that decides how often a record can
// reach the centre twice: positions that are stored beside the centre's records, in the same transaction, would make it
// never; an implementation that does that takes the place of Store's caller in commit (store.go), where nothing else
// depends on when positions are stored.
//
// The forwarder calls Load for partitions that appear, and Store from one goroutine, at intervals and once more when it
// stops, after the last confirmation. Both may fail: Load is tried again with backoff, and the partitions wait for it;
// after a failed Store the next one carries the positions again.
type Positions interface {
	// Load returns the stored positions of these partitions. One that has none, or one of an earlier topic of the same
	// name, is left out: it is forwarded from its start.
	Load(ctx context.Context, ids []PartitionID) ([]Position, error)
	// Store makes the positions durable, and returns when they are.
	Store(ctx context.Context, positions []Position) error
}
