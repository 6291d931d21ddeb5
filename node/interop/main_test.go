//go:build interop

package interop

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/node/admin"
	"github.com/culvert-mq/culvert/node/soak/rig"
)

var (
	broker = flag.String("broker", "", "run the native protocol's tests against this broker, host:port, in place of culvert; \"kafka\" starts one")
	binary = flag.String("binary", "", "use this culvert binary in place of building one")
)

// work is a directory that is removed when all tests are done.
var work string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if work, err = os.MkdirTemp("", "culvert-interop-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer func() { _ = os.RemoveAll(work) }()
	code := m.Run()
	if !stopShared() && code == 0 {
		code = 1
	}
	return code
}

// culvert returns the path of the binary, which is built once.
func culvert(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	if *binary != "" {
		return filepath.Abs(*binary)
	}
	root, err := rig.Root()
	if err != nil {
		return "", err
	}
	out := filepath.Join(work, "culvert")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return out, rig.Build(ctx, root, out, "interop")
})

// start runs a node of its own for the test and waits until it serves.
func start(t *testing.T, c rig.Config) *rig.Node {
	t.Helper()
	n, err := newNode(culvert(t), t.TempDir(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n.Running() {
			if _, err := n.Stop(30 * time.Second); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("the node's log:\n%s", n.Log())
		}
	})
	return n
}

func newNode(binary, dir string, c rig.Config) (*rig.Node, error) {
	n, err := rig.NewNode(context.Background(), binary, dir)
	if err != nil {
		return nil, err
	}
	if err := n.Write(c); err != nil {
		return nil, err
	}
	return n, begin(n)
}

// begin starts the process and waits until it serves. It lives until it is stopped, whatever test started it.
func begin(n *rig.Node) error {
	if err := n.Start(context.Background()); err != nil {
		return err
	}
	_, err := n.Ready(context.Background(), 30*time.Second)
	return err
}

// with returns a configuration with more sections behind those of the rig.
func with(c rig.Config, sections string) rig.Config {
	out := rig.Config{}
	maps.Copy(out, c)
	out["http"] += "\n" + sections
	return out
}

// The node that all tests share which do not stop, kill or configure theirs.
var shared struct {
	once sync.Once
	node *rig.Node
	err  error
}

func sharedNode(t *testing.T) *rig.Node {
	t.Helper()
	path := culvert(t)
	shared.once.Do(func() {
		dir := filepath.Join(work, "shared")
		if shared.err = os.Mkdir(dir, 0o700); shared.err != nil {
			return
		}
		shared.node, shared.err = newNode(path, dir, nil)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the node's log:\n%s", shared.node.Log())
		}
	})
	return shared.node
}

// stopShared stops the shared node: it must end as it should after all that was done to it.
func stopShared() (ok bool) {
	if k := reference.k; k != nil && k.p != nil {
		_ = k.p.stop(30 * time.Second)
	}
	if shared.node == nil || !shared.node.Running() {
		return true
	}
	if _, err := shared.node.Stop(30 * time.Second); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: the shared node:", err)
		return false
	}
	return true
}

// native returns the address of the broker under test.
func native(t *testing.T) string {
	t.Helper()
	switch *broker {
	case "":
		return sharedNode(t).Kafka
	case "kafka":
		return sharedKafka(t).addr
	}
	return *broker
}

// The Apache Kafka that is the centre of tests that do not kill it, and that the tests of the native protocol run
// against when they are checked themselves.
var reference struct {
	once sync.Once
	k    *kafka
	err  error
}

func sharedKafka(t *testing.T) *kafka {
	t.Helper()
	j := needJava(t)
	reference.once.Do(func() {
		dir := filepath.Join(work, "kafka")
		if reference.err = os.Mkdir(dir, 0o700); reference.err != nil {
			return
		}
		if reference.k, reference.err = newKafka(j, dir); reference.err == nil {
			reference.err = reference.k.start()
		}
	})
	if reference.err != nil {
		t.Fatal(reference.err)
	}
	return reference.k
}

// onlyCulvert skips what another broker does not do.
func onlyCulvert(t *testing.T) {
	t.Helper()
	if *broker != "" {
		t.Skip("not about the native protocol alone")
	}
}

var topics struct {
	sync.Mutex
	n int
}

// topic returns a name that no other test has.
func topic(t *testing.T) string {
	topics.Lock()
	defer topics.Unlock()
	topics.n++
	name := strings.NewReplacer("/", ".", " ", "_", "=", "-").Replace(t.Name())
	return fmt.Sprintf("%s.%d.%d", name[len("Test"):], os.Getpid(), topics.n)
}

func TestNodeTellsTheAddressesThatTheSystemGaveIt(t *testing.T) {
	onlyCulvert(t)
	n, err := rig.NewNode(t.Context(), culvert(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n.MQTT, n.Kafka = "127.0.0.1:0", "127.0.0.1:0"
	if err := n.Write(nil); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(context.WithoutCancel(t.Context())); err != nil { // it is stopped below
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := n.Stop(30 * time.Second); err != nil {
			t.Error(err)
		}
	})
	addr := map[string]string{}
	wait(t, 30*time.Second, func() error {
		s, err := admin.FetchStatus(t.Context(), n.HTTP)
		if err != nil {
			return err
		}
		if !s.Ready {
			return fmt.Errorf("not ready: %v", s.NotReady)
		}
		for _, l := range s.Listeners {
			addr[l.Protocol] = l.Address
		}
		return nil
	})
	host, port, err := net.SplitHostPort(addr["mqtt"])
	if err != nil {
		t.Fatal(err)
	}
	tool{path: need(t, "mosquitto_pub"), args: []string{"-h", host, "-p", port, "-t", "a/b", "-q", "1", "-m", "1"}}.run(t)
	out := tool{path: need(t, "kcat"), args: []string{"-b", addr["kafka"], "-C", "-t", "mqtt", "-o", "beginning", "-e", "-q", "-K", " "}}.run(t)
	if out != "a/b 1\n" {
		t.Errorf("got %q", out)
	}
}
