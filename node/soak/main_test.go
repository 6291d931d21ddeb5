//go:build soak

package soak

import (
	"flag"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/node/soak/rig"
)

var (
	kills         = flag.Int("kills", 50, "how often TestKilledUnderLoad kills the node")
	cuts          = flag.Int("cuts", 10, "how often TestPowerCutUnderLoad takes the power from a machine")
	kernelDir     = flag.String("kernel", "", "directory of the machine's kernel, where make kernel puts it by default")
	seed          = flag.Uint64("seed", 0, "seed of all chance, 0 for a new one; it is printed")
	rate          = flag.Float64("rate", 25000, "records per second under which the node is killed")
	culvertBinary = flag.String("binary", "", "culvert binary to test instead of one built from this tree")
	keep          = flag.String("keep", "", "directory under which data is kept, for looking at it afterwards")
)

const (
	readyTimeout = 20 * time.Second
	stopTimeout  = 20 * time.Second
)

var built = struct {
	once sync.Once
	path string
	err  error
}{}

// culvert returns the path of the binary under test.
func culvert(t *testing.T) string {
	t.Helper()
	if *culvertBinary != "" {
		return *culvertBinary
	}
	built.once.Do(func() {
		root, err := rig.Root()
		if err != nil {
			built.err = err
			return
		}
		dir, err := os.MkdirTemp("", "culvert-soak-") //nolint:usetesting // shared by all tests of the run, removed by TestMain
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "culvert")
		built.err = rig.Build(t.Context(), root, built.path, "soak")
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		_ = os.RemoveAll(filepath.Dir(built.path))
	}
	os.Exit(code)
}

// newNode returns a node with a directory of its own that is killed when the test ends.
func newNode(t *testing.T) *rig.Node {
	t.Helper()
	dir := t.TempDir()
	if *keep != "" {
		dir = filepath.Join(*keep, t.Name())
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	n, err := rig.NewNode(t.Context(), culvert(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the node's last words:\n%s", n.Log())
		}
	})
	return n
}

// startNode starts the node and waits until it serves.
func startNode(t *testing.T, n *rig.Node) time.Duration {
	t.Helper()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	took, err := n.Ready(t.Context(), readyTimeout)
	if err != nil {
		t.Fatal(err)
	}
	return took
}

// serve writes the configuration and starts the node.
func serve(t *testing.T, n *rig.Node, c rig.Config) {
	t.Helper()
	if err := n.Write(c); err != nil {
		t.Fatal(err)
	}
	startNode(t, n)
}
