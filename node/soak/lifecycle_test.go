//go:build soak

package soak

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/node/soak/rig"
)

func TestSIGTERMUnderLoadLosesNothingAndExitsCleanly(t *testing.T) {
	n := newNode(t)
	serve(t, n, config(""))
	createTopics(t, n.Kafka, partitions, topics...)
	l := newLoad(*rate)
	l.start(t.Context(), n)
	var stops []time.Duration
	for range 5 {
		pause(t, 500*time.Millisecond)
		took, err := n.Stop(stopTimeout)
		if err != nil {
			t.Fatal(err)
		}
		stops = append(stops, took)
		startNode(t, n)
		if err := l.verify(within(t, time.Minute), n); err != nil {
			t.Fatal(err)
		}
	}
	finish(t, n, l)
	t.Logf("stopped under load within %v", percentile(stops, 1))
	if slowest := percentile(stops, 1); slowest > 5*time.Second {
		t.Errorf("stopping under load took %v", slowest)
	}
	l.report(t)
}

func TestSecondProcessOnTheSameDirectoryIsRefused(t *testing.T) {
	n, second := newNode(t), newNode(t)
	serve(t, n, config(""))
	second.Data = n.Data
	if err := second.Write(config("")); err != nil {
		t.Fatal(err)
	}
	refused(t, second, n.Data)
	if _, err := n.Ready(t.Context(), readyTimeout); err != nil {
		t.Errorf("the first no longer serves: %v", err)
	}
	if _, err := n.Stop(stopTimeout); err != nil {
		t.Fatal(err)
	}
	startNode(t, second)
}

func TestPortInUseIsNamed(t *testing.T) {
	n := newNode(t)
	if err := n.Write(config("")); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{n.MQTT, n.Kafka, n.HTTP} {
		var lc net.ListenConfig
		taken, err := lc.Listen(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, n, addr)
		if err := taken.Close(); err != nil {
			t.Fatal(err)
		}
	}
	startNode(t, n)
}

// refused starts a node that must end by itself, soon, with an exit code that is not 0 and a last word
// that has what is in the way.
func refused(t *testing.T, n *rig.Node, what string) {
	t.Helper()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	code, took, err := n.Wait(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if code == 0 || !strings.Contains(n.Log(), what) {
		t.Errorf("the node ended with exit code %d after %v and does not name %s:\n%s", code, took, what, n.Log())
	}
}
