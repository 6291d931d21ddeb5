package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"
)

// manyRequest is a request for all partitions of the topics "a" and "b", a batch of one record each, with tagged fields
// where there may be some.
func manyRequest(r *rig, version int16, partitions int32, size func() int) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	req.SetVersion(version)
	for _, name := range []string{"a", "b"} {
		t := kmsg.NewProduceRequestTopic()
		t.Topic, t.TopicID = name, r.meta.State().Topic(name).ID
		for i := range partitions {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition, p.Records = i, batchOf(fmt.Sprint(name, i)+string(make([]byte, size())))
			if version >= 9 {
				p.UnknownTags.Set(200, []byte("tag"))
			}
			t.Partitions = append(t.Partitions, p)
		}
		if version >= 9 {
			t.UnknownTags.Set(201, make([]byte, 300))
		}
		req.Topics = append(req.Topics, t)
	}
	if version >= 9 {
		req.UnknownTags.Set(202, nil)
	}
	return req
}

func TestProduceRequestsAreReadHoweverTheirBytesArrive(t *testing.T) {
	r := newRig(t)
	const partitions = 3
	r.topic("a", partitions)
	r.topic("b", partitions)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := r.wire()
	rounds := int64(0)
	for version := int16(3); version <= 13; version++ {
		for _, piece := range []int{7, 1000, 5000, 1 << 20} {
			req := manyRequest(r, version, partitions, func() int { return rnd.IntN(2) * rnd.IntN(6000*min(piece, 20)/20) })
			frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("c")).AppendRequest(nil, req, 77)
			for b := frame; len(b) > 0; {
				n := min(len(b), 1+rnd.IntN(piece))
				w.raw(b[:n])
				b = b[n:]
			}
			resp := w.receive(req, 77).(*kmsg.ProduceResponse)
			for i, rt := range resp.Topics {
				if rt.Topic != req.Topics[i].Topic && version < 13 || rt.TopicID != req.Topics[i].TopicID && version >= 13 {
					t.Errorf("version %d: topic %q %x", version, rt.Topic, rt.TopicID)
				}
				for j, p := range rt.Partitions {
					if p.ErrorCode != 0 || p.Partition != int32(j) || p.BaseOffset != rounds {
						t.Fatalf("version %d: %+v, want offset %d", version, p, rounds)
					}
				}
			}
			rounds++
		}
	}
	for _, name := range []string{"a", "b"} {
		for i := range int32(partitions) {
			want := fmt.Sprint(name, i)
			p, _ := r.mgr.Partition(name, i)
			for o := int64(0); o < rounds; {
				s, err := p.Read(o, 1)
				if err != nil {
					t.Fatal(err)
				}
				if b := s.Batches[0]; !b.VerifyCRC() || !bytes.Contains(b, []byte(want)) {
					t.Errorf("%s: offset %d is another's", want, o)
				}
				o = s.Batches[0].NextOffset()
				s.Release()
			}
		}
	}
}

func TestProduceRequestThatIsCutOrLiesAboutItsLengthsEndsItsConnection(t *testing.T) {
	r := newRig(t)
	r.topic("a", 2)
	r.topic("b", 2)
	for _, version := range []int16{3, 9, 13} {
		frame := kmsg.NewRequestFormatter().AppendRequest(nil, manyRequest(r, version, 2, func() int { return 5 }), 1)
		for cut := 12; cut < len(frame); cut += 1 + cut/40 {
			// The frame says that it ends here, its fields that they do not.
			short := bytes.Clone(frame[:cut])
			binary.BigEndian.PutUint32(short, uint32(cut-4))
			w := r.wire()
			w.raw(short)
			w.closed()
			// The connection breaks here.
			w = r.wire()
			w.raw(frame[:cut])
			_ = w.nc.(*net.TCPConn).CloseWrite()
			w.closed()
		}
	}
	if n := testutil.ToFloat64(r.srv.metrics.panics); n > 0 {
		t.Errorf("%v panics", n)
	}
	eventually(t, "nothing is held", func() bool {
		return idleBudget(r.srv.budget.small, r.srv.budget.smallSize) && idleBudget(r.srv.budget.large, r.srv.budget.largeSize)
	})
}

func TestLargeProduceRequestIsNeverInMemoryAsAWhole(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.MaxInflightBytes = 4 << 20 })
	r.topic("a", 40)
	r.topic("b", 40)
	w := r.wire()
	req := manyRequest(r, 9, 40, func() int { return 1_000_000 }) // 80 MB
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, req, 5)
	sent := make(chan error, 1)
	go func() {
		_, err := w.nc.Write(frame)
		sent <- err
	}()
	most := int64(0)
	for done := false; !done; {
		select {
		case err := <-sent:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		case <-time.After(time.Millisecond):
			most = max(most, heldBudget(r.srv.budget.large, r.srv.budget.largeSize))
		}
	}
	for _, rt := range w.receive(req, 5).(*kmsg.ProduceResponse).Topics {
		for _, p := range rt.Partitions {
			if p.ErrorCode != 0 {
				t.Fatalf("%+v", p)
			}
		}
	}
	if most > 1_200_000 {
		t.Errorf("%d bytes of one request were held at a time", most)
	}
}

// heldBudget returns about how many of the size bytes are held.
func heldBudget(sem *semaphore.Weighted, size int64) int64 {
	for free := size; free > 0; free -= 64 << 10 {
		if idleBudget(sem, free) {
			return size - free
		}
	}
	return size
}

func TestRecordsThatWillBeRefusedAreNotRead(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.MaxInflightBytes = 1 << 20 })
	r.topic("t", 1)
	w := r.wire()
	for _, topic := range []string{"none", "t"} { // unknown; larger than max.message.bytes
		req := produceRequest(topic, -1, make([]byte, 20<<20))
		resp := ask[*kmsg.ProduceResponse](w, req, 9)
		want := codeMessageTooLarge
		if topic == "none" {
			want = codeUnknownTopicOrPartition
		}
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != int16(want) {
			t.Errorf("%s: %v", topic, errorCode(p.ErrorCode))
		}
	}
	if p := produce(w, 9, "t", batchOf("a")); p.ErrorCode != 0 {
		t.Errorf("the connection does not go on: %+v", p)
	}
}
