package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/record"
)

// fill appends batches to a partition of the topic "t" and waits until they are durable.
func (r *rig) fill(index int32, batches ...record.Batch) {
	r.t.Helper()
	p, err := r.mgr.Partition("t", index)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, b := range batches {
		a, err := p.AppendBatch(b)
		if err != nil {
			r.t.Fatal(err)
		}
		<-a.Commit.Done()
		if err := a.Commit.Err(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// offsetsOf returns the offsets of the records in what was fetched.
func offsetsOf(t testing.TB, records []byte) []int64 {
	t.Helper()
	var out []int64
	for len(records) > 0 {
		b, rest, err := record.Split(records)
		if err != nil || !b.VerifyCRC() {
			t.Fatalf("a batch that is not whole: %v", err)
		}
		for o := b.BaseOffset(); o <= b.LastOffset(); o++ {
			out = append(out, o)
		}
		records = rest
	}
	return out
}

func sized(n int) record.Batch { return batchOf(string(make([]byte, n))) }

func fetch1(w *wire, version int16, req *kmsg.FetchRequest) kmsg.FetchResponseTopicPartition {
	w.t.Helper()
	return ask[*kmsg.FetchResponse](w, req, version).Topics[0].Partitions[0]
}

func TestFetchReturnsWholeBatchesFromTheOneThatHoldsTheOffset(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.fill(0, batchOf("0", "1", "2"), batchOf("3"), batchOf("4", "5"))
	w := r.wire()
	for version := int16(4); version <= 12; version++ {
		for offset, want := range map[int64][]int64{0: {0, 1, 2, 3, 4, 5}, 1: {0, 1, 2, 3, 4, 5}, 3: {3, 4, 5}, 5: {4, 5}, 6: nil} {
			p := fetch1(w, version, fetchRequest("t", 0, offset))
			if got := offsetsOf(t, p.RecordBatches); p.ErrorCode != 0 || !slices.Equal(got, want) || p.HighWatermark != 6 || p.LastStableOffset != 6 {
				t.Errorf("version %d from %d: %v, want %v (%+v)", version, offset, got, want, p)
			}
		}
		if p := fetch1(w, version, fetchRequest("t", 0, 7)); p.ErrorCode != int16(codeOffsetOutOfRange) || p.HighWatermark != -1 {
			t.Errorf("behind the end: %+v", p)
		}
		if p := fetch1(w, version, fetchRequest("t", 0, -1)); p.ErrorCode != int16(codeOffsetOutOfRange) {
			t.Errorf("before the start: %+v", p)
		}
		if p := fetch1(w, version, fetchRequest("t", 5, 0)); p.ErrorCode != int16(codeUnknownTopicOrPartition) {
			t.Errorf("unknown partition: %+v", p)
		}
	}
}

func TestFetchHonoursTheLimitsExceptForTheFirstRecords(t *testing.T) {
	r := newRig(t)
	r.topic("t", 3)
	for i := range int32(2) {
		r.fill(i, sized(5000), sized(5000), sized(5000))
	}
	w := r.wire()
	ask3 := func(maxBytes, perPartition int32) (sizes [3]int) {
		req := fetchRequest("t", 2, 0)
		req.MaxBytes = maxBytes
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, fetchRequest("t", 1, 0).Topics[0].Partitions[0], fetchRequest("t", 0, 0).Topics[0].Partitions[0])
		for i := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[i].PartitionMaxBytes = perPartition
		}
		for i, p := range ask[*kmsg.FetchResponse](w, req, 11).Topics[0].Partitions {
			if int32(2-i) != p.Partition {
				t.Fatalf("partition %d at place %d", p.Partition, i)
			}
			sizes[i] = len(offsetsOf(t, p.RecordBatches))
		}
		return sizes
	}
	for _, c := range []struct {
		all, each int32
		want      [3]int
	}{
		{1 << 20, 1 << 20, [3]int{0, 3, 3}},
		{1, 1, [3]int{0, 1, 0}},
		{0, 0, [3]int{0, 1, 0}},
		{-1, -1, [3]int{0, 1, 0}},
		{1 << 20, 1, [3]int{0, 1, 0}},
		{1 << 20, 10_500, [3]int{0, 2, 2}},
		{16_000, 1 << 20, [3]int{0, 3, 0}},
		{21_000, 1 << 20, [3]int{0, 3, 1}},
	} {
		if got := ask3(c.all, c.each); got != c.want {
			t.Errorf("at most %d, %d each: %v batches, want %v", c.all, c.each, got, c.want)
		}
	}
}

func TestFetchWaitsForTheBytesAskedFor(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	w := r.wire()
	req := fetchRequest("t", 0, 0)
	req.MaxWaitMillis = 20_000
	req.MinBytes = 150
	req.SetVersion(12)
	corr := w.send(req)
	eventually(t, "the fetch waits", func() bool { return !idleBudget(r.srv.parked, r.srv.cfg.MaxInflightBytes/4) })
	r.fill(0, batchOf("a"))
	_ = w.nc.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if _, err := w.br.Peek(1); err == nil {
		t.Fatal("answered with less than the bytes asked for")
	}
	r.fill(0, batchOf("b"), batchOf("c"))
	p := w.receive(req, corr).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if got := offsetsOf(t, p.RecordBatches); len(got) < 2 {
		t.Errorf("%v", got)
	}
	eventually(t, "what waited is given back", func() bool { return idleBudget(r.srv.parked, r.srv.cfg.MaxInflightBytes/4) })
	eventually(t, "nothing is held", func() bool { return idleBudget(r.srv.budget.small, r.srv.budget.smallSize) })
}

func TestFetchAnswersWithWhatThereIsWhenTheTimeIsUp(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.fill(0, batchOf("a"))
	w := r.wire()
	req := fetchRequest("t", 0, 0)
	req.MinBytes, req.MaxWaitMillis = 10_000, 100
	from := time.Now()
	p := fetch1(w, 12, req)
	if got := offsetsOf(t, p.RecordBatches); len(got) != 1 || time.Since(from) < 90*time.Millisecond {
		t.Errorf("%v after %v", got, time.Since(from))
	}
}

func TestFetchThatWaitsIsToldOfADeletedTopic(t *testing.T) {
	r := newRig(t)
	id := r.topic("t", 1).ID
	w := r.wire()
	req := fetchRequest("", 0, 0)
	req.Topics[0].TopicID = id
	req.MaxWaitMillis = 20_000
	req.SetVersion(13)
	corr := w.send(req)
	eventually(t, "the fetch waits", func() bool { return !idleBudget(r.srv.parked, r.srv.cfg.MaxInflightBytes/4) })
	if _, err := r.admin().DeleteTopics(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	p := w.receive(req, corr).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if p.ErrorCode != int16(codeUnknownTopicID) {
		t.Errorf("%v", errorCode(p.ErrorCode))
	}
}

func TestLargeRequestsBehindAFetchThatWaitsTakeNoMemory(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	w := r.wire()
	req := fetchRequest("t", 0, 0)
	req.MaxWaitMillis = 20_000
	req.SetVersion(12)
	fetched := w.send(req)
	eventually(t, "the fetch waits", func() bool { return !idleBudget(r.srv.parked, r.srv.cfg.MaxInflightBytes/4) })
	small := kmsg.NewPtrMetadataRequest()
	small.SetVersion(5)
	listed := w.send(small)
	big := produceRequest("t", -1, sized(200_000))
	big.SetVersion(9)
	produced := w.send(big)
	stays(t, 50*time.Millisecond, "the large request is not in memory", func() bool { return idleBudget(r.srv.budget.large, r.srv.budget.largeSize) })
	r.fill(0, batchOf("a"))
	w.receive(req, fetched)
	w.receive(small, listed)
	if resp := w.receive(big, produced).(*kmsg.ProduceResponse); resp.Topics[0].Partitions[0].BaseOffset != 1 {
		t.Errorf("%+v", resp)
	}
}

func TestFetchesOfOneConnectionMayFollowOneAnother(t *testing.T) {
	r := newRig(t)
	r.topic("t", 4)
	for i := range int32(4) {
		r.fill(i, sized(int(i)*10_000))
	}
	w := r.wire()
	var reqs []kmsg.Request
	var corrs []int32
	for i := range int32(40) {
		req := fetchRequest("t", i%4, 0)
		req.SetVersion(12)
		reqs, corrs = append(reqs, req), append(corrs, w.send(req))
	}
	for i := range reqs {
		resp := w.receive(reqs[i], corrs[i]).(*kmsg.FetchResponse)
		if n := len(resp.Topics[0].Partitions[0].RecordBatches); n/10_000 != i%4 {
			t.Errorf("%d: %d bytes", i, n)
		}
	}
}

func TestFetchDoesNotWaitWhenTooManyDo(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	if !r.srv.parked.TryAcquire(r.srv.cfg.MaxInflightBytes / 4) {
		t.Fatal("somebody waits")
	}
	req := fetchRequest("t", 0, 0)
	req.MaxWaitMillis = 60_000
	if p := fetch1(r.wire(), 12, req); p.ErrorCode != 0 || len(p.RecordBatches) > 0 {
		t.Errorf("%+v", p)
	}
	r.srv.parked.Release(r.srv.cfg.MaxInflightBytes / 4)
}

func TestFetchFencesByEpochAndTellsWhereALogDiverges(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.fill(0, batchOf("a"), batchOf("b"))
	w := r.wire()
	req := fetchRequest("t", 0, 0)
	req.Topics[0].Partitions[0].CurrentLeaderEpoch = 5
	if p := fetch1(w, 9, req); p.ErrorCode != int16(codeUnknownLeaderEpoch) {
		t.Errorf("newer epoch: %v", errorCode(p.ErrorCode))
	}
	req = fetchRequest("t", 0, 9)
	req.Topics[0].Partitions[0].LastFetchedEpoch = 0
	if p := fetch1(w, 12, req); p.ErrorCode != 0 || p.DivergingEpoch.EndOffset != 2 || p.DivergingEpoch.Epoch != 0 || len(p.RecordBatches) > 0 {
		t.Errorf("diverging: %+v", p)
	}
	req.Topics[0].Partitions[0].FetchOffset = 1
	if p := fetch1(w, 12, req); p.ErrorCode != 0 || p.DivergingEpoch.EndOffset != -1 || len(p.RecordBatches) == 0 {
		t.Errorf("not diverging: %+v", p)
	}
}

func TestFetchByTopicID(t *testing.T) {
	r := newRig(t)
	id := r.topic("t", 1).ID
	r.fill(0, batchOf("a"))
	w := r.wire()
	for v := int16(13); v <= 18; v++ {
		req := fetchRequest("", 0, 0)
		req.Topics[0].TopicID = id
		if p := fetch1(w, v, req); p.ErrorCode != 0 || len(offsetsOf(t, p.RecordBatches)) != 1 {
			t.Errorf("%d: %+v", v, p)
		}
		req.Topics[0].TopicID[0]++
		if p := fetch1(w, v, req); p.ErrorCode != int16(codeUnknownTopicID) {
			t.Errorf("%d: %+v", v, p)
		}
	}
}

func TestReaderAtTheEndSeesEveryRecordOnce(t *testing.T) {
	r := newRig(t)
	r.topic("t", 3)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	rd := r.client(kgo.ConsumeTopics("t"), kgo.FetchMaxWait(5*time.Second))
	wr := r.client(kgo.DefaultProduceTopic("t"))
	const n = 300
	var producing sync.WaitGroup
	defer producing.Wait() // a reader can see a record before its producer is answered
	producing.Go(func() {
		for i := range n {
			if err := wr.ProduceSync(ctx, &kgo.Record{Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
				t.Errorf("produce: %v", err)
				return
			}
		}
	})
	seen := map[string]bool{}
	for len(seen) < n {
		fs := rd.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("%d read: %v", len(seen), err)
		}
		fs.EachRecord(func(rec *kgo.Record) {
			if seen[string(rec.Value)] {
				t.Fatalf("%s twice", rec.Value)
			}
			seen[string(rec.Value)] = true
		})
	}
}
