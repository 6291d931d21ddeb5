package meta

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

func TestEveryDefaultPassesItsOwnCheck(t *testing.T) {
	for _, table := range []*ConfigTable{TopicConfigs, BrokerConfigs} {
		for i, d := range table.All() {
			if i > 0 && table.All()[i-1].Name >= d.Name {
				t.Errorf("%s occurs twice or out of order", d.Name)
			}
			if table.Find(d.Name) != &table.All()[i] {
				t.Errorf("%s is not found", d.Name)
			}
			if d.Doc == "" || !strings.HasSuffix(d.Doc, ".") {
				t.Errorf("%s is not documented in a sentence", d.Name)
			}
			if d.NoDefault {
				continue
			}
			if d.check != nil || d.Default != "" {
				if err := d.Check(d.Default); err != nil {
					t.Errorf("default of %s: %v", d.Name, err)
				}
			}
		}
	}
}

func TestEveryTopicKeyInheritsTheDefaultItDocuments(t *testing.T) {
	s, d := oneTopic(t)
	for _, e := range s.DescribeTopicConfigs(s.Topic("t"), d) {
		def := TopicConfigs.Find(e.Name)
		if e.Value == nil || *e.Value != def.Default || e.Source != SourceDefault || e.ReadOnly || e.Sensitive {
			t.Errorf("%s: %+v, the default is %q", e.Name, e, def.Default)
		}
		if len(e.Synonyms) == 0 || *e.Synonyms[0].Value == "" && def.Default != "" {
			t.Errorf("%s: synonyms %v", e.Name, e.Synonyms)
		}
	}
}

// The keys of NATIVE-PROTOCOL, section 4.
func TestDocumentedKeysAreThere(t *testing.T) {
	topic := `cleanup.policy retention.ms retention.bytes segment.bytes segment.ms segment.jitter.ms
		max.message.bytes min.insync.replicas compression.type message.timestamp.type
		message.timestamp.before.max.ms message.timestamp.after.max.ms min.cleanable.dirty.ratio
		min.compaction.lag.ms max.compaction.lag.ms delete.retention.ms unclean.leader.election.enable
		flush.messages flush.ms file.delete.delay.ms index.interval.bytes segment.index.bytes preallocate
		leader.replication.throttled.replicas follower.replication.throttled.replicas
		message.downconversion.enable message.format.version message.timestamp.difference.max.ms
		remote.storage.enable local.retention.ms local.retention.bytes culvert.priority`
	for k := range strings.FieldsSeq(topic) {
		if TopicConfigs.Find(k) == nil {
			t.Errorf("topic key %s is missing", k)
		}
	}
	broker := `delete.topic.enable inter.broker.protocol.version auto.create.topics.enable num.partitions
		default.replication.factor message.max.bytes log.retention.ms log.retention.minutes
		log.retention.hours log.retention.bytes log.cleanup.policy log.dirs listeners advertised.listeners
		offsets.topic.num.partitions offsets.topic.replication.factor offsets.retention.minutes
		transaction.state.log.replication.factor transaction.max.timeout.ms group.min.session.timeout.ms
		group.max.session.timeout.ms group.initial.rebalance.delay.ms group.consumer.session.timeout.ms
		connections.max.reauth.ms fetch.max.bytes socket.request.max.bytes replica.lag.time.max.ms`
	for k := range strings.FieldsSeq(broker) {
		if BrokerConfigs.Find(k) == nil {
			t.Errorf("broker key %s is missing", k)
		}
	}
}

func TestValuesAreChecked(t *testing.T) {
	for _, c := range []struct {
		key   string
		good  string // split at blanks; _ is empty
		wrong string
	}{
		{"cleanup.policy", "delete compact compact,delete delete,compact", "_ , delete,delete Delete compact,keep"},
		{"retention.ms", "-1 0 9223372036854775807", "-2 9223372036854775808 1.5 _ 1h"},
		{"max.message.bytes", "0 2147483647", "-1 2147483648"},
		{"min.insync.replicas", "1 5", "0 -1"},
		{"compression.type", "producer uncompressed gzip snappy lz4 zstd", "none _ LZ4"},
		{"compression.gzip.level", "-1 1 9", "0 10 -2"},
		{"compression.lz4.level", "1 17", "0 18"},
		{"message.timestamp.type", "CreateTime LogAppendTime", "createtime _"},
		{"min.cleanable.dirty.ratio", "0 0.5 1", "1.01 -0.1 NaN Inf x"},
		{"unclean.leader.election.enable", "true false TRUE", "yes 1 _"},
		{"leader.replication.throttled.replicas", "_ * 0:1,1:2", "0 0:x 0:1;1:2 -1:2 **"},
		{"remote.storage.enable", "false", "true"},
		{"local.retention.ms", "-2", "-1 5"},
		{"message.format.version", "3.0-IV1", "a\x00b"},
		{"segment.bytes", "14 2147483647", "13"},
		{"culvert.priority", "0 5 9", "-1 10 high _ 5.5"},
	} {
		d := TopicConfigs.Find(c.key)
		value := func(w string) string { return strings.ReplaceAll(w, "_", "") }
		for w := range strings.FieldsSeq(c.good) {
			if err := d.Check(value(w)); err != nil {
				t.Errorf("%s = %q: %v", c.key, value(w), err)
			}
			if err := d.Check("  " + value(w) + " "); err != nil {
				t.Errorf("%s with blanks: %v", c.key, err)
			}
		}
		for w := range strings.FieldsSeq(c.wrong) {
			var ce *ConfigError
			if err := d.Check(value(w)); !errors.As(err, &ce) || ce.Key != c.key || !errors.Is(err, ErrInvalidConfig) {
				t.Errorf("%s = %q: got %v", c.key, value(w), err)
			}
		}
		if err := d.Check(strings.Repeat("1", MaxConfigValue+1)); !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("%s with a value too long: %v", c.key, err)
		}
	}
}

func TestTopicConfigIsWhatIsInForce(t *testing.T) {
	s, d := oneTopic(t)
	c := s.TopicConfig(s.Topic("t"), d)
	want := TopicConfig{
		Delete: true, RetentionMs: 604800000, RetentionBytes: -1, SegmentMs: 604800000, MaxMessageBytes: 1048588,
		MinInsyncReplicas: 1, CompressionType: "producer", TimestampBeforeMaxMs: 1<<63 - 1, TimestampAfterMaxMs: 3600000,
		MinCleanableDirtyRatio: 0.5, MaxCompactionLagMs: 1<<63 - 1, DeleteRetentionMs: 86400000, Priority: 5,
	}
	if c != want {
		t.Errorf("defaults: got %+v", c)
	}
	s = mustApply(t, s, &AlterTopicConfigs{Name: "t", Ops: []ConfigOp{
		{Key: "cleanup.policy", Value: "compact, delete"}, {Key: "compression.type", Value: "zstd"},
		{Key: "compression.zstd.level", Value: "7"}, {Key: "message.timestamp.type", Value: "LogAppendTime"},
		{Key: "unclean.leader.election.enable", Value: "True"}, {Key: "min.cleanable.dirty.ratio", Value: "0.25"},
		{Key: "culvert.priority", Value: "8"},
	}})
	s = mustApply(t, s, &AlterBrokerConfigs{Broker: AllBrokers, Ops: []ConfigOp{{Key: "message.max.bytes", Value: "5000"}}})
	d, err := NewDefaults(1, map[string]string{"log.retention.hours": "2"})
	if err != nil {
		t.Fatal(err)
	}
	c = s.TopicConfig(s.Topic("t"), d)
	want.Compact, want.CompressionType, want.CompressionLevel, want.TimestampType = true, "zstd", 7, LogAppendTime
	want.Priority = 8
	want.UncleanLeaderElection, want.MinCleanableDirtyRatio, want.MaxMessageBytes, want.RetentionMs = true, 0.25, 5000, 7200000
	if c != want {
		t.Errorf("overrides: got %+v", c)
	}
	for priority, alarm := range map[int32]bool{0: false, 7: false, 8: true, 9: true} {
		if c.Priority = priority; c.Alarm() != alarm {
			t.Errorf("priority %d: alarm %v", priority, !alarm)
		}
	}
}

func TestBrokerConfigsAreDescribedForTheNodeItself(t *testing.T) {
	s, _ := oneTopic(t)
	d, err := NewDefaults(1, map[string]string{"log.dirs": "/data", "num.partitions": "4", "fetch.max.bytes": "57671680"})
	if err != nil {
		t.Fatal(err)
	}
	s = mustApply(t, s, &AlterBrokerConfigs{Broker: 1, Ops: []ConfigOp{{Key: "log.retention.bytes", Value: "9"}}})
	got := map[string]ConfigEntry{}
	for _, e := range s.DescribeBrokerConfigs(d) {
		got[e.Name] = e
	}
	for _, c := range []struct {
		key, value string
		source     ConfigSource
		readOnly   bool
	}{
		{"node.id", "1", SourceStatic, true},
		{"log.dirs", "/data", SourceStatic, true},
		{"num.partitions", "4", SourceStatic, true},
		{"fetch.max.bytes", "57671680", SourceDefault, true},
		{"log.retention.bytes", "9", SourceDynamicBroker, false},
		{"log.retention.hours", "168", SourceDefault, true},
		{"delete.topic.enable", "true", SourceDefault, true},
	} {
		e := got[c.key]
		if e.Value == nil || *e.Value != c.value || e.Source != c.source || e.ReadOnly != c.readOnly {
			t.Errorf("%s: got %+v, want %+v", c.key, e, c)
		}
	}
	if e := got["log.retention.ms"]; e.Value != nil || len(e.Synonyms) != 0 {
		t.Errorf("log.retention.ms has no value of its own, got %+v", e)
	}
	if b := s.BrokerConfig(d); b.NumPartitions != 4 || !b.AutoCreateTopics || b.OffsetsTopicPartitions != 1 || b.OffsetsRetentionMs != 7*24*3600*1000 || b.OffsetMetadataMaxBytes != 4096 {
		t.Errorf("got %+v", b)
	}
	if e := s.DescribeClusterConfigs(); len(e) != 0 {
		t.Errorf("nothing was set for all brokers, got %v", e)
	}
	s = mustApply(t, s, &AlterBrokerConfigs{Broker: AllBrokers, Ops: []ConfigOp{{Key: "message.max.bytes", Value: "9"}}})
	if e := s.DescribeClusterConfigs(); len(e) != 1 || e[0].Name != "message.max.bytes" || *e[0].Value != "9" || e[0].Source != SourceDynamicDefault {
		t.Errorf("got %v", e)
	}
}

func TestLimitOfAllPartitionsHolds(t *testing.T) {
	s, _ := oneTopic(t)
	n := 0
	for ; ; n++ {
		next, _, err := s.Apply(&CreateTopic{Name: "x" + strconv.Itoa(n), ID: testID(n + 100), Partitions: MaxTopicPartitions, ReplicationFactor: 1})
		if err != nil {
			if !errors.Is(err, ErrInvalidPartitions) {
				t.Fatal(err)
			}
			break
		}
		s = next
	}
	if got := s.CountPartitions(); got > MaxPartitions || got <= MaxPartitions-MaxTopicPartitions {
		t.Errorf("%d partitions", got)
	}
	if b, err := s.Encode(); err != nil || len(b) > MaxStateBytes/10 {
		t.Errorf("a full state takes %d bytes: %v", len(b), err)
	}
	s = mustApply(t, s, &CreatePartitions{Name: "t", Count: MaxTopicPartitions})
	if _, _, err := s.Apply(&CreateTopic{Name: "last", ID: testID(99), Partitions: 1, ReplicationFactor: 1}); !errors.Is(err, ErrInvalidPartitions) {
		t.Errorf("one beyond: %v", err)
	}
	if _, _, err := s.Apply(&CreatePartitions{Name: "x0", Count: MaxTopicPartitions + 1}); !errors.Is(err, ErrInvalidPartitions) {
		t.Errorf("grown beyond: %v", err)
	}
}

func TestConfigurationsTogetherAreBounded(t *testing.T) {
	s, _ := oneTopic(t)
	long := "0:1" + strings.Repeat(",0:1", (MaxConfigValue-3)/4)
	keys := []string{"leader.replication.throttled.replicas", "follower.replication.throttled.replicas"}
	for i := range MaxConfigBytes/len(long)/2 + 2 {
		n, _, err := s.Apply(&CreateTopic{Name: "x" + strconv.Itoa(i), ID: testID(i + 100), Partitions: 1, ReplicationFactor: 1,
			Configs: map[string]string{keys[0]: long, keys[1]: long}})
		if err != nil {
			if !errors.Is(err, ErrPolicyViolation) {
				t.Fatal(err)
			}
			break
		}
		s = n
	}
	if b, err := s.Encode(); err != nil || len(b) < MaxConfigBytes/2 || len(b) > MaxStateBytes/4 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	set := []ConfigOp{{Key: keys[0], Value: long}, {Key: keys[1], Value: long}}
	if _, _, err := s.Apply(&AlterTopicConfigs{Name: "t", Ops: set}); !errors.Is(err, ErrPolicyViolation) {
		t.Errorf("altered beyond: %v", err)
	}
	mustApply(t, s, &AlterTopicConfigs{Name: "x0", Ops: []ConfigOp{{Key: keys[0], Op: OpDelete}}})
}

func oneTopic(t *testing.T) (*State, Defaults) {
	t.Helper()
	s := mustApply(t, Empty(), &RegisterBroker{ID: 1, Incarnation: "a", Endpoints: []Endpoint{{"PLAINTEXT", "gw", 9092}}})
	s = mustApply(t, s, &CreateTopic{Name: "t", ID: testID(1), Partitions: 1, ReplicationFactor: 1})
	d, err := NewDefaults(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

func mustApply(t *testing.T, s *State, c Command) *State {
	t.Helper()
	n, r, err := s.Apply(c)
	if err != nil || !r.Changed {
		t.Fatalf("%#v: %v, changed %v", c, err, r.Changed)
	}
	return n
}
