package partition

import (
	"slices"

	"github.com/culvert-mq/culvert/log/store"
)

// Compaction is what compaction goes by beside the records.
type Compaction struct {
	Cleaned   int64 // what is before has been compacted
	Stable    int64 // first offset of an open transaction, at most the durable end
	Aborted   []store.Aborted
	Producers map[int64]LastBatch // by producer id
}

// LastBatch is where a producer's newest batch ends.
type LastBatch struct {
	Epoch int16
	Last  int64 // offset of its last record; -1 where nothing but a marker is remembered
}

// Compaction returns what compaction has to know.
func (p *Partition) Compaction() Compaction {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := Compaction{
		Cleaned: p.live.Cleaned, Stable: min(p.live.FirstUnstable(), p.end.Load()),
		Aborted: slices.Clone(p.live.Aborted), Producers: make(map[int64]LastBatch, len(p.live.Producers)),
	}
	for id, pr := range p.live.Producers {
		l := LastBatch{Epoch: pr.Epoch, Last: -1}
		if n := len(pr.Batches); n > 0 {
			l.Last = pr.Batches[n-1].NextOffset - 1
		}
		c.Producers[id] = l
	}
	return c
}

// SetCleaned notes that what is before an offset has been compacted, and returns when that is durable.
func (p *Partition) SetCleaned(offset int64) error {
	if err := p.st.SetCleaned(p.info.ID, offset); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live.Cleaned = max(p.live.Cleaned, offset)
	return nil
}
