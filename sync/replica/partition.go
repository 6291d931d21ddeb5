package replica

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/culvert-mq/culvert/log/partition"
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
)

// Errors of a partition, beside those of log/store: store.ErrFull, store.ErrFailed, store.ErrClosed,
// store.ErrOutOfOrderSequence and store.ErrInvalidProducerEpoch.
var (
	ErrGone             = partition.ErrGone
	ErrOffsetOutOfRange = partition.ErrOffsetOutOfRange
	ErrTooLarge         = partition.ErrTooLarge
)

// Partition is one partition that this node leads. Its methods may be called from any goroutine.
type Partition struct {
	topic    string
	id       meta.TopicID
	index    int32
	log      *partition.Partition
	records  *store.Log
	epoch    atomic.Int32
	config   atomic.Pointer[meta.TopicConfig]
	siblings atomic.Int32 // partitions of the topic
	m        *Manager
	moving   sync.Mutex // held while the start moves, so that nothing is counted twice

	watchers watchers
}

// Topic returns the topic's name.
func (p *Partition) Topic() string { return p.topic }

// TopicID returns the topic's id.
func (p *Partition) TopicID() meta.TopicID { return p.id }

// Index returns the partition's number in its topic.
func (p *Partition) Index() int32 { return p.index }

// LeaderEpoch returns the epoch under which this node leads.
func (p *Partition) LeaderEpoch() int32 { return p.epoch.Load() }

// Config returns what the topic's configuration is now. It must not be changed.
func (p *Partition) Config() *meta.TopicConfig { return p.config.Load() }

// StartOffset returns the first offset that can be read.
func (p *Partition) StartOffset() int64 { return p.log.Start() }

// HighWatermark returns the first offset that cannot be read yet.
func (p *Partition) HighWatermark() int64 { return p.log.End() }

// LastStableOffset returns the offset below which no transaction is open: the high watermark.
func (p *Partition) LastStableOffset() int64 { return p.log.End() }

// LogEnd returns the offset behind the last durable record on this node.
func (p *Partition) LogEnd() int64 { return p.log.End() }

// Size returns the bytes of the partition's batches.
func (p *Partition) Size() int64 { return p.log.Size() }

// Gone reports whether the partition was deleted.
func (p *Partition) Gone() bool { return p.log.Gone() }

// Append adds one record with a timestamp in ms and returns its offset and the group it becomes durable with. It copies
// what it is given, and blocks while too much waits to be written. Errors: ErrGone (deleted: look the topic up again),
// ErrTooLarge, store.ErrFull (temporary), store.ErrFailed, store.ErrClosed.
func (p *Partition) Append(ts int64, key, value []byte, headers []record.Header) (offset int64, commit *store.Group, err error) {
	if int64(len(key))+int64(len(value)) > int64(p.Config().MaxMessageBytes) {
		return 0, nil, ErrTooLarge
	}
	return p.log.Append(ts, key, value, headers)
}

// Appended tells where a batch went.
type Appended struct {
	BaseOffset    int64
	LogAppendTime int64 // ms; -1 where the producer's timestamps stand
	StartOffset   int64
	Commit        *store.Group // nil when the batch is a duplicate that is durable already
	Duplicate     bool
}

// AppendBatch adds a client's batch that has passed record.Batch.Check, and owns it from now on: it sets the base offset,
// the leader epoch and, where the topic has log append time, the timestamp. Errors: as Append, and
// store.ErrOutOfOrderSequence and store.ErrInvalidProducerEpoch.
func (p *Partition) AppendBatch(b record.Batch) (Appended, error) {
	at := int64(-1)
	if p.Config().TimestampType == meta.LogAppendTime {
		at = p.m.now().UnixMilli()
		b.SetLogAppendTime(at)
	}
	a, err := p.log.AppendBatch(b)
	if err != nil {
		return Appended{}, err
	}
	return Appended{a.BaseOffset, at, a.StartOffset, a.Commit, a.Duplicate}, nil
}

// Read returns whole batches from the one that holds offset from, about size bytes but at least one, up to the high
// watermark; an empty span at the end. The span must be released. Error: ErrOffsetOutOfRange.
func (p *Partition) Read(from int64, size int) (*store.Span, error) {
	return p.log.Read(from, math.MaxInt64, size)
}

// OffsetForTime returns the first record with a timestamp at or past ts (ms): its offset, timestamp and leader epoch; -1
// for all where there is none.
func (p *Partition) OffsetForTime(ts int64) (offset, timestamp int64, epoch int32, err error) {
	return p.log.OffsetForTime(ts)
}

// MaxTime returns the record with the largest timestamp: its offset and timestamp; -1 for both where there is none.
func (p *Partition) MaxTime() (offset, timestamp int64, err error) { return p.log.MaxTime() }

// EpochEnd answers OffsetForLeaderEpoch (KIP-101, KIP-279): the largest epoch not above the one asked for, and where it
// ended; -1 for both where that is not known.
func (p *Partition) EpochEnd(epoch int32) (int32, int64) { return p.log.EpochEnd(epoch) }

// EpochAt returns the leader epoch under which the record at an offset was written, -1 where that is not known.
func (p *Partition) EpochAt(offset int64) int32 { return p.log.EpochAt(offset) }

// Watch has a value sent into ch, which has a capacity of 1, without blocking, whenever the high watermark or the start
// moves or the partition is deleted. After stop returns nothing is sent any more.
func (p *Partition) Watch(ch chan<- struct{}) (stop func()) { return p.watchers.add(ch) }

// advanced is called after the end or the start has moved.
func (p *Partition) advanced() {
	p.watchers.wake()
	p.m.any.wake()
}

// Partitions returns how many partitions the topic has now.
func (p *Partition) Partitions() int { return int(p.siblings.Load()) }
