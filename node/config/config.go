package config

import (
	"math/bits"
	"time"
)

// Config is the whole configuration of one node. Make one with [Default] or [Load], never from the zero value.
type Config struct {
	Node     Node     `toml:"node"`
	Log      Log      `toml:"log"`
	Commit   Commit   `toml:"commit"`
	Kafka    Kafka    `toml:"kafka"`
	MQTT     MQTT     `toml:"mqtt"`
	HTTP     HTTP     `toml:"http"`
	Upstream Upstream `toml:"upstream"`

	origins origins // of what is not a default
}

// What this node is, where it keeps its data, how it logs.
type Node struct {
	// Number of the node, unique among the brokers that clients see together.
	ID int32 `toml:"id" min:"0"`

	// Name for people, in logs, in the status page and in place of {site}. Empty: the host's name.
	Name string `toml:"name"`

	// Directory of everything the node stores. Empty: $STATE_DIRECTORY where systemd sets it (StateDirectory=),
	// else /var/lib/culvert for root, else $XDG_STATE_HOME/culvert, else ~/.local/state/culvert.
	DataDir string `toml:"data_dir"`

	// Least severity that is logged.
	LogLevel string `toml:"log_level" oneof:"debug info warn error" reload:"yes"`

	// Form of the log lines on standard error. "auto" is text, without times when the journal adds them.
	LogFormat string `toml:"log_format" oneof:"auto text json"`

	// Memory the process should stay within; the garbage collector works harder as it gets near. "auto" is 40 % of the
	// machine's (or the control group's) memory, unless the variable GOMEMLIMIT is set.
	MemoryLimit AutoSize `toml:"memory_limit" min:"32MiB" max:"1TiB" also:"auto"`

	// Longest time that stopping may take: connections are closed, open commits and positions stored. A tenth of it, 5s at
	// most, is for records that the centre has not confirmed yet; they are sent again after the next start.
	StopTimeout Duration `toml:"stop_timeout" min:"1s" max:"10m"`
}

// The log: one store for all topics, and what a topic gets that says nothing else.
type Log struct {
	// Size of a segment file. Space is given back in whole segments; they are smaller where there would be less than 16.
	SegmentBytes Size `toml:"segment_bytes" min:"1MiB" max:"1GiB"`

	// A segment is sealed at this age even when it is not full, so that retention has something to drop.
	SegmentAge Duration `toml:"segment_age" min:"1m" max:"365d"`

	// Size of the preallocated journal that small commits are synced to first.
	JournalBytes Size `toml:"journal_bytes" min:"1MiB" max:"256MiB"`

	// Memory for records that wait for their commit; beyond it publishers and producers are held back.
	MaxPendingBytes Size `toml:"max_pending_bytes" min:"2MiB" max:"1GiB"`

	// Most the segments and the journal may take on disk. When it is reached records go: of the topics with the lowest
	// culvert.priority first, and of those the oldest. 0: as much as the disk has.
	MaxBytes Size `toml:"max_bytes" min:"4MiB" max:"1024TiB" also:"0"`

	// Free space that is left to the rest of the machine. When it is reached records go as for max_bytes. Where nothing is
	// left that may go, producing is refused, and resumes by itself. Alarms, of topics whose culvert.priority is 8 or 9, may
	// use it.
	MinFreeBytes Size `toml:"min_free_bytes" min:"0" max:"1024TiB"`

	// Space held by a file for alarms (topics with a culvert.priority of 8 or 9), whoever fills the device: it is given up
	// when they need it and held again when there is room. It is smaller where the log has room for less than 16 times as much.
	ReserveBytes Size `toml:"reserve_bytes" min:"0" max:"1GiB"`

	// How long records are kept, for topics without a retention.ms of their own. Nothing expires by time while the system
	// says that nobody has set the clock, or when it has leapt forward by more than a day in the last ten minutes.
	Retention Duration `toml:"retention" min:"1m" also:"unlimited" reload:"yes"`

	// How many bytes a partition keeps, for topics without a retention.bytes of their own.
	RetentionBytes Size `toml:"retention_bytes" min:"1MiB" also:"unlimited" reload:"yes"`

	// Have records expire by time also when the system does not say that its clock is synchronised: where it is right
	// nevertheless, by a battery or by the host of a virtual machine.
	TrustClock bool `toml:"trust_clock" reload:"yes"`

	// Partitions of a topic that is created without a number.
	NumPartitions int32 `toml:"num_partitions" min:"1" max:"1000" reload:"yes"`

	// Create a topic when a client produces to it or asks for it by name, or a route leads to it.
	AutoCreateTopics bool `toml:"auto_create_topics" reload:"yes"`

	// Largest record batch, compressed, for topics without a max.message.bytes of their own.
	MaxMessageBytes Size `toml:"max_message_bytes" min:"1KiB" max:"64MiB"`

	// Bytes that the log may write in any 24 hours, to spare a card. Near it commits are held open longer, up to
	// commit.max_delay, so that fewer of them do the same work; records are never refused for it. `culvert status` tells
	// how much is used, and the log when it cannot be kept.
	WriteBudget Size `toml:"write_budget" min:"1MiB" also:"unlimited"`

	// Bytes that may be written to the device in its life, as its maker promises ("30TB"), so that `culvert status` can
	// tell how long it lasts. 0: unknown.
	CardEndurance Size `toml:"card_endurance" min:"1GB" also:"0"`
}

// How records become durable. Every acknowledgement waits for the sync of its commit; these keys say how much one
// commit gathers. Longer and larger spare the card, shorter answers sooner.
type Commit struct {
	// How long a commit waits for company. "auto" is 0 on solid state disks and 50ms on SD cards and eMMC.
	Linger AutoDuration `toml:"linger" min:"0s" max:"5s" also:"auto"`

	// Longest time that log.write_budget may have a commit wait for company. Publishers feel it as a slower
	// acknowledgement; bulk data, from direct_bytes on, does not wait.
	MaxDelay Duration `toml:"max_delay" min:"1ms" max:"5s"`

	// Journalled records are written to the segment when this much has gathered.
	AbsorbBytes Size `toml:"absorb_bytes" min:"64KiB" max:"64MiB"`

	// Journalled records are written to the segment after this time at the latest.
	AbsorbInterval Duration `toml:"absorb_interval" min:"10ms" max:"1m"`

	// A commit of this size or more goes straight to the segment, not through the journal.
	DirectBytes Size `toml:"direct_bytes" min:"16KiB" max:"16MiB"`

	// Compression of the batches that culvert itself builds, from MQTT. Batches of native clients stay as they came.
	Compression string `toml:"compression" oneof:"lz4 none"`
}

// The native listener: Kafka clients of every kind.
type Kafka struct {
	// Address to listen on, host:port; port 0 takes a free one. Empty: do not listen.
	Listen string `toml:"listen"`

	// Address that clients are told to connect to, host:port. Empty: the address they reached the node by.
	Advertise string `toml:"advertise"`

	// Must be written out as true to listen beyond loopback: anybody who reaches the port may read and write.
	AllowAnonymous bool `toml:"allow_anonymous"`

	// Largest request that is read. Records are stored batch by batch as they arrive: it is not memory.
	MaxRequestBytes Size `toml:"max_request_bytes" min:"64KiB" max:"256MiB"`

	// Requests that are in memory at a time, over all connections; beyond it connections wait to be read.
	MaxInflightBytes Size `toml:"max_inflight_bytes" min:"1MiB" max:"1GiB"`

	// Connections at a time; more are closed as they come.
	MaxConnections int32 `toml:"max_connections" min:"1" max:"100000"`

	// A connection that sends nothing for this long is closed.
	IdleTimeout Duration `toml:"idle_timeout" min:"1s" max:"7d"`

	// Time a client may take to receive one MiB of an answer.
	WriteTimeout Duration `toml:"write_timeout" min:"1s" max:"1h"`

	// Partitions of the internal topic that holds consumers' committed offsets. Fixed once the topic exists.
	OffsetsPartitions int32 `toml:"offsets_partitions" min:"1" max:"50"`
}

// The MQTT listener: sensors and everything that reads along.
type MQTT struct {
	// Address to listen on, host:port; port 0 takes a free one. Empty: do not listen.
	Listen string `toml:"listen"`

	// Must be written out as true to listen beyond loopback: anybody who reaches the port may publish and subscribe.
	AllowAnonymous bool `toml:"allow_anonymous"`

	// Largest packet that is read.
	MaxPacketBytes Size `toml:"max_packet_bytes" min:"1KiB" max:"64MiB"`

	// Connections at a time; more are closed as they come.
	MaxConnections int32 `toml:"max_connections" min:"1" max:"100000"`

	// A connection must send its CONNECT packet within this time.
	ConnectTimeout Duration `toml:"connect_timeout" min:"100ms" max:"5m"`

	// Longest keepalive. A client that asks for a longer one, or for none, is still closed after one and a half times
	// this silence. 0: clients have what they ask for.
	MaxKeepalive Duration `toml:"max_keepalive" min:"1s" max:"18h" also:"0s"`

	// Messages of one client that may wait for their acknowledgement; at the limit its socket is not read.
	MaxInflight int32 `toml:"max_inflight" min:"1" max:"65535"`

	// The same limit in bytes, for one client.
	MaxInflightBytes Size `toml:"max_inflight_bytes" min:"64KiB" max:"256MiB"`

	// The same limit in bytes, for all clients together.
	MaxTotalInflightBytes Size `toml:"max_total_inflight_bytes" min:"1MiB" max:"1GiB"`

	// A connection that takes nothing for this long, while something waits to be sent, is closed.
	WriteTimeout Duration `toml:"write_timeout" min:"1s" max:"1h"`

	// Messages sent to one subscriber that may wait for its acknowledgement; at the limit it reads on from the log later.
	MaxOutboundInflight int32 `toml:"max_outbound_inflight" min:"1" max:"65535"`

	// Bytes that may wait to be written to one connection; likewise.
	MaxOutboundBytes Size `toml:"max_outbound_bytes" min:"16KiB" max:"64MiB"`

	// The same limit in bytes, for all connections together.
	MaxTotalOutboundBytes Size `toml:"max_total_outbound_bytes" min:"1MiB" max:"1GiB"`

	// Topic filters one client may subscribe to.
	MaxSubscriptions int32 `toml:"max_subscriptions" min:"1" max:"1000000"`

	// Memory for what idle connections make the node keep: filters, wills, parts of packets.
	MaxHeldBytes Size `toml:"max_held_bytes" min:"1MiB" max:"1GiB"`

	// Retained messages; a new one beyond the limit is stored in the log but not retained.
	MaxRetained int32 `toml:"max_retained" min:"0" max:"10000000"`

	// Bytes of retained messages, topics included; likewise.
	MaxRetainedBytes Size `toml:"max_retained_bytes" min:"0" max:"1GiB"`

	Defaults MQTTDefaults `toml:"defaults"`
	Routes   []Route      `toml:"route" reload:"yes"`
}

// What becomes of an MQTT message that no route matches.
type MQTTDefaults struct {
	// Topic of the log. Empty: refuse such messages.
	Topic string `toml:"topic" reload:"yes"`

	// Key of the record; the placeholder {topic} is the MQTT topic.
	Key string `toml:"key" reload:"yes"`
}

// A route leads MQTT topics to a topic of the log. The first that matches wins. Levels written as {name} match one
// level, like +, and can be used in topic, key and headers; {topic} is the whole MQTT topic.
type Route struct {
	// MQTT topic filter; may end in #.
	Filter string `toml:"filter" json:"filter"`

	// Topic of the log.
	Topic string `toml:"topic" json:"topic"`

	// Key of the record. Empty: that of [mqtt.defaults].
	Key string `toml:"key" json:"key,omitempty"`

	// Headers added to the record.
	Headers map[string]string `toml:"headers" json:"headers,omitempty"`
}

// The HTTP listener: /healthz, /readyz, /metrics, /status.
type HTTP struct {
	// Address to listen on, host:port; port 0 takes a free one. Empty: do not listen.
	Listen string `toml:"listen"`

	// Must be written out as true to listen beyond loopback: anybody who reaches the port may look.
	AllowAnonymous bool `toml:"allow_anonymous"`

	// Serve Go's profiles below /debug/pprof.
	Pprof bool `toml:"pprof"`
}

// The Kafka cluster at the centre that topics are forwarded to. Without brokers nothing is forwarded.
type Upstream struct {
	// Addresses to start from, host:port.
	Brokers []string `toml:"brokers"`

	// Name of this place, for {site}. Empty: the node's name.
	Site string `toml:"site"`

	// Name of a topic at the centre; {site} and {topic} are replaced.
	Topic string `toml:"topic"`

	// Topics to forward, as names or patterns with * and ?. Internal topics are never forwarded.
	Topics []string `toml:"topics" reload:"yes"`

	// Topics not to forward, even if they match above.
	Exclude []string `toml:"exclude" reload:"yes"`

	// Compression of the batches sent.
	Compression string `toml:"compression" oneof:"lz4 zstd snappy gzip none"`

	// How long a batch waits for company.
	Linger Duration `toml:"linger" min:"0s" max:"1m"`

	// Largest batch before compression; a larger record is sent by itself.
	MaxBatchBytes Size `toml:"max_batch_bytes" min:"1KiB" max:"64MiB"`

	// Memory for records that are on their way.
	MaxInflightBytes Size `toml:"max_inflight_bytes" min:"64KiB" max:"256MiB"`

	// Longest wait between two attempts to reach the centre; it starts small and doubles.
	MaxBackoff Duration `toml:"max_backoff" min:"1s" max:"1h"`

	// What to do with a record that the centre refuses for what it is: "skip" counts it and passes over it, "hold" waits
	// in front of it and tries again ever less often.
	Refused string `toml:"refused" oneof:"skip hold"`

	Create UpstreamCreate `toml:"create"`
	TLS    UpstreamTLS    `toml:"tls"`
	SASL   UpstreamSASL   `toml:"sasl"`
}

// Topics that are missing at the centre.
type UpstreamCreate struct {
	// Create them. Otherwise their records wait until somebody else does.
	Enabled bool `toml:"enabled"`

	// Partitions of a topic created; -1 is the centre's default (needs Kafka 2.4).
	Partitions int32 `toml:"partitions" min:"1" max:"10000" also:"-1"`

	// Replicas of each; -1 is the centre's default.
	Replication int32 `toml:"replication" min:"1" max:"100" also:"-1"`
}

// Encryption of the connections to the centre.
type UpstreamTLS struct {
	// Use it.
	Enabled bool `toml:"enabled"`

	// File of the certificate authorities to trust (PEM). Empty: those of the system.
	CAFile string `toml:"ca_file"`

	// Name that the centre's certificate must have, in place of the host in the address.
	ServerName string `toml:"server_name"`

	// File of the client's certificate (PEM), where the centre asks for one; with key_file.
	CertFile string `toml:"cert_file"`

	// File of its private key (PEM).
	KeyFile string `toml:"key_file"`
}

// How this node proves to the centre who it is.
type UpstreamSASL struct {
	// Mechanism. Empty: none.
	Mechanism string `toml:"mechanism"`

	// User name.
	User string `toml:"user"`

	// File that holds the password; it is read at every login.
	PasswordFile string `toml:"password_file"`
}

// Default returns the configuration of a node that has none: all listeners on loopback, nothing forwarded.
// What depends on the machine (name, data directory, site) is empty; [Config.Resolve] fills it in.
func Default() *Config {
	return &Config{
		Node: Node{
			ID:          1,
			LogLevel:    "info",
			LogFormat:   "auto",
			MemoryLimit: AutoSize(Auto),
			StopTimeout: Duration(30 * time.Second),
		},
		Log: Log{
			SegmentBytes:     defaultSegmentBytes,
			SegmentAge:       Duration(24 * time.Hour),
			JournalBytes:     8 * MiB,
			MaxPendingBytes:  16 * MiB,
			MinFreeBytes:     64 * MiB,
			ReserveBytes:     16 * MiB,
			Retention:        Duration(7 * 24 * time.Hour),
			RetentionBytes:   Unlimited,
			NumPartitions:    1,
			AutoCreateTopics: true,
			MaxMessageBytes:  1<<20 + 12,
			WriteBudget:      Unlimited,
		},
		Commit: Commit{
			Linger:         AutoDuration(Auto),
			MaxDelay:       Duration(time.Second),
			AbsorbBytes:    1 * MiB,
			AbsorbInterval: Duration(time.Second),
			DirectBytes:    256 * KiB,
			Compression:    "lz4",
		},
		Kafka: Kafka{
			Listen:            "127.0.0.1:9092",
			MaxRequestBytes:   100 * MiB,
			MaxInflightBytes:  32 * MiB,
			MaxConnections:    1000,
			IdleTimeout:       Duration(10 * time.Minute),
			WriteTimeout:      Duration(30 * time.Second),
			OffsetsPartitions: 4,
		},
		MQTT: MQTT{
			Listen:                "127.0.0.1:1883",
			MaxPacketBytes:        1 * MiB,
			MaxConnections:        10000,
			ConnectTimeout:        Duration(10 * time.Second),
			MaxInflight:           65535,
			MaxInflightBytes:      4 * MiB,
			MaxTotalInflightBytes: 16 * MiB,
			WriteTimeout:          Duration(time.Minute),
			MaxOutboundInflight:   1024,
			MaxOutboundBytes:      256 * KiB,
			MaxTotalOutboundBytes: 16 * MiB,
			MaxSubscriptions:      10000,
			MaxHeldBytes:          32 * MiB,
			MaxRetained:           100000,
			MaxRetainedBytes:      16 * MiB,
			Defaults:              MQTTDefaults{Topic: "mqtt", Key: "{topic}"},
		},
		HTTP: HTTP{Listen: "127.0.0.1:8080"},
		Upstream: Upstream{
			Topic:            "{site}.{topic}",
			Topics:           []string{"*"},
			Compression:      "lz4",
			Linger:           Duration(20 * time.Millisecond),
			MaxBatchBytes:    1000012,
			MaxInflightBytes: 8 * MiB,
			MaxBackoff:       Duration(30 * time.Second),
			Refused:          "skip",
			Create:           UpstreamCreate{Enabled: true, Partitions: -1, Replication: -1},
		},
	}
}

// A 32-bit process can map about 2 GiB in all, and every segment in use is mapped.
const (
	defaultSegmentBytes Size = (16 + 48*(bits.UintSize/64)) * MiB
	maxSegmentBytes     Size = (64 + 960*(bits.UintSize/64)) * MiB
)
