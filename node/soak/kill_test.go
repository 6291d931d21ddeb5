//go:build soak

package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/node/soak/rig"
)

// chance returns the source of a test's chance and prints its seed.
func chance(t *testing.T) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d (-seed %d repeats the schedule)", s, s)
	return rand.New(rand.NewPCG(s, 0))
}

// commits are the ways of committing between which the restarts choose: everything in the journal for
// long, everything absorbed at once, groups held open, bulk past the journal.
var commits = []string{
	"",
	"absorb_interval = \"50ms\"\nabsorb_bytes = \"64KiB\"\n",
	"absorb_interval = \"10s\"\nabsorb_bytes = \"512KiB\"\n",
	"linger = \"5ms\"\n",
	"direct_bytes = \"16KiB\"\n",
	"compression = \"none\"\nabsorb_interval = \"200ms\"\n",
}

// A node is killed at any moment: while it serves both protocols, while it absorbs, seals and wraps its
// journal, and while it recovers from the kill before. After each start that comes to serving, what is
// new is read and held against what was acknowledged, while the load goes on; at the end everything is.
func TestKilledUnderLoad(t *testing.T) {
	rnd := chance(t)
	n := newNode(t)
	serve(t, n, config(""))
	createTopics(t, n.Kafka, partitions, topics...)

	l := newLoad(*rate)
	l.start(t.Context(), n)
	m := &metadata{topics: map[string]bool{}}
	var restarts []time.Duration
	var before, beforeThat map[string]int64 // acknowledged at the last kills
	inRecovery, done := 0, 0
	kill := func() {
		t.Helper()
		done++
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for round := 0; done < *kills; round++ {
		pause(t, time.Duration(rnd.Int64N(int64(300*time.Millisecond))))
		kill()
		beforeThat, before = before, l.acked()
		if err := n.Write(config(commits[rnd.IntN(len(commits))])); err != nil {
			t.Fatal(err)
		}
		for done < *kills && rnd.IntN(6) == 0 {
			if err := n.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			pause(t, time.Duration(rnd.Int64N(int64(60*time.Millisecond))))
			kill()
			inRecovery++
		}
		restarts = append(restarts, startNode(t, n))
		l.raiseFloors(beforeThat)
		if err := verifyRound(t, l, m, n, round); err != nil {
			t.Fatalf("after kill %d of %d: %v", done, *kills, err)
		}
		if round%100 == 99 {
			t.Logf("%d kills in %v, %d records read", done, time.Since(began).Round(time.Second), records(l))
		}
	}
	finish(t, n, l)
	t.Logf("%d kills in %v, %d of them while the node was starting, %d segments at the end", done,
		time.Since(began).Round(time.Second), inRecovery, len(segments(t, n.Data)))
	t.Logf("serving again after p50 %v, p99 %v, at most %v", percentile(restarts, 0.5).Round(time.Millisecond),
		percentile(restarts, 0.99).Round(time.Millisecond), percentile(restarts, 1).Round(time.Millisecond))
	l.report(t)
}

func verifyRound(t *testing.T, l *load, m *metadata, n *rig.Node, k int) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.failure(); err != nil {
		return err
	}
	if err := l.verify(ctx, n); err != nil {
		return err
	}
	return m.round(ctx, n.Kafka, k)
}

// finish stops the load, checks everything from the start, stops the node in order, starts it once more
// and checks everything again.
func finish(t *testing.T, n *rig.Node, l *load) {
	t.Helper()
	if _, err := n.Ready(t.Context(), readyTimeout); err != nil {
		t.Fatal(err)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 10*time.Minute)
	if err := l.verify(ctx, n); err != nil {
		t.Fatal(err)
	}
	if err := l.exactlyOnce(); err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{"after the last kill", "after an orderly stop"} {
		if err := l.verifyAll(ctx, n); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if _, err := n.Stop(stopTimeout); err != nil {
			t.Fatal(err)
		}
		startNode(t, n)
	}
}

func records(l *load) (n int64) {
	for _, topic := range topics {
		n += l.ledgers[topic].Records()
	}
	return n
}

// pause lets the load run.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(d):
	}
}

// A metadata checks that what was acknowledged about topics and committed offsets is durable too.
type metadata struct {
	topics    map[string]bool // created and acknowledged; false once deleted
	committed int64
}

const group = "soak-group"

// round checks what the rounds before left and leaves something for the next: one topic created, one
// deleted, an offset committed.
func (m *metadata) round(ctx context.Context, addr string, k int) error {
	cl, err := kgo.NewClient(clientOpts(addr)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)

	listed, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	for name, there := range m.topics {
		if listed.Has(name) != there {
			return fmt.Errorf("%w: topic %s: there is %v, acknowledged was %v", ErrLedger, name, listed.Has(name), there)
		}
	}
	fetched, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return fmt.Errorf("fetch offsets: %w", err)
	}
	if o, ok := fetched.Lookup(topicPlain, 0); m.committed > 0 && (!ok || o.At != m.committed) {
		return fmt.Errorf("%w: offset %d was committed, the node has %v (%v)", ErrLedger, m.committed, o.At, ok)
	}

	created := fmt.Sprintf("soak-round-%d", k)
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, created); err != nil {
		return fmt.Errorf("create %s: %w", created, err)
	}
	m.topics[created] = true
	if there := m.there(); len(there) > 5 {
		if _, err := adm.DeleteTopic(ctx, there[0]); err != nil {
			return fmt.Errorf("delete %s: %w", there[0], err)
		}
		m.topics[there[0]] = false
	}
	var offsets kadm.Offsets
	offsets.AddOffset(topicPlain, 0, int64(k)+1, -1)
	responses, err := adm.CommitOffsets(ctx, group, offsets)
	if err == nil {
		err = responses.Error()
	}
	if err != nil {
		return fmt.Errorf("commit an offset: %w", err)
	}
	m.committed = int64(k) + 1
	return nil
}

func (m *metadata) there() []string {
	var names []string
	for name, there := range m.topics {
		if there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
