package quorum

import (
	"context"

	"github.com/culvert-mq/culvert/sync/meta"
)

// ProducerIDBlock is how many producer ids are reserved at once. What was not handed out of a block when
// the process ends is never used; there are 2^63.
const ProducerIDBlock = 1000

// Proposer is what [ProducerIDs] needs of a [Quorum].
type Proposer interface {
	Propose(ctx context.Context, c meta.Command) (meta.Result, error)
}

// ProducerIDs hands out producer ids that nobody in the cluster ever gets twice. It may be used by any
// number of goroutines.
type ProducerIDs struct {
	proposer  Proposer
	own       chan struct{} // holds one token; its owner may use what follows
	next, end int64         // the ids at hand
}

// NewProducerIDs returns an allocator whose first id costs a proposal.
func NewProducerIDs(p Proposer) *ProducerIDs {
	a := &ProducerIDs{proposer: p, own: make(chan struct{}, 1)}
	a.own <- struct{}{}
	return a
}

// Next returns an id. It waits only when a new block must be reserved.
func (a *ProducerIDs) Next(ctx context.Context) (int64, error) {
	select {
	case <-a.own:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { a.own <- struct{}{} }()
	if a.next == a.end {
		r, err := a.proposer.Propose(ctx, &meta.AllocateProducerIDs{Count: ProducerIDBlock})
		if err != nil {
			return 0, err
		}
		a.next, a.end = r.FirstProducerID, r.FirstProducerID+ProducerIDBlock
	}
	id := a.next
	a.next++
	return id, nil
}
