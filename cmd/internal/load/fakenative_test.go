package load

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fakeNative is a broker of the native protocol with one topic in memory, as small as clients let it be.
type fakeNative struct {
	ln net.Listener
	wg sync.WaitGroup

	mu         sync.Mutex
	conns      []net.Conn
	partitions []fakePartition
	refuse     int16 // error code of every Produce
	hangUp     int   // after so many Produce requests; 0: never
	produced   int
}

type fakePartition struct {
	batches [][]byte
	next    int64
}

func startNative(t testing.TB) *fakeNative {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeNative{ln: ln}
	f.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, c)
			f.mu.Unlock()
			f.wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

func (f *fakeNative) addr() string { return f.ln.Addr().String() }

func (f *fakeNative) serve(c net.Conn) {
	defer c.Close()
	for {
		var head [4]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		resp, answer, err := f.handle(b)
		if err != nil {
			return
		}
		if !answer {
			continue
		}
		out := append([]byte{0, 0, 0, 0}, b[4:8]...) // the correlation id
		if resp.IsFlexible() && resp.Key() != apiVersionsKey {
			out = append(out, 0)
		}
		out = resp.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

var errHangUp = errors.New("hanging up")

func (f *fakeNative) handle(b []byte) (resp kmsg.Response, answer bool, err error) {
	req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(b)))
	req.SetVersion(int16(binary.BigEndian.Uint16(b[2:])))
	rest := b[8:]
	if n := int16(binary.BigEndian.Uint16(rest)); n >= 0 {
		rest = rest[n:]
	}
	rest = rest[2:]
	if req.IsFlexible() {
		rest = rest[1:]
	}
	if err := req.ReadFrom(rest); err != nil {
		return nil, false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	host, port, _ := net.SplitHostPort(f.addr())
	resp, answer = req.ResponseKind(), true
	switch r := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		for _, k := range [][3]int16{{0, 0, 7}, {1, 4, 10}, {2, 0, 5}, {3, 0, 9}, {18, 0, 3}, {19, 0, 5}} {
			key := kmsg.NewApiVersionsResponseApiKey()
			key.ApiKey, key.MinVersion, key.MaxVersion = k[0], k[1], k[2]
			r.ApiKeys = append(r.ApiKeys, key)
		}
	case *kmsg.MetadataResponse:
		broker := kmsg.NewMetadataResponseBroker()
		n, _ := strconv.Atoi(port)
		broker.NodeID, broker.Host, broker.Port = 1, host, int32(n)
		r.Brokers, r.ControllerID = append(r.Brokers, broker), 1
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic = new("bench")
		if len(f.partitions) == 0 {
			topic.ErrorCode = kerr.UnknownTopicOrPartition.Code
		}
		for i := range f.partitions {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Leader, p.Replicas, p.ISR = int32(i), 1, []int32{1}, []int32{1}
			topic.Partitions = append(topic.Partitions, p)
		}
		r.Topics = append(r.Topics, topic)
	case *kmsg.CreateTopicsResponse:
		for _, t := range req.(*kmsg.CreateTopicsRequest).Topics {
			topic := kmsg.NewCreateTopicsResponseTopic()
			topic.Topic = t.Topic
			if len(f.partitions) > 0 {
				topic.ErrorCode = kerr.TopicAlreadyExists.Code
			} else {
				f.partitions = make([]fakePartition, t.NumPartitions)
			}
			r.Topics = append(r.Topics, topic)
		}
	case *kmsg.ListOffsetsResponse:
		for _, t := range req.(*kmsg.ListOffsetsRequest).Topics {
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic = t.Topic
			for _, q := range t.Partitions {
				p := kmsg.NewListOffsetsResponseTopicPartition()
				p.Partition = q.Partition
				if p.Offset = 0; q.Timestamp == -1 {
					p.Offset = f.partitions[q.Partition].next
				}
				topic.Partitions = append(topic.Partitions, p)
			}
			r.Topics = append(r.Topics, topic)
		}
	case *kmsg.ProduceResponse:
		if f.produced++; f.hangUp > 0 && f.produced > f.hangUp {
			return nil, false, errHangUp
		}
		answer = f.produce(req.(*kmsg.ProduceRequest), r)
	case *kmsg.FetchResponse:
		f.fetch(req.(*kmsg.FetchRequest), r)
	}
	return resp, answer, nil
}

func (f *fakeNative) produce(req *kmsg.ProduceRequest, r *kmsg.ProduceResponse) bool {
	for _, t := range req.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic = t.Topic
		for _, q := range t.Partitions {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition, p.ErrorCode = q.Partition, f.refuse
			if f.refuse == 0 {
				into := &f.partitions[q.Partition]
				binary.BigEndian.PutUint64(q.Records, uint64(into.next))
				into.next += int64(binary.BigEndian.Uint32(q.Records[57:]))
				into.batches = append(into.batches, q.Records)
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		r.Topics = append(r.Topics, topic)
	}
	return req.Acks != 0
}

func (f *fakeNative) fetch(req *kmsg.FetchRequest, r *kmsg.FetchResponse) {
	for _, t := range req.Topics {
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic = t.Topic
		for _, q := range t.Partitions {
			p := kmsg.NewFetchResponseTopicPartition()
			from := &f.partitions[q.Partition]
			p.Partition, p.HighWatermark = q.Partition, from.next
			for _, b := range from.batches {
				if last := int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:])); last < q.FetchOffset {
					continue
				}
				if room := int(q.PartitionMaxBytes) - len(p.RecordBatches); len(p.RecordBatches) > 0 && room < len(b) {
					p.RecordBatches = append(p.RecordBatches, b[:max(room, 0)]...) // cut off, as Kafka does
					break
				}
				p.RecordBatches = append(p.RecordBatches, b...)
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		r.Topics = append(r.Topics, topic)
	}
}
