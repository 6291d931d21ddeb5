package meta

import (
	"strconv"
	"strings"
)

// Defaults are what a node was configured with when it started: its id, and its values of broker keys.
// They differ from node to node and so are no part of the state. Make one with [NewDefaults].
type Defaults struct {
	node   int32
	static map[string]string
}

// NewDefaults checks and takes static broker configurations, by key ("log.retention.ms"). A key that is
// not in [BrokerConfigs] or a value that is not allowed is an error that wraps [ErrInvalidConfig]. A
// value that is the key's default anyway is reported as such. The keys "node.id" and "broker.id" need
// not be given.
func NewDefaults(node int32, static map[string]string) (Defaults, error) {
	d := Defaults{node: node, static: make(map[string]string, len(static)+2)}
	for _, k := range sortedKeys(static) {
		def, err := BrokerConfigs.find(k, static[k])
		if err != nil {
			return Defaults{}, err
		}
		if err := def.Check(static[k]); err != nil {
			return Defaults{}, err
		}
		if v := strings.TrimSpace(static[k]); def.NoDefault || v != def.Default {
			d.static[k] = v
		}
	}
	d.static["node.id"] = strconv.Itoa(int(node))
	d.static["broker.id"] = strconv.Itoa(int(node))
	return d, nil
}

// Node returns the node's id.
func (d Defaults) Node() int32 { return d.node }

// TimestampType says whose clock stamps a record. The numbers are those of the attribute bit of a batch.
type TimestampType int8

// The timestamp types.
const (
	CreateTime    TimestampType = 0
	LogAppendTime TimestampType = 1
)

// TopicConfig is a topic's configuration as it is in force on one node: what the topic says, else what
// it inherits. Times are in milliseconds, sizes in bytes.
type TopicConfig struct {
	Delete, Compact             bool // cleanup.policy
	RetentionMs, RetentionBytes int64
	SegmentMs                   int64
	MaxMessageBytes             int32
	MinInsyncReplicas           int32
	CompressionType             string // producer, uncompressed, gzip, snappy, lz4, zstd
	CompressionLevel            int32  // that of the compression type; 0 where it has none
	TimestampType               TimestampType
	TimestampBeforeMaxMs        int64
	TimestampAfterMaxMs         int64
	MinCleanableDirtyRatio      float64
	MinCompactionLagMs          int64
	MaxCompactionLagMs          int64
	DeleteRetentionMs           int64
	UncleanLeaderElection       bool
	Priority                    int32 // culvert.priority: 0 gives way first, MaxPriority last
}

// Alarm tells that the topic's records are to be taken and kept when there is no room for others.
func (c *TopicConfig) Alarm() bool { return c.Priority >= AlarmPriority }

// TopicConfig returns what is in force for t on the node that has the defaults. It looks up every key;
// who needs it per record keeps the result until the topic or a broker configuration changes.
func (s *State) TopicConfig(t *Topic, d Defaults) TopicConfig {
	get := func(key string) string {
		v, _ := s.topicValue(TopicConfigs.Find(key), t, d)
		return v
	}
	long := func(key string) int64 { return parseLong(get(key)) }
	c := TopicConfig{
		RetentionMs:           long("retention.ms"),
		RetentionBytes:        long("retention.bytes"),
		SegmentMs:             long("segment.ms"),
		MaxMessageBytes:       int32(long("max.message.bytes")),
		MinInsyncReplicas:     int32(long("min.insync.replicas")),
		CompressionType:       get("compression.type"),
		TimestampBeforeMaxMs:  long("message.timestamp.before.max.ms"),
		TimestampAfterMaxMs:   long("message.timestamp.after.max.ms"),
		MinCompactionLagMs:    long("min.compaction.lag.ms"),
		MaxCompactionLagMs:    long("max.compaction.lag.ms"),
		DeleteRetentionMs:     long("delete.retention.ms"),
		UncleanLeaderElection: strings.EqualFold(get("unclean.leader.election.enable"), "true"),
		Priority:              int32(long(keyPriority)),
	}
	for _, p := range splitList(get("cleanup.policy")) {
		c.Delete = c.Delete || p == "delete"
		c.Compact = c.Compact || p == "compact"
	}
	if get("message.timestamp.type") == "LogAppendTime" {
		c.TimestampType = LogAppendTime
	}
	c.MinCleanableDirtyRatio, _ = strconv.ParseFloat(get("min.cleanable.dirty.ratio"), 64)
	switch c.CompressionType {
	case "gzip", "lz4", "zstd":
		c.CompressionLevel = int32(long("compression." + c.CompressionType + ".level"))
	}
	return c
}

// BrokerConfig is a node's own configuration as far as the protocol handlers go by it.
type BrokerConfig struct {
	AutoCreateTopics           bool
	DeleteTopics               bool
	NumPartitions              int32
	DefaultReplicationFactor   int16
	OffsetsTopicPartitions     int32
	OffsetsTopicReplication    int16
	OffsetsRetentionMs         int64
	OffsetsRetentionCheckMs    int64
	OffsetMetadataMaxBytes     int32
	FetchMaxBytes              int32
	MessageMaxBytes            int32
	SegmentBytesOfOffsetsTopic int32
}

// BrokerConfig returns what is in force on the node that has the defaults.
func (s *State) BrokerConfig(d Defaults) BrokerConfig {
	get := func(key string) string {
		v, _ := s.brokerValue(BrokerConfigs.Find(key), d)
		return v
	}
	long := func(key string) int64 { return parseLong(get(key)) }
	return BrokerConfig{
		AutoCreateTopics:           strings.EqualFold(get("auto.create.topics.enable"), "true"),
		DeleteTopics:               strings.EqualFold(get("delete.topic.enable"), "true"),
		NumPartitions:              int32(long("num.partitions")),
		DefaultReplicationFactor:   int16(long("default.replication.factor")),
		OffsetsTopicPartitions:     int32(long("offsets.topic.num.partitions")),
		OffsetsTopicReplication:    int16(long("offsets.topic.replication.factor")),
		OffsetsRetentionMs:         long("offsets.retention.minutes") * 60_000,
		OffsetsRetentionCheckMs:    long("offsets.retention.check.interval.ms"),
		OffsetMetadataMaxBytes:     int32(long("offset.metadata.max.bytes")),
		FetchMaxBytes:              int32(long("fetch.max.bytes")),
		MessageMaxBytes:            int32(long("message.max.bytes")),
		SegmentBytesOfOffsetsTopic: int32(long("offsets.topic.segment.bytes")),
	}
}

// topicValue returns the value of a topic's key and where it came from.
func (s *State) topicValue(def *ConfigDef, t *Topic, d Defaults) (string, ConfigSource) {
	if v, ok := t.Configs[def.Name]; ok {
		return v, SourceTopic
	}
	chain := s.inherited(def, d)
	return chain[0].value, chain[0].Source
}
