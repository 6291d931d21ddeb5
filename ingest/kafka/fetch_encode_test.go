package kafka

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/sync/meta"
)

// The library's decoder is the judge: whatever the encoder writes, with records large and small spliced in, must decode
// to what was meant, byte by byte, in every version.
func TestFetchAnswersDecodeToWhatWasMeant(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	a := (&Server{apis: apis}).lookup(1)
	for v := a.min; v <= a.max; v++ {
		for range 10 {
			h := fetchHead{version: v, code: errorCode(rnd.IntN(80)), session: rnd.Int32(), nullAborted: rnd.IntN(2) == 0}
			if v < 7 {
				h.code, h.session = 0, 0
			}
			parts := randomParts(rnd, v)
			if v >= 16 && rnd.IntN(2) == 0 {
				rack := "r"
				h.brokers = []brokerAddress{{id: 3, endpoint: endpoint{"host", 9092}}, {id: 4, endpoint: endpoint{"other", 1}, rack: &rack}}
			}
			got := decodeFetch(t, a, &h, parts)
			want := meantFetch(&h, parts)
			if string(got.AppendTo(nil)) != string(want.AppendTo(nil)) {
				t.Fatalf("version %d:\n got %+v\nwant %+v", v, got, want)
			}
		}
	}
}

func randomParts(rnd *rand.Rand, v int16) []*fetchPart {
	var parts []*fetchPart
	for range rnd.IntN(4) {
		key := fetchKey{topic: string(make([]byte, rnd.IntN(200)))}
		if v >= 13 {
			key.topic, key.id = "", meta.TopicID{byte(1 + rnd.IntN(2)), byte(rnd.IntN(256))}
		}
		for i := range rnd.IntN(5) {
			key.index = int32(i)
			p := &fetchPart{fetchAsk: fetchAsk{fetchKey: key}, code: errorCode(rnd.IntN(3)), hw: rnd.Int64(), lso: rnd.Int64(), start: rnd.Int64(), divergeAt: -1, hint: -1}
			if v >= 12 && rnd.IntN(3) == 0 {
				p.divergeAt, p.divergeEpoch = rnd.Int64N(1000), rnd.Int32N(100)
			}
			if v >= 12 && rnd.IntN(3) == 0 {
				p.hint, p.hintEpoch = rnd.Int32N(9), rnd.Int32N(9)
			}
			for range rnd.IntN(6) {
				sizes := []int{61, 70, smallPiece - 1, smallPiece, 3 * smallPiece, scratchSize, writeChunk - 1, writeChunk + 1}
				b := make(record.Batch, sizes[min(rnd.IntN(len(sizes)), rnd.IntN(len(sizes)))])
				for i := 0; i < len(b); i += 16 {
					b[i] = byte(rnd.Uint32())
				}
				p.batches, p.size = append(p.batches, b), p.size+len(b)
			}
			parts = append(parts, p)
		}
	}
	return parts
}

// decodeFetch sends the answer through a connection and the library's decoder.
func decodeFetch(t *testing.T, a *api, h *fetchHead, parts []*fetchPart) *kmsg.FetchResponse {
	t.Helper()
	here, there := net.Pipe()
	defer func() { _, _ = here.Close(), there.Close() }()
	s := &Server{cfg: Config{WriteTimeout: time.Minute}, metrics: NewMetrics(prometheus.NewRegistry())}
	w := newWriter(&conn{srv: s, nc: here, abort: func() {}})
	q := &call{api: a, version: h.version, correlation: 7}
	go func() {
		w.message(&call{api: a, version: 7, correlation: 6}, kmsg.NewPtrFetchResponse()) // goes out together with the one before
		start := w.begin(q)
		w.appendFetch(h, parts)
		w.end(start)
		w.flush()
		_ = here.Close()
	}()
	all, err := io.ReadAll(there)
	if err != nil {
		t.Fatal(err)
	}
	all = all[4+binary.BigEndian.Uint32(all):]
	if int(binary.BigEndian.Uint32(all)) != len(all)-4 {
		t.Fatalf("frame says %d bytes, there are %d", binary.BigEndian.Uint32(all), len(all)-4)
	}
	body := all[8:]
	if h.version >= 12 {
		body = body[1:]
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = h.version
	if err := resp.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	if again := resp.AppendTo(nil); string(again) != string(body) {
		t.Fatalf("version %d: %d bytes, the library writes %d", h.version, len(body), len(again))
	}
	return resp
}

func meantFetch(h *fetchHead, parts []*fetchPart) *kmsg.FetchResponse {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version, resp.ErrorCode, resp.SessionID = h.version, int16(h.code), h.session
	resp.Topics = []kmsg.FetchResponseTopic{}
	for i, p := range parts {
		if i == 0 || p.topic != parts[i-1].topic || p.id != parts[i-1].id {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = p.topic, p.id
			resp.Topics = append(resp.Topics, rt)
		}
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.Partition, rp.ErrorCode, rp.HighWatermark, rp.LastStableOffset = p.index, int16(p.code), p.hw, p.lso
		if h.version >= 5 {
			rp.LogStartOffset = p.start
		}
		if !h.nullAborted {
			rp.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
		}
		if p.diverged() {
			rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset = p.divergeEpoch, p.divergeAt
		}
		if p.hint >= 0 {
			rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = p.hint, p.hintEpoch
		}
		rp.RecordBatches = []byte{}
		for _, b := range p.batches {
			rp.RecordBatches = append(rp.RecordBatches, b...)
		}
		t := &resp.Topics[len(resp.Topics)-1]
		t.Partitions = append(t.Partitions, rp)
	}
	for _, b := range h.brokers {
		rb := kmsg.NewFetchResponseBroker()
		rb.NodeID, rb.Host, rb.Port, rb.Rack = b.id, b.host, b.port, b.rack
		resp.Brokers = append(resp.Brokers, rb)
	}
	return resp
}
