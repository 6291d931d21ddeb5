package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/quorum"
)

// produce sends one batch and returns the answer for its partition.
func produce(w *wire, version int16, topic string, batch []byte) kmsg.ProduceResponseTopicPartition {
	w.t.Helper()
	resp := ask[*kmsg.ProduceResponse](w, produceRequest(topic, -1, batch), version)
	return resp.Topics[0].Partitions[0]
}

// resign computes the CRC of a batch that was tampered with.
func resign(b []byte) []byte {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func TestProduceRefusesWhatMayNotBeStored(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1, "max.message.bytes=1000")
	w := r.wire()
	with := func(f func(b record.Batch)) []byte {
		b := batchOf("a", "b", "c")
		f(b)
		return resign(b)
	}
	zstd := func() []byte {
		var bd record.Builder
		bd.Reset(nil)
		for range 50 {
			bd.Append(time.Now().UnixMilli(), nil, bytes.Repeat([]byte("zstd"), 10), nil)
		}
		return bd.Finish(0, -1, record.Zstd, nil)
	}()
	for name, c := range map[string]struct {
		version int16
		batch   []byte
		want    errorCode
	}{
		"old format":              {2, batchOf("a"), codeUnsupportedVersion},
		"nothing":                 {9, nil, codeInvalidRecord},
		"cut short":               {9, batchOf("abc")[:60], codeCorruptMessage},
		"magic 1":                 {9, with(func(b record.Batch) { b[16] = 1 }), codeInvalidRecord},
		"wrong CRC":               {9, func() []byte { b := batchOf("a"); b[20]++; return b }(), codeCorruptMessage},
		"two batches":             {9, append(batchOf("a"), batchOf("b")...), codeInvalidRecord},
		"bytes behind the batch":  {9, append(batchOf("a"), 0), codeInvalidRecord},
		"control batch":           {9, with(func(b record.Batch) { b[22] |= 0x20 }), codeInvalidRecord},
		"log append time":         {9, with(func(b record.Batch) { b[22] |= 0x08 }), codeInvalidTimestamp},
		"wrong last offset delta": {9, with(func(b record.Batch) { b[26] = 7 }), codeInvalidRecord},
		"wrong count":             {9, with(func(b record.Batch) { b[26] = 1; b[60] = 2 }), codeInvalidRecord},
		"no sequence":             {9, with(func(b record.Batch) { b.SetProducer(5, 0, -1) }), codeInvalidRecord},
		"transactional":           {9, with(func(b record.Batch) { b.SetProducer(5, 0, 0); b[22] |= 0x10 }), codeInvalidTxnState},
		"too large":               {9, batchOf(string(make([]byte, 1000))), codeMessageTooLarge},
		"zstd too early":          {6, bytes.Clone(zstd), codeUnsupportedCompressionType},
		"zstd":                    {7, bytes.Clone(zstd), codeNone},
		"from the future": {9, with(func(b record.Batch) {
			binary.BigEndian.PutUint64(b[27:], uint64(time.Now().Add(2*time.Hour).UnixMilli()))
		}), codeInvalidTimestamp},
		"good": {9, batchOf("a"), codeNone},
	} {
		p := produce(w, c.version, "t", c.batch)
		if p.ErrorCode != int16(c.want) {
			t.Errorf("%s: %v, want %v", name, errorCode(p.ErrorCode), c.want)
		}
		if c.want != codeNone && (p.BaseOffset != -1 || c.version >= 8 && p.ErrorMessage == nil) {
			t.Errorf("%s: offset %d, message %v", name, p.BaseOffset, p.ErrorMessage)
		}
	}
	part, _ := r.mgr.Partition("t", 0)
	eventually(t, "only the good ones are stored", func() bool { return part.HighWatermark() == 51 })
	if p := produce(w, 9, "none", batchOf("a")); p.ErrorCode != int16(codeUnknownTopicOrPartition) {
		t.Errorf("unknown topic: %d", p.ErrorCode)
	}
}

func TestProduceBlamesTheRecordsOfACompactedTopicThatHaveNoKey(t *testing.T) {
	r := newRig(t)
	r.topic("c", 1, "cleanup.policy=compact")
	var b record.Builder
	b.Reset(nil)
	for i := range 5 {
		key := []byte("k")
		if i == 1 || i == 3 {
			key = nil
		}
		b.Append(time.Now().UnixMilli(), key, []byte("v"), nil)
	}
	p := produce(r.wire(), 9, "c", b.Finish(0, -1, record.None, nil))
	if p.ErrorCode != int16(codeInvalidRecord) || len(p.ErrorRecords) != 2 || p.ErrorRecords[0].RelativeOffset != 1 || p.ErrorRecords[1].RelativeOffset != 3 {
		t.Errorf("%+v", p)
	}
}

func TestProduceHonoursTheTimestampRulesOfTheTopic(t *testing.T) {
	r := newRig(t)
	r.topic("strict", 1, "message.timestamp.before.max.ms=60000", "message.timestamp.after.max.ms=60000")
	r.topic("append", 1, "message.timestamp.type=LogAppendTime")
	r.topic("wrong", 1)
	w := r.wire()
	at := func(ts ...int64) []byte {
		var b record.Builder
		b.Reset(nil)
		for _, ts := range ts {
			b.Append(ts, nil, []byte("v"), nil)
		}
		return b.Finish(0, -1, record.None, nil)
	}
	now := time.Now().UnixMilli()
	if p := produce(w, 9, "strict", at(now, now-1000)); p.ErrorCode != 0 || p.LogAppendTime != -1 {
		t.Errorf("in range: %+v", p)
	}
	if p := produce(w, 9, "strict", at(now, now-70_000, -1)); p.ErrorCode != int16(codeInvalidTimestamp) || len(p.ErrorRecords) != 1 || p.ErrorRecords[0].RelativeOffset != 1 {
		t.Errorf("too old: %+v", p)
	}
	if p := produce(w, 9, "append", at(5, 6)); p.ErrorCode != 0 || p.LogAppendTime < now {
		t.Errorf("log append time: %+v", p)
	}
	bad := record.Batch(at(now, now-5))
	bad.SetMaxTimestamp(math.MaxInt64)
	if p := produce(w, 9, "wrong", bad); p.ErrorCode != 0 {
		t.Errorf("wrong max timestamp in the header: %+v", p)
	}
	part, _ := r.mgr.Partition("wrong", 0)
	if off, ts, err := part.MaxTime(); off != 0 || ts != now || err != nil {
		t.Errorf("max timestamp is %d at %d, %v", ts, off, err)
	}
}

func TestProduceRecompressesAsTheTopicSays(t *testing.T) {
	r := newRig(t)
	r.topic("z", 1, "compression.type=zstd")
	cl := r.client(kgo.DefaultProduceTopic("z"), kgo.ProducerBatchCompression(kgo.GzipCompression()))
	value := bytes.Repeat([]byte("value "), 1000)
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Value: value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	part, _ := OnReplicas(r.mgr).Partition("z", 0)
	s, err := part.Read(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Batches()[0].Attributes().Codec(); c != record.Zstd {
		t.Errorf("stored as %v", c)
	}
	s.Release()
	rd := r.client(kgo.ConsumeTopics("z"))
	if fs := rd.PollFetches(t.Context()); fs.Err() != nil || !bytes.Equal(fs.Records()[0].Value, value) {
		t.Errorf("%v", fs.Err())
	}
}

func TestIdempotentProducerIsAnsweredWithTheOriginalOffset(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	w := r.wire()
	id := ask[*kmsg.InitProducerIDResponse](w, kmsg.NewPtrInitProducerIDRequest(), 4)
	if id.ErrorCode != 0 || id.ProducerEpoch != 0 {
		t.Fatalf("%+v", id)
	}
	batch := func(epoch int16, seq int32) []byte {
		b := batchOf("a", "b")
		b.SetProducer(id.ProducerID, epoch, seq)
		return b
	}
	for i, c := range []struct {
		epoch  int16
		seq    int32
		want   errorCode
		offset int64
	}{
		{0, 0, codeNone, 0}, {0, 2, codeNone, 2}, {0, 0, codeNone, 0}, {0, 2, codeNone, 2},
		{0, 9, codeOutOfOrderSequence, -1}, {0, 4, codeNone, 4}, {1, 3, codeOutOfOrderSequence, -1}, {1, 0, codeNone, 6}, {0, 6, codeInvalidProducerEpoch, -1},
	} {
		if p := produce(w, 9, "t", batch(c.epoch, c.seq)); p.ErrorCode != int16(c.want) || p.BaseOffset != c.offset {
			t.Errorf("%d: %v at %d, want %v at %d", i, errorCode(p.ErrorCode), p.BaseOffset, c.want, c.offset)
		}
	}
	if n := testutil.ToFloat64(r.srv.metrics.records); n != 8 {
		t.Errorf("%v records counted", n)
	}
}

func TestProducerIDsAreNeverGivenTwice(t *testing.T) {
	r := newRig(t)
	w := r.wire()
	seen := map[int64]bool{}
	for range 2*quorum.ProducerIDBlock + 10 {
		id := ask[*kmsg.InitProducerIDResponse](w, kmsg.NewPtrInitProducerIDRequest(), 2).ProducerID
		if id < 0 || seen[id] {
			t.Fatalf("id %d again", id)
		}
		seen[id] = true
	}
}

func TestTransactionsAreRefusedForGood(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	w := r.wire()
	init := kmsg.NewPtrInitProducerIDRequest()
	init.TransactionalID = new("tx")
	if resp := ask[*kmsg.InitProducerIDResponse](w, init, 4); resp.ErrorCode != int16(codeTransactionalIDAuthorization) || resp.ProducerID != -1 {
		t.Errorf("%+v", resp)
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorType, find.CoordinatorKeys = 1, []string{"tx"}
	if resp := ask[*kmsg.FindCoordinatorResponse](w, find, 4); resp.Coordinators[0].ErrorCode != int16(codeTransactionalIDAuthorization) {
		t.Errorf("%+v", resp)
	}
	req := produceRequest("t", -1, batchOf("a"))
	req.TransactionID = new("tx")
	if resp := ask[*kmsg.ProduceResponse](w, req, 9); resp.Topics[0].Partitions[0].ErrorCode != int16(codeTransactionalIDAuthorization) {
		t.Errorf("%+v", resp)
	}
}

func TestUnacknowledgedProduceIsNotAnsweredAndAnErrorEndsTheConnection(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	w := r.wire()
	for range 10 {
		req := produceRequest("t", 0, batchOf("a"))
		req.SetVersion(9)
		w.send(req)
	}
	ask[*kmsg.MetadataResponse](w, kmsg.NewPtrMetadataRequest(), 4) // the next answer is this one's
	part, _ := r.mgr.Partition("t", 0)
	eventually(t, "the records are stored", func() bool { return part.HighWatermark() == 10 })
	req := produceRequest("none", 0, batchOf("a"))
	req.SetVersion(9)
	w.send(req)
	w.closed()
}

func TestProduceByTopicID(t *testing.T) {
	r := newRig(t)
	id := r.topic("t", 1).ID
	w := r.wire()
	req := produceRequest("", -1, batchOf("a"))
	req.Topics[0].TopicID = id
	resp := ask[*kmsg.ProduceResponse](w, req, 13)
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || resp.Topics[0].TopicID != id {
		t.Errorf("%+v", resp)
	}
	req.Topics[0].TopicID[3]++
	if p := ask[*kmsg.ProduceResponse](w, req, 13).Topics[0].Partitions[0]; p.ErrorCode != int16(codeUnknownTopicID) {
		t.Errorf("unknown id: %+v", p)
	}
	req.Topics[0].TopicID, req.Topics[0].Partitions[0].Partition = id, 1
	if p := ask[*kmsg.ProduceResponse](w, req, 13).Topics[0].Partitions[0]; p.ErrorCode != int16(codeUnknownTopicOrPartition) {
		t.Errorf("unknown partition: %+v", p)
	}
}

func TestClientsMayNotWriteToInternalTopics(t *testing.T) {
	r := newRig(t)
	r.topic(meta.ConsumerOffsetsTopic, 1)
	if p := produce(r.wire(), 9, meta.ConsumerOffsetsTopic, batchOf("a")); p.ErrorCode != int16(codeInvalidTopic) {
		t.Errorf("%+v", p)
	}
}

// gatedLog is a log whose commits a test completes, or whose appends it fails.
type gatedLog struct {
	Log
	append func() (Appended, error)
}

type gatedPartition struct {
	Partition
	l *gatedLog
}

func (l *gatedLog) Partition(topic string, index int32) (Partition, error) {
	p, err := l.Log.Partition(topic, index)
	return gatedPartition{p, l}, err
}

func (p gatedPartition) AppendBatch(record.Batch) (Appended, error) { return p.l.append() }

type gate struct {
	done chan struct{}
	err  error
}

func (g *gate) Done() <-chan struct{} { return g.done }
func (g *gate) Err() error            { return g.err }
func (g *gate) Direct() bool          { return false }

func TestProduceIsAnsweredWhenItsCommitIsDoneAndNotBefore(t *testing.T) {
	g := &gate{done: make(chan struct{})}
	log := &gatedLog{append: func() (Appended, error) { return Appended{BaseOffset: 3, Commit: g}, nil }}
	r := newRig(t, func(c *rigConfig) { c.wrap = func(d *Deps) { log.Log = d.Log; d.Log = log } })
	r.topic("t", 1)
	w := r.wire()
	req := produceRequest("t", 1, batchOf("a"))
	req.SetVersion(9)
	corr := w.send(req)
	_ = w.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := w.br.Peek(1); err == nil {
		t.Fatal("answered before the commit")
	}
	close(g.done)
	if resp := w.receive(req, corr).(*kmsg.ProduceResponse); resp.Topics[0].Partitions[0].BaseOffset != 3 {
		t.Errorf("%+v", resp)
	}
}

func TestProduceTellsWhyACommitFailed(t *testing.T) {
	// What the next append comes to: its error and that of its commit. It is the test's turn between two answers.
	g := &gate{done: make(chan struct{})}
	type outcome struct{ append, commit error }
	var next atomic.Pointer[outcome]
	next.Store(&outcome{})
	log := &gatedLog{append: func() (Appended, error) {
		o := next.Load()
		return Appended{BaseOffset: 3, Commit: &gate{g.done, o.commit}}, o.append
	}}
	r := newRig(t, func(c *rigConfig) { c.wrap = func(d *Deps) { log.Log = d.Log; d.Log = log } })
	r.topic("t", 1)
	w := r.wire()
	req := produceRequest("t", -1, batchOf("a"))
	req.TimeoutMillis = 30
	if p := ask[*kmsg.ProduceResponse](w, req, 9).Topics[0].Partitions[0]; p.ErrorCode != int16(codeRequestTimedOut) || p.BaseOffset != -1 {
		t.Errorf("not in time: %+v", p)
	}
	close(g.done)
	for _, c := range []struct {
		commit, append error
		want           errorCode
	}{
		{store.ErrFull, nil, codeKafkaStorageError},
		{errors.New("bug"), nil, codeUnknownServerError},
		{nil, store.ErrFull, codeKafkaStorageError},
		{nil, store.ErrClosed, codeNotLeaderOrFollower},
		{nil, nil, codeNone},
	} {
		next.Store(&outcome{c.append, c.commit})
		if p := produce(w, 11, "t", batchOf("a")); p.ErrorCode != int16(c.want) {
			t.Errorf("%v: %v, want %v", c, errorCode(p.ErrorCode), c.want)
		}
	}
	next.Store(&outcome{nil, store.ErrFull})
	silent := produceRequest("t", 0, batchOf("a"))
	silent.SetVersion(9)
	w.send(silent)
	w.closed()
}

func TestClientThatGoesAwayDoesNotHoldUpTheCommit(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	for range 20 {
		w := r.wire()
		req := produceRequest("t", -1, batchOf("a"))
		req.SetVersion(9)
		w.send(req)
		_ = w.nc.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cl := r.client(kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(ctx, &kgo.Record{Value: []byte("last")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	eventually(t, "all connections are gone", func() bool { return r.srv.Connections() == 0 })
}
