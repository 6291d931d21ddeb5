package kafka

import (
	"context"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/sync/meta"
)

// Metadata is the cluster's metadata as this node knows it. It may be used by any number of goroutines.
type Metadata interface {
	// State is the current snapshot; it never waits.
	State() *meta.State
	// Propose has a change made. It returns when the change is durable and State shows it, or with what it was refused for.
	Propose(ctx context.Context, c meta.Command) (meta.Result, error)
}

// Log finds the partitions that this node leads; OnReplicas makes one. It may be used by any number of goroutines.
type Log interface {
	// Partition errors: replica.ErrUnknownTopicOrPartition, replica.ErrNotLeader.
	Partition(topic string, index int32) (Partition, error)
	// ByID is Partition for a topic's id.
	ByID(topic meta.TopicID, index int32) (Partition, error)
}

// Partition is one partition that this node leads, as *replica.Partition documents it. It may be used by any number of
// goroutines.
type Partition interface {
	Topic() string
	Config() *meta.TopicConfig
	LeaderEpoch() int32
	// StartOffset is the first offset that can be read, HighWatermark the first that cannot yet.
	StartOffset() int64
	HighWatermark() int64
	// LastStableOffset is the first offset that a reader of committed transactions cannot read yet.
	LastStableOffset() int64
	// Size is the bytes of the partition's batches.
	Size() int64
	// AppendBatch appends one checked batch of a client and owns it from then on. An error means that it was not appended.
	AppendBatch(b record.Batch) (Appended, error)
	// Read returns whole durable batches, beginning with the one that holds from: about size bytes, but at least one
	// batch, and none at the high watermark.
	Read(from int64, size int) (Span, error)
	// DeleteRecords makes before the first offset that can be read, and returns when that is durable. An offset that is not
	// past the start changes nothing. Error: replica.ErrOffsetOutOfRange for one behind the high watermark.
	DeleteRecords(before int64) error
	// OffsetForTime finds the first record with a timestamp of at least ts (ms): its offset, timestamp and leader epoch;
	// -1 for all three if there is none.
	OffsetForTime(ts int64) (offset, timestamp int64, epoch int32, err error)
	// MaxTime finds the first record with the largest timestamp; -1 for both if there is none.
	MaxTime() (offset, timestamp int64, err error)
	// EpochEnd returns the largest epoch that is not above the given one, and the offset at which it ends; -1 for both if
	// there is none.
	EpochEnd(epoch int32) (int32, int64)
	// EpochAt returns the leader epoch of the record at an offset, -1 if it is not known.
	EpochAt(offset int64) int32
	// Watch has a value sent to ch, which has a capacity of 1, without blocking, whenever the high watermark or the start
	// offset moves or the partition goes away, until stop is called.
	Watch(ch chan<- struct{}) (stop func())
}

// Appended is what became of a batch.
type Appended struct {
	BaseOffset    int64
	LogAppendTime int64 // ms; -1 when the records keep the time their producer gave them
	StartOffset   int64
	// Commit is what the batch becomes durable with; nil when it already is, as a duplicate can be.
	Commit    Commit
	Duplicate bool
}

// Commit is durable, or has failed, when Done is closed; the others may be asked then.
type Commit interface {
	Done() <-chan struct{}
	Err() error
	// Direct says that the log keeps none of the memory of the batches.
	Direct() bool
}

// Span is batches where they lie: in a mapped file or in memory. They are valid until Release, which is to be called once.
type Span interface {
	Batches() []record.Batch
	Release()
}

// Offsets keeps the offsets that consumer groups commit. It may be used by any number of goroutines.
type Offsets interface {
	// CommitOffsets stores offsets of a group and returns when they are durable: all of them, or none and an error.
	CommitOffsets(ctx context.Context, c OffsetCommit) error
	// FetchOffsets returns what is stored for the partitions, in their order, with an offset of -1 where there is nothing;
	// everything that the group has if partitions is nil.
	FetchOffsets(ctx context.Context, group string, partitions []TopicPartition) ([]CommittedOffset, error)
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// OffsetCommit is what a member of a group, or a client that uses no group protocol, commits.
type OffsetCommit struct {
	Group      string
	Generation int32 // -1 without the group protocol
	MemberID   string
	InstanceID *string
	Offsets    []CommittedOffset
}

// CommittedOffset is the next offset that a group is to read of a partition.
type CommittedOffset struct {
	TopicPartition
	Offset      int64
	LeaderEpoch int32 // of the record before; -1 when the client did not tell
	Metadata    string
}
