//go:build soak

package soak

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/node/soak/machine"
)

// machineRate is how many records a second are written: an emulated machine is slow.
const machineRate = 800

// An emulated machine loses its power at any moment: under load, while culvert recovers, while the file system does.
// Of what its disk had not flushed a random part is gone or torn. It boots on what is left: the file system mounts,
// culvert finds no damage, and everything that was acknowledged is there; at the end the file system has no fault.
func TestPowerCutUnderLoad(t *testing.T) {
	rnd := chance(t)
	p := newPowered(t)
	p.boot(t, p.way(rnd))
	createTopics(t, p.node.Kafka, partitions, topics...)
	leaving := newLeaving(t, p.node.Kafka)

	l := newLoad(machineRate)
	l.start(t.Context(), p.node)
	leaving.start(t.Context())
	m := &metadata{topics: map[string]bool{}}
	var before, beforeThat map[string]int64 // acknowledged at the last cuts
	began := time.Now()
	for round := 0; p.cuts < *cuts; round++ {
		p.cutUnderLoad(t, rnd)
		beforeThat, before = before, l.acked()
		for p.cuts < *cuts && rnd.IntN(5) == 0 {
			p.cutWhileBooting(t, rnd)
		}
		p.boot(t, p.way(rnd))
		l.raiseFloors(beforeThat)
		err := verifyRound(t, l, m, p.node, round)
		if round%10 == 9 {
			err = errors.Join(err, leaving.verify(t.Context()))
		}
		if err != nil {
			t.Fatalf("after cut %d of %d, %v: %v", p.cuts, *cuts, p.loss, err)
		}
		if round%100 == 99 {
			t.Logf("%d cuts in %v, %d records read", p.cuts, time.Since(began).Round(time.Second), records(l))
		}
	}
	if err := errors.Join(l.stop(), leaving.stop()); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Hour)
	for _, again := range []string{"after the last cut", "after an orderly stop"} {
		err := errors.Join(l.verify(ctx, p.node), l.exactlyOnce(), l.verifyAll(ctx, p.node), leaving.verify(ctx))
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		p.stop(t)
		if err := machine.CheckImage(ctx, p.image); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if again == "after the last cut" {
			p.boot(t, p.way(rnd))
		}
	}
	p.report(t, time.Since(began))
	leaving.report(t)
	l.report(t)
}

// A disk that says it has flushed and has not loses what was acknowledged, and the test above would see it.
func TestPowerCutOfADiskThatLiesIsNoticed(t *testing.T) {
	p := newPowered(t)
	p.Disk.Lie()
	plain := machine.Boot{Config: p.config("")}
	p.boot(t, plain)
	createTopics(t, p.node.Kafka, partitions, topics...)
	l := newLoad(machineRate)
	ctx, cancel := context.WithCancel(t.Context())
	l.start(ctx, p.node)
	for acked := l.acked(); acked["once-a-0"] == 0 || acked["device-0"] == 0; acked = l.acked() {
		pause(t, 5*time.Millisecond)
	}
	p.cut(t, nil)
	cancel()
	l.wg.Wait()
	p.boot(t, plain)
	if err := l.verify(within(t, machineTimeout), p.node); err == nil {
		t.Errorf("what was acknowledged is there: %v, %v", l.acked(), p.loss)
	} else {
		t.Logf("noticed: %v", err)
	}
}
