package upstream

import "github.com/culvert-mq/culvert/log/record"

// Source is the log to forward: the partitions that this node leads. Its methods may be called at any time and by
// several goroutines.
type Source interface {
	// Partitions lists the partitions there are, in any order, of all topics. A partition that is listed again must
	// have the same topic id and index; the value itself may be another one.
	Partitions() []Partition
	// Watch sends into ch, without blocking, whenever the list may have changed, until stop is called.
	Watch(ch chan<- struct{}) (stop func())
}

// Partition is one partition of the log.
type Partition interface {
	Topic() string
	TopicID() [16]byte // tells a topic from a later one of the same name
	Index() int32
	StartOffset() int64   // the first offset there is
	HighWatermark() int64 // the first offset that may not be read yet
	// Read returns whole committed batches, beginning with the one that holds from or, if from is gone, the next one:
	// about max bytes, at least one batch, none at the end of the log.
	Read(from int64, max int) (Span, error)
	// Watch sends into ch, without blocking, whenever the high watermark or the start offset moves or the partition
	// goes away, until stop is called. Many partitions share one channel.
	Watch(ch chan<- struct{}) (stop func())
}

// Span is what a read returned.
type Span struct {
	Batches []record.Batch // valid until Release
	Release func()         // to be called once; nil when there is nothing to release
}

func (s Span) release() {
	if s.Release != nil {
		s.Release()
	}
}

// PartitionID names a partition for as long as its topic exists.
type PartitionID struct {
	Topic   string
	TopicID [16]byte
	Index   int32
}

func idOf(p Partition) PartitionID {
	return PartitionID{Topic: p.Topic(), TopicID: p.TopicID(), Index: p.Index()}
}
