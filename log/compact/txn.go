package compact

import (
	"cmp"
	"maps"
	"slices"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// transactions follows the transactions of one partition through its batches, in the order of their offsets from the log's
// start, as they lie in the log before anything is removed.
type transactions struct {
	aborted map[int64][]store.Aborted // of the partition by producer, in the order of their offsets; shared, not changed
	open    map[int64]bool            // producers with batches behind their last marker
}

func newTransactions(aborted []store.Aborted) transactions {
	t := transactions{aborted: make(map[int64][]store.Aborted)}
	for _, a := range aborted {
		t.aborted[a.Producer] = append(t.aborted[a.Producer], a)
	}
	for _, list := range t.aborted {
		slices.SortFunc(list, func(a, b store.Aborted) int { return cmp.Compare(a.First, b.First) })
	}
	return t
}

// clone returns a copy that goes on from here by itself.
func (t *transactions) clone() transactions { return transactions{t.aborted, maps.Clone(t.open)} }

// see takes the next batch into account and reports whether nobody needs it for what it says of its transaction: a batch
// of an aborted transaction, or a marker of which no batch is left in the log. An emptied control batch is none.
func (t *transactions) see(b record.Batch) (needless bool) {
	if a := b.Attributes(); a.Control() {
		if _, ok := b.Marker(); !ok {
			return b.Count() == 0 // what another kind of control record means is not known here
		}
		left := t.open[b.ProducerID()]
		delete(t.open, b.ProducerID())
		return !left
	} else if !a.Transactional() {
		return false
	}
	if t.open == nil {
		t.open = make(map[int64]bool)
	}
	t.open[b.ProducerID()] = true
	return t.wasAborted(b)
}

// wasAborted reports whether a batch of users' records belongs to an aborted transaction.
func (t *transactions) wasAborted(b record.Batch) bool {
	if !b.Attributes().Transactional() {
		return false
	}
	list := t.aborted[b.ProducerID()]
	i, _ := slices.BinarySearchFunc(list, b.LastOffset(), func(a store.Aborted, last int64) int { return cmp.Compare(a.Last, last) })
	return i < len(list) && list[i].First <= b.BaseOffset()
}
