package meta

import (
	"math"
	"strconv"
)

// What culvert.priority says about a topic.
const (
	keyPriority = "culvert.priority"

	MaxPriority   = 9
	AlarmPriority = 8 // this and above are alarms
)

var maxLong = strconv.FormatInt(math.MaxInt64, 10)

// ignored is in the documentation of keys that change nothing, followed by the reason.
const ignored = " Stored and reported only: "

// TopicConfigs describes every key a topic's configuration may have; any other is refused with
// [ErrInvalidConfig]. Names and defaults are Kafka's; culvert's own keys begin with "culvert.".
var TopicConfigs = newTable([]ConfigDef{
	{Name: "cleanup.policy", Type: TypeList, Default: "delete", check: someOf("compact", "delete"),
		Broker: same("log.cleanup.policy"),
		Doc:    "What becomes of old records: delete drops them by age and size, compact keeps the last record of every key. Both may be given."},
	{Name: "retention.ms", Type: TypeLong, Default: "604800000", check: atLeast(-1),
		Broker: []BrokerKey{{"log.retention.ms", 1}, {"log.retention.minutes", 60_000}, {"log.retention.hours", 3_600_000}},
		Doc:    "Records older than this may be dropped when cleanup.policy holds delete. -1 keeps them for as long as the disk lasts."},
	{Name: "retention.bytes", Type: TypeLong, Default: "-1", check: atLeast(-1),
		Broker: same("log.retention.bytes"),
		Doc:    "The oldest records of a partition may be dropped when it is larger than this and cleanup.policy holds delete. -1 sets no limit."},
	{Name: "max.message.bytes", Type: TypeInt, Default: "1048588", check: atLeast(0),
		Broker: same("message.max.bytes"), Doc: "The largest record batch that is accepted, after compression."},
	{Name: "min.insync.replicas", Type: TypeInt, Default: "1", check: atLeast(1),
		Broker: same("min.insync.replicas"),
		Doc:    "How many replicas must hold a record before acks=all is answered. A topic with fewer replicas needs all of them."},
	{Name: "compression.type", Type: TypeString, Default: "producer",
		check:  oneOf("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"),
		Broker: same("compression.type"),
		Doc:    "How batches are stored: producer keeps them as they came, anything else compresses them anew where needed."},
	{Name: "compression.gzip.level", Type: TypeInt, Default: "-1", check: gzipLevel,
		Broker: same("compression.gzip.level"), Doc: "The level of gzip, 1 to 9, or -1 for its own default, when compression.type is gzip."},
	{Name: "compression.lz4.level", Type: TypeInt, Default: "9", check: between(1, 17),
		Broker: same("compression.lz4.level"), Doc: "The level of lz4, 1 to 17, when compression.type is lz4."},
	{Name: "compression.zstd.level", Type: TypeInt, Default: "3", check: between(-131072, 22),
		Broker: same("compression.zstd.level"), Doc: "The level of zstd, -131072 to 22, when compression.type is zstd."},
	{Name: "message.timestamp.type", Type: TypeString, Default: "CreateTime", check: oneOf("CreateTime", "LogAppendTime"),
		Broker: same("log.message.timestamp.type"),
		Doc:    "Whose clock stamps a record: CreateTime keeps the producer's time, LogAppendTime sets the broker's."},
	{Name: "message.timestamp.before.max.ms", Type: TypeLong, Default: maxLong, check: atLeast(0),
		Broker: same("log.message.timestamp.before.max.ms"),
		Doc:    "How far a producer's timestamp may lie before the broker's time. Records beyond are refused."},
	{Name: "message.timestamp.after.max.ms", Type: TypeLong, Default: "3600000", check: atLeast(0),
		Broker: same("log.message.timestamp.after.max.ms"),
		Doc:    "How far a producer's timestamp may lie after the broker's time. Records beyond are refused."},
	{Name: "min.cleanable.dirty.ratio", Type: TypeDouble, Default: "0.5", check: ratio,
		Broker: same("log.cleaner.min.cleanable.ratio"),
		Doc:    "What share of a compacted partition may be uncleaned before it is compacted again."},
	{Name: "min.compaction.lag.ms", Type: TypeLong, Default: "0", check: atLeast(0),
		Broker: same("log.cleaner.min.compaction.lag.ms"), Doc: "How long a record is safe from compaction at the least."},
	{Name: "max.compaction.lag.ms", Type: TypeLong, Default: maxLong, check: atLeast(1),
		Broker: same("log.cleaner.max.compaction.lag.ms"), Doc: "How long a record may wait for compaction at the most."},
	{Name: "delete.retention.ms", Type: TypeLong, Default: "86400000", check: atLeast(0),
		Broker: same("log.cleaner.delete.retention.ms"),
		Doc:    "How long the record that deletes a key of a compacted topic stays readable."},
	{Name: "unclean.leader.election.enable", Type: TypeBoolean, Default: "false",
		Broker: same("unclean.leader.election.enable"),
		Doc:    "Whether a replica that is not in sync may lead when no other is left, at the price of records lost."},
	{Name: "segment.ms", Type: TypeLong, Default: "604800000", check: atLeast(1),
		Broker: []BrokerKey{{"log.roll.ms", 1}, {"log.roll.hours", 3_600_000}},
		Doc:    "How long a record may wait at the most before it can be compacted or dropped."},
	{Name: "segment.bytes", Type: TypeInt, Default: "1073741824", check: atLeast(14), Broker: same("log.segment.bytes"),
		Doc: "The size of a segment file." + ignored + "all partitions share the segments of one store."},
	{Name: "segment.jitter.ms", Type: TypeLong, Default: "0", check: atLeast(0),
		Broker: []BrokerKey{{"log.roll.jitter.ms", 1}, {"log.roll.jitter.hours", 3_600_000}},
		Doc:    "A random time taken off segment.ms." + ignored + "segments belong to the store."},
	{Name: "segment.index.bytes", Type: TypeInt, Default: "10485760", check: atLeast(4), Broker: same("log.index.size.max.bytes"),
		Doc: "The size of a segment's index." + ignored + "a segment's index is as large as it must be."},
	{Name: "index.interval.bytes", Type: TypeInt, Default: "4096", check: atLeast(0), Broker: same("log.index.interval.bytes"),
		Doc: "How often the index gets an entry." + ignored + "every batch is indexed."},
	{Name: "flush.messages", Type: TypeLong, Default: maxLong, check: atLeast(1), Broker: same("log.flush.interval.messages"),
		Doc: "After how many records to sync." + ignored + "records are always synced before they are acknowledged."},
	{Name: "flush.ms", Type: TypeLong, Default: maxLong, check: atLeast(0), Broker: same("log.flush.interval.ms", "log.flush.scheduler.interval.ms"),
		Doc: "After what time to sync." + ignored + "records are always synced before they are acknowledged."},
	{Name: "file.delete.delay.ms", Type: TypeLong, Default: "60000", check: atLeast(0), Broker: same("log.segment.delete.delay.ms"),
		Doc: "How long a dropped file stays." + ignored + "a file goes when its last reader is done."},
	{Name: "preallocate", Type: TypeBoolean, Default: "false", Broker: same("log.preallocate"),
		Doc: "Whether to allocate a segment at once." + ignored + "the store decides."},
	{Name: "leader.replication.throttled.replicas", Type: TypeList, Default: "", check: throttledReplicas,
		Doc: "Replicas whose replication is throttled on the leader: * or a list of partition:broker." + ignored + "replication is not throttled."},
	{Name: "follower.replication.throttled.replicas", Type: TypeList, Default: "", check: throttledReplicas,
		Doc: "Replicas whose replication is throttled on the follower: * or a list of partition:broker." + ignored + "replication is not throttled."},
	{Name: "message.downconversion.enable", Type: TypeBoolean, Default: "true", Broker: same("log.message.downconversion.enable"),
		Doc: "Whether batches are converted for consumers of old versions." + ignored + "they are served as they are."},
	{Name: "message.format.version", Type: TypeString, Default: "3.0-IV1", Broker: same("log.message.format.version"),
		Doc: "The version of the record format." + ignored + "it is always version 2."},
	{Name: "message.timestamp.difference.max.ms", Type: TypeLong, Default: maxLong, check: atLeast(0),
		Broker: same("log.message.timestamp.difference.max.ms"),
		Doc:    "The older form of message.timestamp.before.max.ms and after.max.ms." + ignored + "use those."},
	{Name: keyPriority, Type: TypeInt, Default: "5", check: between(0, MaxPriority),
		Doc: "Which topics give way first when the log has reached log.max_bytes or the device log.min_free_bytes: 0 goes first, 9 last, of equals the oldest records. " +
			"8 and 9 are alarms: they may use the space of log.min_free_bytes and log.reserve_bytes, and go only when nothing else is left and there is no room for new ones. Topics whose cleanup.policy has no delete never go."},
	{Name: "remote.storage.enable", Type: TypeBoolean, Default: "false", check: never,
		Doc: "Whether old records move to remote storage. Always false."},
	{Name: "remote.log.copy.disable", Type: TypeBoolean, Default: "false", check: never,
		Doc: "Whether copying to remote storage is suspended. Always false."},
	{Name: "remote.log.delete.on.disable", Type: TypeBoolean, Default: "false", check: never,
		Doc: "Whether disabling remote storage deletes what is there. Always false."},
	{Name: "local.retention.ms", Type: TypeLong, Default: "-2", check: never, Broker: same("log.local.retention.ms"),
		Doc: "How long records stay local beside remote storage. Always -2: the value of retention.ms."},
	{Name: "local.retention.bytes", Type: TypeLong, Default: "-2", check: never, Broker: same("log.local.retention.bytes"),
		Doc: "How much stays local beside remote storage. Always -2: the value of retention.bytes."},
})

// same names broker keys that have the topic key's unit.
func same(names ...string) []BrokerKey {
	out := make([]BrokerKey, len(names))
	for i, n := range names {
		out[i] = BrokerKey{Name: n}
	}
	return out
}

func gzipLevel(d *ConfigDef, v string) error {
	if v == "-1" {
		return nil
	}
	return between(1, 9)(d, v)
}

// checkTopicConfigs checks a topic's whole configuration: every key by itself, and keys against each
// other.
func checkTopicConfigs(configs map[string]string) error {
	for _, k := range sortedKeys(configs) {
		d, err := TopicConfigs.find(k, configs[k])
		if err != nil {
			return err
		}
		if err := d.Check(configs[k]); err != nil {
			return err
		}
	}
	least, okLeast := configs["min.compaction.lag.ms"]
	most, okMost := configs["max.compaction.lag.ms"]
	if okLeast && okMost && parseLong(least) > parseLong(most) {
		return &ConfigError{Key: "min.compaction.lag.ms", Value: least, Reason: "it is more than max.compaction.lag.ms, " + most}
	}
	return nil
}
