package mqtt

import (
	"context"
	"errors"
)

// RetainedTopic is the compacted log topic that holds retained messages: key = MQTT topic, value = payload, null value =
// the retained message was deleted. Log.Bind is asked for it by this name and must create it compacted, never expiring.
const RetainedTopic = "__mqtt_retained"

// Errors a Log answers with. Everything else that Bind or Append returns is taken as final for that message: it is never
// acknowledged, and a 3.1.1 client is disconnected.
var (
	// ErrFull says that the log has no room (disk full, or a bound reached). Temporary: the publisher is held back,
	// nothing more is read from it, and the append is tried again with backoff.
	ErrFull = errors.New("mqtt: the log is full")
	// ErrUnavailable says that the partition cannot take records just now (no leader, metadata not ready). Temporary, as
	// ErrFull.
	ErrUnavailable = errors.New("mqtt: the log partition is not available")
	// ErrFailed says that the log takes nothing any more, until the node is started again. It is final, and concerns all.
	ErrFailed = errors.New("mqtt: the log has failed")
	// ErrStale says that an Appender no longer stands for its topic and key: the topic was deleted or created anew, its
	// partitions were changed, the leader moved. The server binds again and repeats the append.
	ErrStale = errors.New("mqtt: the binding to the log is stale")
	// ErrOutOfRange says that Source.Read was asked for an offset before the source's start (retention removed it) or past
	// its end.
	ErrOutOfRange = errors.New("mqtt: offset out of range")
)

// Header is one record header. A nil Value is null, an empty one is empty.
type Header struct {
	Key, Value []byte
}

// Log is what the server needs of the log: somewhere to append to and something to read from. All methods may be called
// from many goroutines at once.
//
// Topic creation is the Log's business: Bind of a topic that does not exist creates it if the node's configuration lets
// it, and fails otherwise.
type Log interface {
	// Bind resolves a log topic and a key to a partition and returns what appends records with this key and these headers
	// there. The partition must be a function of topic and key alone. Key and headers are kept and must not be changed by
	// the caller afterwards. Called once per connection and MQTT topic, not per message; it may wait, no longer than ctx.
	Bind(ctx context.Context, topic string, key []byte, headers []Header) (Appender, error)

	// Sources lists the partitions that can be read on this node, in any stable order, internal topics included. A Source
	// is comparable (a pointer): as long as a partition lives, every call returns the same value for it; a topic that was
	// deleted and created again is another Source. The slice is not changed by either side. It is called at each wake of
	// the hub, so it should be a load of something prepared.
	Sources() []Source

	// Watch sends into ch, without ever blocking (the channel has a capacity of 1), whenever the end of any source moved
	// or the list of sources changed. It is in use only while there are subscribers. stop may be called once and returns
	// when no further send can happen.
	Watch(ch chan<- struct{}) (stop func())
}

// Appender appends records with a fixed key and fixed headers to one partition. Safe for concurrent use, although the
// server uses one from a single goroutine.
type Appender interface {
	// Append adds one record with timestamp ts (ms since the epoch). A nil value is a null value (a tombstone), an empty
	// one is an empty value. The value is copied before Append returns; it lies in a read buffer that is used again.
	//
	// Append does not wait for durability. It may block for a short time while the log's memory for what is not synced
	// yet is full, never while the disk is: then it returns ErrFull. Records of one Appender become durable and readable
	// in the order of the calls. After a crash an unacknowledged record may be there or not; never a later one of the same
	// partition without an earlier one.
	//
	// The Commit is what the record becomes durable with. Appends that become durable together should return the same
	// (equal) Commit: acknowledgements are gathered per Commit.
	Append(ts int64, value []byte) (Commit, error)
}

// Commit is a point at which records are durable on every replica that must have them. Values are comparable (a
// pointer). *store.Group has these methods.
type Commit interface {
	// Done is closed when the commit ended, well or not. The records can be read from their Source, and Source.Bounds
	// shows it, before Done is closed.
	Done() <-chan struct{}
	// Err tells after Done how it ended; nil means durable.
	Err() error
	// Notify calls w.Committed once after Done was closed, at once if it already is. It may be called for many waiters, and
	// several times for one.
	Notify(w Waiter)
}

// Waiter is told that a commit ended. Committed is called from the goroutine that commits and must not block. (An alias,
// so that a type of another package can have Notify without importing this one.)
type Waiter = interface{ Committed() }

// Source reads the committed records of one partition. Safe for concurrent use.
type Source interface {
	// Topic is the log topic, Index the number of the partition in it.
	Topic() string
	Index() int32
	// Bounds returns the first offset that is kept and the one after the last committed record (the high watermark).
	Bounds() (start, end int64)
	// Read calls visit for committed records in order, beginning with the first at or after from, until about max bytes
	// were visited (at least one record when there is one), visit returned false, or the end is reached. It returns the
	// offset to go on with: the one after the last record visited, or after records that are not shown (control records,
	// offsets removed by compaction); from itself only when there is nothing at or after it. What it returns after visit
	// returned false is not used. The record and everything it points to is valid during the call only. visit does not
	// block; it may be a while.
	//
	// Errors: ErrOutOfRange when from lies outside of Bounds; any other when something cannot be read. Next to such an
	// error next tells where reading may go on; from means that nothing is known to be readable.
	Read(from int64, max int, visit func(*Record) bool) (next int64, err error)
}

// Record is one committed record. Key and Value are nil when they are null.
type Record struct {
	Offset    int64
	Timestamp int64 // ms since the epoch
	Key       []byte
	Value     []byte
	Headers   []Header
}
