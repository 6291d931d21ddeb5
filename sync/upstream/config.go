package upstream

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/culvert-mq/culvert/log/record"
)

// What to do with a record that the centre refuses for what it is (Config.Refused).
const (
	RefusedSkip = "skip" // count it, log it, pass over it
	RefusedHold = "hold" // wait in front of it, trying again ever less often
)

// Config tells where to forward what. Make one with Default.
type Config struct {
	Brokers  []string // addresses to start from, host:port
	ClientID string   // name of this client in the centre's logs and quotas

	Site    string   // what {site} stands for
	Topic   string   // name of a topic at the centre; {site} and {topic} are replaced
	Topics  []string // topics to forward, with * and ? as wildcards; internal topics (__*) never are
	Exclude []string // topics not to forward, even if they match Topics

	Compression   string        // of the batches sent: none, gzip, snappy, lz4, zstd
	Linger        time.Duration // how long a batch waits for company
	MaxBatchBytes int32         // most bytes of a batch before compression; a larger record is sent by itself

	MaxInflightBytes int64         // memory for records that are on their way, at least 64 KiB
	MaxBackoff       time.Duration // longest wait between two attempts to reach the centre or to send what it refused
	StoreInterval    time.Duration // how often positions are stored
	DrainTimeout     time.Duration // how long Run waits, when it is told to stop, for what is on its way

	Create  Create // topics that are missing at the centre
	Refused string // RefusedSkip or RefusedHold

	TLS  TLS
	SASL SASL
}

// Create tells whether and how to create topics that are missing at the centre.
type Create struct {
	Enabled     bool
	Partitions  int32 // -1: as many as the centre gives a topic by default (needs Kafka 2.4)
	Replication int16 // -1: the centre's default
}

// TLS secures the connections to the centre.
type TLS struct {
	Enabled    bool
	CAFile     string // PEM; empty: the system's certificate authorities
	ServerName string // to verify in place of the host dialled
	CertFile   string // PEM of the client's certificate, with KeyFile; empty: none
	KeyFile    string
}

// SASL authenticates this client at the centre.
type SASL struct {
	Mechanism    string // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; empty: no authentication
	User         string
	PasswordFile string // holds the password; a newline at its end is not part of it. Read at every login.
}

const (
	minInflightBytes = 64 << 10
	minBatchBytes    = 1 << 10
	maxBatchBytes    = 64 << 20
)

// Default returns a configuration that lacks only Brokers and Site.
func Default() Config {
	return Config{
		ClientID:         "culvert",
		Topic:            "{site}.{topic}",
		Topics:           []string{"*"},
		Compression:      "lz4",
		Linger:           20 * time.Millisecond,
		MaxBatchBytes:    1000012,
		MaxInflightBytes: 8 << 20,
		MaxBackoff:       30 * time.Second,
		StoreInterval:    time.Second,
		DrainTimeout:     5 * time.Second,
		Create:           Create{Enabled: true, Partitions: -1, Replication: -1},
		Refused:          RefusedSkip,
	}
}

// Validate checks the configuration and tells everything that is wrong with it. It reads no files.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("upstream: "+format, args...)) }
	if len(c.Brokers) == 0 {
		bad("no brokers")
	}
	for _, b := range c.Brokers {
		host, port, err := net.SplitHostPort(b)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
			bad("broker %q is not host:port", b)
		}
	}
	if _, err := parseTemplate(c.Topic, c.Site); err != nil {
		errs = append(errs, err)
	}
	if _, err := newSelector(c.Topics, c.Exclude); err != nil {
		errs = append(errs, err)
	}
	if _, err := record.ParseCodec(c.Compression); err != nil {
		errs = append(errs, fmt.Errorf("upstream: compression: %w", err))
	}
	if c.MaxBatchBytes < minBatchBytes || c.MaxBatchBytes > maxBatchBytes {
		bad("max batch bytes %d is not within %d and %d", c.MaxBatchBytes, minBatchBytes, maxBatchBytes)
	}
	if c.MaxInflightBytes < minInflightBytes {
		bad("max inflight bytes %d is below %d", c.MaxInflightBytes, minInflightBytes)
	}
	if c.Linger < 0 || c.Linger > time.Minute {
		bad("linger %v is not within 0s and 1m", c.Linger)
	}
	if c.MaxBackoff <= 0 || c.StoreInterval <= 0 || c.DrainTimeout < 0 {
		bad("max backoff and store interval must be positive, drain timeout must not be negative")
	}
	if c.Create.Enabled && (c.Create.Partitions < -1 || c.Create.Partitions == 0 || c.Create.Replication < -1 || c.Create.Replication == 0) {
		bad("partitions and replication of created topics are -1 or positive")
	}
	if c.Refused != RefusedSkip && c.Refused != RefusedHold {
		bad("refused is %q, not %q or %q", c.Refused, RefusedSkip, RefusedHold)
	}
	if !c.TLS.Enabled && (c.TLS.CAFile != "" || c.TLS.CertFile != "" || c.TLS.KeyFile != "" || c.TLS.ServerName != "") {
		bad("TLS settings without TLS")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		bad("a client certificate needs both its file and its key's")
	}
	switch c.SASL.Mechanism {
	case "":
		if c.SASL.User != "" || c.SASL.PasswordFile != "" {
			bad("SASL user or password file without a mechanism")
		}
	case saslPlain, saslScram256, saslScram512:
		if c.SASL.User == "" || c.SASL.PasswordFile == "" {
			bad("SASL %s needs a user and a password file", c.SASL.Mechanism)
		}
	default:
		bad("SASL mechanism %q is not one of %s, %s, %s", c.SASL.Mechanism, saslPlain, saslScram256, saslScram512)
	}
	return errors.Join(errs...)
}
