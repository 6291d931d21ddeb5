package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/sync/meta"
)

// halfStart builds the parts of a node up to its registration and ends it there, as a power cut would.
func halfStart(t *testing.T, c *config.Config) {
	t.Helper()
	n := &Node{log: slog.New(slog.DiscardHandler), level: new(slog.LevelVar), reg: prometheus.NewRegistry()}
	n.cfg.Store(c)
	for _, build := range []func(*config.Config) error{n.openLog, n.openMetadata, n.noteLostMetadata, n.listen, n.register} {
		if err := build(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestTopicsComeBackAlsoWhenTheFirstStartWithoutMetadataIsCutShort(t *testing.T) {
	c := testConfig(t.TempDir())
	r := start(t, c)
	r.publish([2]string{"a", "1"})
	r.stop()
	if err := os.RemoveAll(filepath.Join(c.Node.DataDir, "meta")); err != nil {
		t.Fatal(err)
	}
	halfStart(t, c)
	halfStart(t, c)
	r = start(t, c)
	if got := r.consume("mqtt", 1); got[0] != "a 1" {
		t.Fatalf("got %q", got)
	}
	if _, err := os.Stat(r.readoptMark()); err == nil {
		t.Fatal("the mark is still there: deleted topics would come back")
	}
	if _, err := kadm.NewClient(r.client()).DeleteTopic(t.Context(), "mqtt"); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if s := start(t, c).Status(); len(s.Topics) != 0 {
		t.Fatalf("topics %+v", s.Topics)
	}
}

func TestAnOlderStateOfTheMetadataDeletesNothing(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	old := r.quorum.State()
	r.publish([2]string{"a", "1"})
	p, err := r.replicas.Partition("mqtt", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.reconcile(old)
	if p.Gone() {
		t.Fatal("a topic was dropped that is newer than the state")
	}
	r.reconcile(&meta.State{Version: r.quorum.State().Version + 1})
	if !p.Gone() {
		t.Fatal("a newer state was passed over")
	}
}
