package upstream

import (
	"errors"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/record"
)

func TestAfterACrashNoMoreIsSentAgainThanWasConfirmedSinceTheLastStore(t *testing.T) {
	r := newRig(t, newCentre(t))
	parts := r.source.topic("air", 2)
	f := newFiller(parts, 8, 0)
	f.add(800)
	r.start()
	r.caughtUp()
	eventually(t, func() string {
		if at := r.pos.snapshot(); at[idOf(parts[0])]+at[idOf(parts[1])] != 800 {
			return fmt.Sprintf("stored %v", at)
		}
		return ""
	})
	// From here on nothing is stored: a crash, as far as the next start can tell.
	r.pos.fail(nil, errors.New("disk on fire"))
	f.add(400)
	r.caughtUp()
	r.stop()
	if v := testutil.ToFloat64(r.w.metrics.stores.WithLabelValues("error")); v == 0 {
		t.Error("failed stores are not counted")
	}
	r.pos.fail(nil, nil)
	f.add(400)
	r.start()
	r.caughtUp()
	if again := checkOrder(t, r.consume("north.air"), 8, 200, false); again != 8 { // each key's run of 50 once
		t.Errorf("%d runs came again", again)
	}
	if s := r.w.Status(); s.Confirmed != 800 {
		t.Errorf("%d records were sent after the restart, want the 400 not stored and the 400 new ones", s.Confirmed)
	}
}

func TestPositionsThatCannotBeLoadedAreAskedForAgain(t *testing.T) {
	r := newRig(t, newCentre(t))
	newFiller(r.source.topic("air", 1), 4, 0).add(400)
	r.pos.fail(errors.New("not yet"), nil)
	r.start()
	eventually(t, func() string {
		if v := testutil.ToFloat64(r.w.metrics.stores.WithLabelValues("load_error")); v < 3 {
			return fmt.Sprintf("%v attempts", v)
		}
		return ""
	})
	if s := r.w.Status(); len(s.Partitions) != 0 {
		t.Errorf("%+v", s)
	}
	r.pos.fail(nil, nil)
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 4, 100, true)
}

func TestTopicOfTheSameNameIsForwardedFromItsStart(t *testing.T) {
	r := newRig(t, newCentre(t))
	newFiller(r.source.topic("air", 1), 4, 0).add(400)
	r.start()
	r.caughtUp()
	r.stop()
	r.source.remove("air")
	newFiller(r.source.topic("air", 1), 4, 100).add(40)
	r.start()
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 4, 110, true)
}

func TestLogThatLostItsEndIsForwardedFromThere(t *testing.T) {
	r := newRig(t, newCentre(t))
	p := r.source.topic("air", 1)
	f := newFiller(p, 4, 0)
	f.add(400)
	r.pos.at[idOf(p[0])] = 1000
	r.start()
	r.caughtUp()
	if r.centre.TopicInfo("north.air") != nil {
		t.Error("what was forwarded is forwarded again")
	}
	f.next = 0
	f.add(40)
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 4, 10, true)
}

func TestWhatRetentionTookIsCountedAsLostAndTheRestGoesOn(t *testing.T) {
	g := newGate()
	g.set(true)
	r := newRig(t, newCentre(t, g.option()))
	r.cfg.MaxInflightBytes = minInflightBytes // most of it stays in the log
	r.cfg.Create.Partitions = 1
	p := r.source.topic("air", 1)
	newFiller(p, 1, 0).add(4000)
	r.start()
	eventually(t, func() string {
		if s := r.w.Status(); len(s.Partitions) != 1 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	p[0].truncate(1000) // before anything was read
	g.set(false)
	eventually(t, func() string {
		if s := r.w.Status(); s.Confirmed == 0 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	r.caughtUp()
	g.set(true)
	r.stop()
	newFiller(p, 1, 4000).add(100)
	p[0].truncate(4040)
	g.set(false)
	r.start()
	r.caughtUp()
	var values []int
	for _, rec := range r.consume("north.air") {
		var v int
		if _, err := fmt.Sscan(string(rec.Value), &v); err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	if len(values) != 3060 || values[0] != 1000 || values[2999] != 3999 || values[3000] != 4040 {
		t.Errorf("%d values", len(values))
	}
	if s := r.w.Status(); s.Lost != 40 || s.Partitions[0].Lost != 40 {
		t.Errorf("%+v", s)
	}
	r.stop()
	if v := testutil.ToFloat64(r.w.metrics.lostRecords.WithLabelValues("air", "retention")); v != 40 {
		t.Errorf("metrics count %v lost records", v)
	}
}

func TestDamagedBatchIsCountedAndPassedOver(t *testing.T) {
	for name, damage := range map[string]func(record.Batch){
		"flipped bit": func(b record.Batch) { b[len(b)-3] ^= 1 },
		"wrong records under a right CRC": func(b record.Batch) {
			b[record.HeaderSize+2] ^= 0xff
			b.SetMaxTimestamp(b.MaxTimestamp())
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newCentre(t))
			p := r.source.topic("air", 1)[0]
			p.append(record.None, rec{key: "a", value: "0"}, rec{key: "a", value: "1"})
			p.append(record.None, rec{key: "a", value: "x"}, rec{key: "a", value: "y"}, rec{key: "a", value: "z"})
			p.append(record.None, rec{key: "a", value: "2"})
			damage(p.batches[1])
			r.start()
			r.caughtUp()
			if got := r.consume("north.air"); len(got) != 3 || string(got[2].Value) != "2" {
				t.Errorf("%d records", len(got))
			}
			if s := r.w.Status(); s.Lost != 3 {
				t.Errorf("%+v", s)
			}
			r.stop()
			if v := testutil.ToFloat64(r.w.metrics.lostRecords.WithLabelValues("air", "damaged")); v != 3 {
				t.Errorf("metrics count %v damaged records", v)
			}
		})
	}
}

func TestLogThatCannotBeReadIsTriedAgain(t *testing.T) {
	r := newRig(t, newCentre(t))
	parts := r.source.topic("air", 2)
	parts[0].err = errors.New("input/output error")
	newFiller(parts, 8, 0).add(400)
	r.start()
	eventually(t, func() string {
		s := r.w.Status()
		if s.Held != 1 || s.Lag != 200 || s.Partitions[0].RetryAt == nil {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	parts[0].mu.Lock()
	parts[0].err = nil
	parts[0].mu.Unlock()
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 8, 50, true)
}

func TestTopicsComeAndGoWhileForwarding(t *testing.T) {
	r := newRig(t, newCentre(t))
	newFiller(r.source.topic("air", 1), 4, 0).add(400)
	r.start()
	r.caughtUp()
	noise := newFiller(r.source.topic("noise", 2), 8, 0)
	noise.add(400)
	r.caughtUp()
	r.source.remove("air")
	eventually(t, func() string {
		if s := r.w.Status(); len(s.Partitions) != 2 || s.Partitions[0].Topic != "noise" {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	if err := r.w.SetTopics([]string{"*"}, []string{"noise"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if s := r.w.Status(); len(s.Partitions) != 0 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	noise.add(400)
	if err := r.w.SetTopics([]string{"n*"}, nil); err != nil {
		t.Fatal(err)
	}
	r.caughtUp()
	checkOrder(t, r.consume("north.noise"), 8, 100, true)
	checkOrder(t, r.consume("north.air"), 4, 100, true)
	if err := r.w.SetTopics([]string{"a{b"}, nil); err == nil {
		t.Error("a pattern that is none is taken")
	}
}

func TestTopicThatIsDeletedWhileItsRecordsAreOnTheirWayLeavesNothingBehind(t *testing.T) {
	r := newRig(t, newCentre(t))
	newFiller(r.source.topic("air", 4), 8, 0).add(4000)
	fault := r.centre.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: -1})
	r.start()
	eventually(t, func() string {
		if r.w.budget.used.Load() == 0 {
			return "nothing is on its way"
		}
		return ""
	})
	r.source.remove("air")
	r.caughtUp()
	fault.Remove()
	eventually(t, func() string {
		if n := r.w.budget.used.Load(); n != 0 {
			return fmt.Sprintf("%d bytes are held", n)
		}
		return ""
	})
}
