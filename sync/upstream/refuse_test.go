package upstream

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/record"
)

// refusing makes the centre fail every produce request with a batch that holds the word, uncompressed.
func (r *rig) refusing(word string, err *kerr.Error) *kfake.FaultHandle {
	return r.centre.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: -1, When: func(req kmsg.Request) bool {
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range t.Partitions {
				if bytes.Contains(p.Records, []byte(word)) {
					return true
				}
			}
		}
		return false
	}})
}

func TestRefusedRecordIsFoundCountedAndPassedOver(t *testing.T) {
	for _, refusal := range []*kerr.Error{kerr.InvalidRecord, kerr.MessageTooLarge, kerr.InvalidTimestamp} {
		t.Run(refusal.Message, func(t *testing.T) {
			r := newRig(t, newCentre(t))
			r.cfg.Compression = "none"
			r.cfg.Create.Partitions = 2
			parts := r.source.topic("air", 3) // which share the partitions at the centre
			f := newFiller(parts, 12, 0)
			f.add(600)
			parts[1].append(record.None, rec{key: "k1", value: "poison"})
			f.add(600)
			parts[1].append(record.None, rec{key: "k4", value: "poison"}, rec{key: "k7", value: "poison"})
			f.add(1200)
			r.refusing("poison", refusal)
			r.start()
			r.caughtUp()
			// Nobody else's record is missing, whatever shared a batch with the poison; order holds in the last copies.
			checkLastCopies(t, r.consume("north.air"), 12, 200)
			if s := r.w.Status(); s.Refused != 3 || s.Held != 0 || s.Partitions[1].Refused != 3 {
				t.Errorf("status %+v", s)
			}
			r.stop()
			if n := testutil.ToFloat64(r.w.metrics.refusedRecords.WithLabelValues("air")); n != 3 {
				t.Errorf("metrics count %v refused records", n)
			}
		})
	}
}

func TestRefusedRecordHoldsItsPartitionWhenAskedTo(t *testing.T) {
	r := newRig(t, newCentre(t))
	r.cfg.Compression = "none"
	r.cfg.Refused = RefusedHold
	parts := r.source.topic("air", 2)
	parts[0].append(record.None, rec{key: "a", value: "0"}, rec{key: "a", value: "poison"}, rec{key: "a", value: "2"})
	parts[1].append(record.None, rec{key: "b", value: "0"})
	fault := r.refusing("poison", kerr.InvalidRecord)
	r.start()
	eventually(t, func() string {
		s := r.w.Status()
		if len(s.Partitions) != 2 || s.Held != 1 || s.Lag != 2 || !strings.Contains(s.Partitions[0].Error, "offset 1 is refused") {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	fault.Remove()
	r.caughtUp()
	var values []string
	for _, g := range r.consume("north.air") {
		if string(g.Key) == "a" {
			values = append(values, string(g.Value))
		}
	}
	if s := strings.Join(values, " "); s != "0 poison 2" {
		t.Errorf("a: %s", s)
	}
	if s := r.w.Status(); s.Refused != 0 || s.Held != 0 {
		t.Errorf("%+v", s)
	}
}

func TestStoppingDoesNotWaitForTheSearchOfARefusedRecord(t *testing.T) {
	g := newGate()
	r := newRig(t, newCentre(t, g.option()))
	r.cfg.Compression = "none"
	r.cfg.MaxBackoff = 20 * time.Second
	p := r.source.topic("air", 1)[0]
	p.append(record.None, rec{key: "a", value: "0"}, rec{key: "a", value: "poison"}, rec{key: "a", value: "2"})
	r.refusing("poison", kerr.InvalidRecord)
	r.centre.ControlKey(kmsg.InitProducerID.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		if r.w.Status().Partitions[0].State == PartitionChecking { // the search's own producer begins
			go g.set(true)
		}
		return nil, nil, false
	})
	r.start()
	eventually(t, func() string {
		if s := r.w.Status(); len(s.Partitions) != 1 || s.Partitions[0].State != PartitionChecking || s.State != StateDown {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	start := time.Now()
	r.stop()
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestRecordLargerThanABatchTravelsAlone(t *testing.T) {
	r := newRig(t, newCentre(t, kfake.BrokerConfigs(map[string]string{"max.message.bytes": "10000000", "message.max.bytes": "10000000"})))
	r.cfg.MaxBatchBytes = 20000
	r.cfg.Create.Partitions = 1
	p := r.source.topic("air", 1)[0]
	big := strings.Repeat("x", 300_000)
	p.append(record.None, rec{key: "a", value: "0"}, rec{key: "a", value: big}, rec{key: "a", value: big}, rec{key: "a", value: "3"})
	r.start()
	r.caughtUp()
	got := r.consume("north.air")
	if len(got) != 4 || len(got[1].Value) != len(big) || len(got[2].Value) != len(big) || string(got[3].Value) != "3" {
		t.Fatalf("%d records", len(got))
	}
}

func TestWhatTheCentreForbidsIsHeldAndTriedAgain(t *testing.T) {
	for _, refusal := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.PolicyViolation, kerr.UnknownServerError} {
		t.Run(refusal.Message, func(t *testing.T) {
			r := newRig(t, newCentre(t))
			f := newFiller(r.source.topic("air", 2), 8, 0)
			other := newFiller(r.source.topic("noise", 1), 4, 0)
			f.add(400)
			r.start()
			r.caughtUp()
			fault := r.centre.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "north.air", Err: refusal, Count: -1})
			f.add(4000)
			eventually(t, func() string {
				s := r.w.Status()
				if s.Held != 2 || !strings.Contains(s.Partitions[0].Error, refusal.Message) {
					return fmt.Sprintf("%+v", s)
				}
				return ""
			})
			other.add(400) // are not held up
			eventually(t, func() string {
				if p := r.w.Status().Partitions[2]; p.Position != 400 {
					return fmt.Sprintf("%+v", p)
				}
				return ""
			})
			fault.Remove()
			r.caughtUp()
			checkOrder(t, r.consume("north.air"), 8, 550, true)
			if s := r.w.Status(); s.Held != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestProducerThatIsForbiddenToProduceRecovers(t *testing.T) {
	r := newRig(t, newCentre(t))
	fault := r.centre.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.ClusterAuthorizationFailed, Count: -1})
	f := newFiller(r.source.topic("air", 2), 8, 0)
	f.add(400)
	r.start()
	eventually(t, func() string {
		if s := r.w.Status(); s.Held != 2 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	fault.Remove()
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 8, 50, true)
}

func TestMissingTopicIsWaitedForWhenItIsNotToBeCreated(t *testing.T) {
	r := newRig(t, newCentre(t))
	r.cfg.Create.Enabled = false
	newFiller(r.source.topic("air", 1), 8, 0).add(400)
	r.start()
	eventually(t, func() string {
		s := r.w.Status()
		if s.Held != 1 || s.Partitions[0].Error != ErrTopicMissing.Error() {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	r.createTopic("north.air", 3)
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 8, 50, true)
}

func TestTopicIsCreatedAsConfiguredWithTheFirstRecord(t *testing.T) {
	r := newRig(t, newCentre(t))
	r.cfg.Create.Partitions = 5
	p := r.source.topic("air", 1)[0]
	r.start()
	eventually(t, func() string {
		if s := r.w.Status(); s.State != StateStreaming || len(s.Partitions) != 1 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	if r.centre.TopicInfo("north.air") != nil {
		t.Fatal("an empty topic is created")
	}
	p.append(record.None, rec{key: "a", value: "0"})
	r.caughtUp()
	if n := len(r.centre.PartitionInfos("north.air")); n != 5 {
		t.Errorf("%d partitions", n)
	}
}

func TestTopicDeletedAtTheCentreIsCreatedAgain(t *testing.T) {
	r := newRig(t, newCentre(t))
	f := newFiller(r.source.topic("air", 1), 4, 0)
	f.add(400)
	r.start()
	r.caughtUp()
	r.deleteTopic("north.air")
	f.next = 0
	f.add(400)
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 4, 100, true)
}

func TestNameThatWouldNotBeLegalHoldsItsTopicAlone(t *testing.T) {
	r := newRig(t, newCentre(t))
	long := strings.Repeat("a", 245)
	newFiller(r.source.topic(long, 1), 4, 0).add(4)
	newFiller(r.source.topic("b", 1), 4, 0).add(400)
	r.start()
	eventually(t, func() string {
		s := r.w.Status()
		if s.Held != 1 || s.Lag != 4 || !strings.Contains(s.Partitions[0].Error, "not a legal topic name") {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	checkOrder(t, r.consume("north.b"), 4, 100, true)
}
