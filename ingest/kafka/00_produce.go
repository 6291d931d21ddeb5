package kafka

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/replica"
)

// Produce: one record batch for each partition. KIP-98 (idempotence), KIP-110 (zstd), KIP-467 (errors of records), KIP-516
// (topic ids), KIP-951 (leader hints).
//
// acks=1 and acks=-1 both answer when the records are durable. Versions 0 to 2, which carry older message formats, are
// announced because librdkafka would not compress without them, and answered with UNSUPPORTED_VERSION, as by Kafka 4. There
// are no transactions.
//
// Batches are appended by the reading goroutine, in order, and the log owns the frame they lie in; the answer waits in the
// queue until they are durable.
func (s *Server) produce(_ context.Context, q *call) (answer, error) {
	req := new(kmsg.ProduceRequest)
	if err := q.decode(req); err != nil {
		return nil, err
	}
	a := &produced{until: q.arrived.Add(time.Duration(max(req.TimeoutMillis, 0)) * time.Millisecond)}
	a.resp.Default()
	a.resp.Topics = make([]kmsg.ProduceResponseTopic, len(req.Topics))
	own := q.keepsFrame(req)
	for i := range req.Topics {
		t, rt := &req.Topics[i], &a.resp.Topics[i]
		rt.Default()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p, rp := &t.Partitions[j], &rt.Partitions[j]
			rp.Default()
			rp.Partition = p.Partition
			if !own {
				p.Records = bytes.Clone(p.Records)
			}
			ad, err := s.appendRecords(q, req, t, p)
			if err != nil {
				a.refuse(s, q, t, rp, err)
				continue
			}
			rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = ad.BaseOffset, ad.LogAppendTime, ad.StartOffset
			if ad.Commit != nil {
				a.pending = append(a.pending, pendingBatch{ad.Commit, i, j})
			}
		}
	}
	if a.silent = req.Acks == 0; a.silent && q.code != codeNone {
		return nil, errUnacknowledged
	}
	return a, nil
}

// errUnacknowledged closes the connection of a producer that wants no answers: it has no other way to learn of an error.
var errUnacknowledged = errors.New("kafka: records without acknowledgement could not be appended")

// keepsFrame tells whether the batches may stay in the frame. If the frame is mostly something else, they would keep more
// memory than the log accounts for.
func (q *call) keepsFrame(req *kmsg.ProduceRequest) bool {
	size := int64(0)
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			size += int64(len(req.Topics[i].Partitions[j].Records))
		}
	}
	return size*2 >= q.size-512
}

// appendRecords checks what one partition is sent and appends it.
func (s *Server) appendRecords(q *call, req *kmsg.ProduceRequest, t *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition) (Appended, error) {
	switch {
	case q.version < 3:
		return Appended{}, errOldFormat
	case req.TransactionID != nil:
		return Appended{}, errNoTransactions
	case req.Acks < -1 || req.Acks > 1:
		return Appended{}, errAcks
	}
	for range 2 {
		part, err := s.producePartition(q, t, p.Partition)
		if err != nil {
			return Appended{}, err
		}
		b, err := s.checkRecords(q, part, p.Records)
		if err != nil {
			return Appended{}, err
		}
		n, size, duplicate := b.Count(), len(b), false
		a, err := part.AppendBatch(b)
		if errors.Is(err, replica.ErrGone) {
			continue // the topic was deleted a moment ago; perhaps there is another of that name
		}
		if duplicate = a.Duplicate; err == nil && !duplicate {
			s.metrics.records.Add(float64(n))
			s.metrics.batches.Inc()
			s.metrics.produceBytes.Add(float64(size))
		}
		return a, err
	}
	return Appended{}, replica.ErrUnknownTopicOrPartition
}

func (s *Server) producePartition(q *call, t *kmsg.ProduceRequestTopic, index int32) (Partition, error) {
	var part Partition
	var err error
	if q.version >= 13 {
		part, err = s.partitionByID(t.TopicID, index)
	} else {
		part, err = s.logs.Partition(t.Topic, index)
	}
	if err == nil && meta.InternalTopic(part.Topic()) && q.clientID != adminClient {
		return nil, errInternalTopic
	}
	return part, err
}

// adminClient is the client id that may write to internal topics, as in Kafka.
const adminClient = "__admin_client"
