package kafka

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/replica"
)

// produceN appends n records to a partition, one batch each.
func (r *rig) produceN(topic string, partition int32, n int) {
	r.t.Helper()
	cl := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for range n {
		if err := cl.ProduceSync(r.t.Context(), &kgo.Record{Topic: topic, Partition: partition, Key: []byte("k"), Value: []byte("v")}).FirstErr(); err != nil {
			r.t.Fatal(err)
		}
	}
}

type deletion struct {
	topic     string
	partition int32
	offset    int64
}

func deleteRequest(ds ...deletion) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	for _, d := range ds {
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = d.partition, d.offset
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != d.topic {
			t := kmsg.NewDeleteRecordsRequestTopic()
			t.Topic = d.topic
			req.Topics = append(req.Topics, t)
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	return req
}

func TestDeleteRecordsMovesTheStartOfEachPartition(t *testing.T) {
	r := newRig(t)
	r.topic("t", 2)
	r.produceN("t", 0, 10)
	r.produceN("t", 1, 5)
	w := r.wire()
	for i, version := range []int16{0, 1, 2} {
		to := int64(2 + i)
		resp := ask[*kmsg.DeleteRecordsResponse](w, deleteRequest(deletion{"t", 0, to}, deletion{"t", 1, 0}), version)
		p := resp.Topics[0].Partitions
		if len(resp.Topics) != 1 || resp.Topics[0].Topic != "t" || len(p) != 2 || p[0].ErrorCode != 0 || p[0].LowWatermark != to || p[1].ErrorCode != 0 || p[1].LowWatermark != 0 {
			t.Fatalf("version %d: %+v", version, resp)
		}
	}
	resp := ask[*kmsg.DeleteRecordsResponse](w, deleteRequest(deletion{"t", 0, 1}, deletion{"t", 1, -1}), 2)
	if p := resp.Topics[0].Partitions; p[0].LowWatermark != 4 || p[0].ErrorCode != 0 || p[1].LowWatermark != 5 || p[1].ErrorCode != 0 {
		t.Fatalf("an offset before the start, and the high watermark: %+v", resp)
	}
	starts, err := r.admin().ListStartOffsets(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := starts["t"][0].Offset, starts["t"][1].Offset; a != 4 || b != 5 {
		t.Fatalf("starts %d and %d", a, b)
	}
	r.produceN("t", 1, 1)
	cl := r.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().AtStart(), 1: kgo.NewOffset().AtStart()}}))
	first := map[int32]int64{}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := 0; n < 7; {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d records: %v", n, ctx.Err())
		}
		fs.EachRecord(func(rec *kgo.Record) {
			if _, ok := first[rec.Partition]; !ok {
				first[rec.Partition] = rec.Offset
			}
			n++
		})
	}
	if first[0] != 4 || first[1] != 5 {
		t.Fatalf("reading begins at %v", first)
	}
}

func TestDeleteRecordsInsideABatchKeepsTheRestOfIt(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	cl := r.client(kgo.ProducerLinger(50 * time.Millisecond))
	var recs []*kgo.Record
	for range 10 {
		recs = append(recs, &kgo.Record{Topic: "t", Value: []byte("v")})
	}
	if err := cl.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	res, err := r.admin().DeleteRecords(t.Context(), kadm.Offsets{"t": {0: {Topic: "t", Partition: 0, At: 7}}})
	if err != nil || res["t"][0].Err != nil || res["t"][0].LowWatermark != 7 {
		t.Fatalf("%+v, %v", res, err)
	}
	c := r.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().AtStart()}}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []int64
	for len(got) < 3 && ctx.Err() == nil {
		c.PollFetches(ctx).EachRecord(func(rec *kgo.Record) { got = append(got, rec.Offset) })
	}
	if len(got) != 3 || got[0] != 7 {
		t.Fatalf("read %v", got)
	}
}

func TestDeleteRecordsRefusesWhatItMustNotDelete(t *testing.T) {
	r := newRig(t, func(c *rigConfig) {
		c.wrap = func(d *Deps) { d.Log = ledElsewhere{d.Log} }
	})
	r.topic("t", 2)
	r.topic("away", 1)
	r.topic("kept", 1, "cleanup.policy=compact")
	r.topic("both", 1, "cleanup.policy=compact,delete")
	r.topic(meta.ConsumerOffsetsTopic, 1, "cleanup.policy=compact,delete")
	for _, topic := range []string{"t", "kept", "both"} {
		r.produceN(topic, 0, 3)
	}
	cases := []struct {
		d    deletion
		want errorCode
	}{
		{deletion{"t", 0, 4}, codeOffsetOutOfRange},
		{deletion{"t", 1, -2}, codeOffsetOutOfRange},
		{deletion{"t", 2, 0}, codeUnknownTopicOrPartition},
		{deletion{"t", -1, 0}, codeUnknownTopicOrPartition},
		{deletion{"none", 0, 0}, codeUnknownTopicOrPartition},
		{deletion{"away", 0, 0}, codeNotLeaderOrFollower},
		{deletion{"kept", 0, 1}, codePolicyViolation},
		{deletion{"both", 0, 1}, codeNone},
		{deletion{meta.ConsumerOffsetsTopic, 0, 0}, codeInvalidTopic},
		{deletion{meta.ConsumerOffsetsTopic, 9, 0}, codeUnknownTopicOrPartition},
		{deletion{"t", 0, 1}, codeInvalidRequest}, // the first of them counts
	}
	var ds []deletion
	for _, c := range cases {
		ds = append(ds, c.d)
	}
	resp := ask[*kmsg.DeleteRecordsResponse](r.wire(), deleteRequest(ds...), 2)
	i := 0
	for _, rt := range resp.Topics {
		for _, rp := range rt.Partitions {
			c := cases[i]
			i++
			if rt.Topic != c.d.topic || rp.Partition != c.d.partition || rp.ErrorCode != int16(c.want) || (rp.LowWatermark == -1) != (c.want != codeNone) {
				t.Errorf("%+v: %v, low watermark %d, want %v", c.d, errorCode(rp.ErrorCode), rp.LowWatermark, c.want)
			}
		}
	}
	if i != len(cases) {
		t.Fatalf("%d answers", i)
	}
	res, err := r.admin().DeleteRecords(t.Context(), kadm.Offsets{"kept": {0: {Topic: "kept", Partition: 0, At: 1}}})
	if err != nil || !errors.Is(res["kept"][0].Err, kerr.PolicyViolation) {
		t.Fatalf("%+v, %v", res, err)
	}
}

// ledElsewhere is a log in which the topic "away" has another leader.
type ledElsewhere struct{ Log }

func (l ledElsewhere) Partition(topic string, index int32) (Partition, error) {
	if topic == "away" {
		return nil, replica.ErrNotLeader
	}
	return l.Log.Partition(topic, index)
}

func TestDeletedRecordsStayDeletedAfterARestart(t *testing.T) {
	var dir string
	r := newRig(t, func(c *rigConfig) { dir = c.store.Dir })
	topic := r.topic("t", 1)
	r.produceN("t", 0, 3)
	if resp := ask[*kmsg.DeleteRecordsResponse](r.wire(), deleteRequest(deletion{"t", 0, -1}), 2); resp.Topics[0].Partitions[0].LowWatermark != 3 {
		t.Fatalf("%+v", resp)
	}
	// The answer came after the sync: what is on disk now, without the store being closed, says so.
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(store.Options{Dir: copied, Logger: slog.New(slog.DiscardHandler), Metrics: store.NewMetrics(prometheus.NewRegistry())})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, s := range st.States() {
		if s.TopicID == [16]byte(topic.ID) && (s.Start != 3 || s.Next != 3) {
			t.Fatalf("start %d, next %d", s.Start, s.Next)
		}
	}
}
