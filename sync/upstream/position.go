package upstream

import (
	"cmp"
	"context"
	"slices"
)

// Position tells up to where a partition has been forwarded: what lies before the offset was confirmed by the centre,
// refused by it, or was lost. It is false for a partition that is not to be forwarded. Of one that the forwarder does not
// work on yet the stored position counts; where that cannot be had the offset is 0, so that nothing passes for forwarded
// that may not have been. It may be called at any time, from any goroutine.
func (w *Forwarder) Position(ctx context.Context, id PartitionID) (offset int64, forwarded bool) {
	if !w.selector.Load().match(id.Topic) {
		return 0, false
	}
	flows := w.flows.Load().list
	i, found := slices.BinarySearchFunc(flows, id, func(f *flow, id PartitionID) int {
		return cmp.Or(cmp.Compare(f.id.Topic, id.Topic), cmp.Compare(f.id.Index, id.Index))
	})
	if found && flows[i].id == id {
		f := flows[i]
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.position, true
	}
	stored, err := w.positions.Load(ctx, []PartitionID{id})
	if err != nil || len(stored) != 1 {
		return 0, true
	}
	return stored[0].Offset, true
}
