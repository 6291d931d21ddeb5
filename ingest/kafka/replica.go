package kafka

import (
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/replica"
)

// OnReplicas serves the partitions of m.
func OnReplicas(m *replica.Manager) Log { return replicas{m} }

// The adapters are one pointer wide, so that putting them into an interface costs no allocation.
type (
	replicas   struct{ m *replica.Manager }
	replicated struct{ *replica.Partition }
	storeSpan  struct{ s *store.Span }
)

func (r replicas) Partition(topic string, index int32) (Partition, error) {
	p, err := r.m.Partition(topic, index)
	if err != nil {
		return nil, err
	}
	return replicated{p}, nil
}

func (r replicas) ByID(id meta.TopicID, index int32) (Partition, error) {
	p, err := r.m.ByID(id, index)
	if err != nil {
		return nil, err
	}
	return replicated{p}, nil
}

func (p replicated) AppendBatch(b record.Batch) (Appended, error) {
	a, err := p.Partition.AppendBatch(b)
	if err != nil {
		return Appended{}, err
	}
	out := Appended{BaseOffset: a.BaseOffset, LogAppendTime: a.LogAppendTime, StartOffset: a.StartOffset, Duplicate: a.Duplicate}
	if a.Commit != nil {
		out.Commit = a.Commit
	}
	return out, nil
}

func (p replicated) Read(from int64, size int) (Span, error) {
	s, err := p.Partition.Read(from, size)
	if err != nil {
		return nil, err
	}
	return storeSpan{s}, nil
}

func (s storeSpan) Batches() []record.Batch { return s.s.Batches }
func (s storeSpan) Release()                { s.s.Release() }
