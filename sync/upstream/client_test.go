package upstream

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// certificate makes a certificate for 127.0.0.1 that is its own authority, and the file that tells so.
func certificate(t *testing.T) (cert tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "centre"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	dir := t.TempDir()
	certFile, keyFile = write(t, dir, "cert.pem", string(certPEM)), write(t, dir, "key.pem", string(keyPEM))
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return cert, certFile, keyFile
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestForwardingOverTLSWithAClientCertificate(t *testing.T) {
	cert, certFile, keyFile := certificate(t)
	pool := x509.NewCertPool()
	pool.AddCert(mustParse(t, cert))
	r := newRig(t, nil)
	centre := newCentre(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}))
	r.cfg.Brokers = centre.ListenAddrs()
	r.cfg.TLS = TLS{Enabled: true, CAFile: certFile, CertFile: certFile, KeyFile: keyFile}
	newFiller(r.source.topic("air", 1), 4, 0).add(400)
	r.start()
	r.caughtUp()
	if s := r.w.Status(); s.Confirmed != 400 {
		t.Errorf("%+v", s)
	}
}

func mustParse(t *testing.T, cert tls.Certificate) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCentreWithAForeignCertificateIsNotSentAnything(t *testing.T) {
	cert, _, _ := certificate(t)
	_, other, _ := certificate(t)
	centre := newCentre(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	r := newRig(t, nil)
	r.cfg.Brokers = centre.ListenAddrs()
	r.cfg.TLS = TLS{Enabled: true, CAFile: other}
	newFiller(r.source.topic("air", 1), 4, 0).add(400)
	r.start()
	eventually(t, func() string {
		if s := r.w.Status(); s.State != StateConnecting || !strings.Contains(s.LastError, "certificate") {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
}

func TestForwardingWithLogin(t *testing.T) {
	for _, mechanism := range []string{saslPlain, saslScram256, saslScram512} {
		t.Run(mechanism, func(t *testing.T) {
			centre := newCentre(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "gw", "secret"))
			r := newRig(t, nil)
			r.cfg.Brokers = centre.ListenAddrs()
			dir := t.TempDir()
			r.cfg.SASL = SASL{Mechanism: mechanism, User: "gw", PasswordFile: write(t, dir, "password", "wrong\n")}
			newFiller(r.source.topic("air", 1), 4, 0).add(400)
			r.start()
			eventually(t, func() string {
				if s := r.w.Status(); s.State != StateConnecting || s.LastError == "" {
					return fmt.Sprintf("%+v", s)
				}
				return ""
			})
			write(t, dir, "password", "secret\n") // is read anew at the next attempt
			r.caughtUp()
			if s := r.w.Status(); s.Confirmed != 400 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestFilesThatAreMissingAreToldAtTheStart(t *testing.T) {
	dir := t.TempDir()
	for want, do := range map[string]func(*Config){
		"no-ca.pem":         func(c *Config) { c.TLS = TLS{Enabled: true, CAFile: filepath.Join(dir, "no-ca.pem")} },
		"no certificate in": func(c *Config) { c.TLS = TLS{Enabled: true, CAFile: write(t, dir, "ca.pem", "nothing")} },
		"client certificate": func(c *Config) {
			c.TLS = TLS{Enabled: true, CertFile: filepath.Join(dir, "c"), KeyFile: filepath.Join(dir, "k")}
		},
		"no-password": func(c *Config) {
			c.SASL = SASL{Mechanism: saslPlain, User: "gw", PasswordFile: filepath.Join(dir, "no-password")}
		},
		"is empty": func(c *Config) {
			c.SASL = SASL{Mechanism: saslPlain, User: "gw", PasswordFile: write(t, dir, "empty", "\n")}
		},
	} {
		c := Default()
		c.Brokers, c.Site = []string{"127.0.0.1:1"}, "north"
		do(&c)
		_, err := New(c, newSource(), newPositions(), slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestLinkIsDownWhenFailuresAreAllThatIsHeardForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := 0
		l := newLink(NewMetrics(prometheus.NewRegistry()), func() { back++ })
		if s := l.state(); s.everUp || s.down {
			t.Fatalf("%+v", s)
		}
		l.OnBrokerConnect(kgo.BrokerMetadata{}, 0, nil, nil)
		if q := l.quietFor(); q != 0 {
			t.Fatalf("quiet for %v", q)
		}
		time.Sleep(time.Minute)
		if q := l.quietFor(); q != time.Minute {
			t.Fatalf("quiet for %v", q)
		}
		for range 5 { // one broker of several is away
			l.OnBrokerConnect(kgo.BrokerMetadata{}, 0, nil, errors.New("refused"))
			l.OnBrokerE2E(kgo.BrokerMetadata{}, kmsg.Produce.Int16(), kgo.BrokerE2E{})
			time.Sleep(downAfter)
		}
		if s := l.state(); s.down || s.err == nil {
			t.Fatalf("%+v", s)
		}
		since := time.Now()
		l.OnBrokerE2E(kgo.BrokerMetadata{}, 0, kgo.BrokerE2E{ReadErr: errors.New("reset")})
		if s := l.state(); s.down {
			t.Fatalf("down at once: %+v", s)
		}
		time.Sleep(downAfter)
		l.OnBrokerE2E(kgo.BrokerMetadata{}, kmsg.SASLHandshake.Int16(), kgo.BrokerE2E{}) // a login that then fails
		l.OnBrokerConnect(kgo.BrokerMetadata{}, 0, nil, errors.New("refused"))
		if s := l.state(); !s.down || !s.downSince.Equal(since) || s.err.Error() != "refused" {
			t.Fatalf("%+v", s)
		}
		l.OnBrokerE2E(kgo.BrokerMetadata{}, 0, kgo.BrokerE2E{WriteErr: kgo.ErrClientClosed}) // is our own doing
		if s := l.state(); s.err.Error() != "refused" {
			t.Fatalf("%+v", s)
		}
		if back != 6 { // the first time, and after each of the failures before
			t.Fatalf("it came back %d times", back)
		}
		l.OnBrokerConnect(kgo.BrokerMetadata{}, 0, nil, nil)
		if s := l.state(); s.down || back != 7 || !l.lastAnswer().Equal(time.Now()) {
			t.Fatalf("%+v, back %d times", s, back)
		}
	})
}

func TestTheLibrarysLogIsForDebuggingButForItsErrors(t *testing.T) {
	var b bytes.Buffer
	k := kafkaLog{slog.New(slog.NewTextHandler(&b, nil))}
	if k.Level() != kgo.LogLevelError {
		t.Errorf("level %v", k.Level())
	}
	k.Log(kgo.LogLevelWarn, "unable to open connection to broker")
	k.Log(kgo.LogLevelError, "fatal", "err", errors.New("x"))
	if s := b.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "level=WARN") || !strings.Contains(s, "err=x") {
		t.Error(s)
	}
	for level, want := range map[slog.Level]kgo.LogLevel{slog.LevelError: kgo.LogLevelNone, slog.LevelDebug: kgo.LogLevelInfo, levelTrace: kgo.LogLevelDebug} {
		k := kafkaLog{slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level}))}
		if k.Level() != want {
			t.Errorf("%v: %v", level, k.Level())
		}
	}
}
