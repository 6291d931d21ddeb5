//go:build interop

package interop

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// java is what every start of a Java virtual machine begins with.
type java struct {
	path string
	lib  string // directory of the jars
}

var kafkaJars = sync.OnceValues(func() (java, error) {
	path, err := exec.LookPath("java")
	if err != nil {
		return java{}, err
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return java{}, err
	}
	pom, err := os.ReadFile("testdata/pom.xml")
	if err != nil {
		return java{}, err
	}
	lib, err := cached(fmt.Sprintf("kafka-%x", sha256.Sum256(pom))[:22], func(dir string) error {
		return command(mvn, "-q", "-B", "-f", "testdata/pom.xml", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+dir)
	})
	return java{path, lib}, err
})

func needJava(t *testing.T) java {
	t.Helper()
	j, err := kafkaJars()
	if err != nil {
		missing(t, "Apache Kafka (Java 17, Maven)", err)
	}
	return j
}

// class is a run of a main class: small heap, quick start.
func (j java) class(name string, args ...string) tool {
	settings, err := filepath.Abs("testdata/log4j2.properties")
	if err != nil {
		settings = err.Error()
	}
	return tool{path: j.path, args: append([]string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dlog4j2.configurationFile=" + settings, "-cp", filepath.Join(j.lib, "*"), name}, args...)}
}

// kafka is a real Apache Kafka: broker and controller in one process. Its addresses and data outlive its process.
type kafka struct {
	java java
	dir  string
	addr string
	p    *process
}

// startKafka formats and starts a broker for the test, where topics are created only for clients that ask for it.
func startKafka(t *testing.T) *kafka {
	t.Helper()
	k, err := newKafka(needJava(t), t.TempDir())
	if err == nil {
		err = k.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.p.stop(30 * time.Second); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("Kafka's log:\n%s", k.p.out)
		}
	})
	return k
}

const kafkaProperties = `
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$CONTROLLER
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$ADDR,CONTROLLER://$CONTROLLER
advertised.listeners=PLAINTEXT://$ADDR
log.dirs=$DATA
num.partitions=3
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
`

func newKafka(j java, dir string) (*kafka, error) {
	ports, err := ports(context.Background(), 2)
	if err != nil {
		return nil, err
	}
	k := &kafka{java: j, dir: dir, addr: fmt.Sprintf("127.0.0.1:%d", ports[0])}
	properties := strings.NewReplacer("$ADDR", k.addr, "$CONTROLLER", fmt.Sprintf("127.0.0.1:%d", ports[1]),
		"$DATA", filepath.Join(dir, "data")).Replace(kafkaProperties)
	if err := os.WriteFile(k.config(), []byte(properties), 0o600); err != nil {
		return nil, err
	}
	format := j.class("kafka.tools.StorageTool", "format", "-t", "Y3VsdmVydC1pbnRlcm9wMQ", "-c", k.config())
	return k, command(format.path, format.args...)
}

func (k *kafka) config() string { return filepath.Join(k.dir, "server.properties") }

// start starts the process and waits until it serves.
func (k *kafka) start() (err error) {
	if k.p, err = k.java.class("kafka.Kafka", k.config()).start(); err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.addr), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer cl.Close()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		select {
		case <-k.p.done:
			return fmt.Errorf("Kafka has ended: %w\n%s", k.p.err, k.p.out)
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		brokers, err := kadm.NewClient(cl).ListBrokers(ctx)
		cancel()
		if err == nil && len(brokers) > 0 {
			return nil
		}
		if time.Now().After(end) {
			k.p.kill()
			return fmt.Errorf("Kafka does not serve: %w\n%s", err, k.p.out)
		}
	}
}

// kill kills the process with SIGKILL.
func (k *kafka) kill() { k.p.kill() }

// ports returns free loopback ports below the kernel's ephemeral range, so that nobody takes them between two starts.
func ports(ctx context.Context, n int) ([]int, error) {
	var found []int
	var lc net.ListenConfig
	for range 1000 {
		port := 10000 + rand.IntN(8000)
		l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer l.Close()
		if found = append(found, port); len(found) == n {
			return found, nil
		}
	}
	return nil, errors.New("no free ports on loopback")
}
