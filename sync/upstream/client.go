package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/culvert-mq/culvert/log/record"
)

// The SASL mechanisms there are.
const (
	saslPlain    = "PLAIN"
	saslScram256 = "SCRAM-SHA-256"
	saslScram512 = "SCRAM-SHA-512"
)

// clientOptions makes the options of a client. It reads the files that the configuration names.
func clientOptions(cfg Config, l *link, log *slog.Logger) ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID(cfg.ClientID),
		kgo.WithLogger(kafkaLog{log}),
		kgo.WithHooks(l),
		kgo.DisableClientMetrics(),

		// The idempotent producer: the library keeps up to five requests per broker in flight and the order in each
		// partition, retries without end, and never gives a record up that the centre might have.
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerBatchMaxBytes(cfg.MaxBatchBytes),
		kgo.ProducerLinger(cfg.Linger),
		kgo.MaxBufferedRecords(1 << 30), // our own budget is the limit

		kgo.RetryBackoffFn(func(failures int) time.Duration {
			return backoff(failures, min(dialBackoff, cfg.MaxBackoff), cfg.MaxBackoff)
		}),
		kgo.MetadataMinAge(min(time.Second, cfg.MaxBackoff)),
		kgo.AlwaysRetryEOF(),                 // also from a proxy whose centre is restarting
		kgo.ConnIdleTimeout(5 * time.Minute), // a login over a cellular link is worth more than a socket
	}
	codec, err := record.ParseCodec(cfg.Compression)
	if err != nil {
		return nil, err
	}
	switch codec {
	case record.None:
		opts = append(opts, kgo.ProducerBatchCompression(kgo.NoCompression()))
	case record.Gzip:
		opts = append(opts, kgo.ProducerBatchCompression(kgo.GzipCompression(), kgo.NoCompression()))
	case record.Snappy:
		opts = append(opts, kgo.ProducerBatchCompression(kgo.SnappyCompression(), kgo.NoCompression()))
	case record.LZ4:
		opts = append(opts, kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()))
	case record.Zstd:
		opts = append(opts, kgo.ProducerBatchCompression(kgo.ZstdCompression(), kgo.Lz4Compression(), kgo.NoCompression()))
	}
	if cfg.TLS.Enabled {
		tc, err := tlsConfig(cfg.TLS)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(tc))
	}
	if cfg.SASL.Mechanism != "" {
		if _, err := readPassword(cfg.SASL.PasswordFile); err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(saslMechanism(cfg.SASL)))
	}
	if err := kgo.ValidateOpts(opts...); err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	return opts, nil
}

func tlsConfig(c TLS) (*tls.Config, error) {
	tc := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("upstream: certificate authorities: %w", err)
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("upstream: no certificate in %s", c.CAFile)
		}
	}
	if c.CertFile != "" {
		// Read at every handshake: certificates are renewed while the node runs.
		load := func() (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("upstream: client certificate: %w", err)
			}
			return &cert, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		tc.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return tc, nil
}

func saslMechanism(c SASL) sasl.Mechanism {
	switch c.Mechanism {
	case saslScram256:
		return scram.Sha256(func(context.Context) (scram.Auth, error) {
			pass, err := readPassword(c.PasswordFile)
			return scram.Auth{User: c.User, Pass: pass}, err
		})
	case saslScram512:
		return scram.Sha512(func(context.Context) (scram.Auth, error) {
			pass, err := readPassword(c.PasswordFile)
			return scram.Auth{User: c.User, Pass: pass}, err
		})
	}
	return plain.Plain(func(context.Context) (plain.Auth, error) {
		pass, err := readPassword(c.PasswordFile)
		return plain.Auth{User: c.User, Pass: pass}, err
	})
}

func readPassword(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("upstream: password: %w", err)
	}
	pass := strings.TrimRight(string(b), "\r\n")
	if pass == "" {
		return "", fmt.Errorf("upstream: password file %s is empty", file)
	}
	return pass, nil
}
