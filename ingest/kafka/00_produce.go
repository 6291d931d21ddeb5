package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
)

// Produce: one record batch for each partition. KIP-98 (idempotence), KIP-110 (zstd), KIP-467 (errors of records), KIP-516
// (topic ids), KIP-951 (leader hints).
//
// acks=1 and acks=-1 both answer when the records are durable. Versions 0 to 2, which carry older message formats, are
// announced because librdkafka would not compress without them, and answered with UNSUPPORTED_VERSION, as by Kafka 4. There
// are no transactions.
//
// The reading goroutine appends each batch as soon as it is there, in order, while the rest of the request is still on its
// way: a large request needs no more memory than its largest batch, which the log then owns. If the connection breaks inside
// a request, what came before the break is in the log, as it also is when the answer is lost. The answer waits in the queue
// until the records are durable.
func (s *Server) produce(_ context.Context, q *call) (answer, error) {
	f := q.frame
	h := produceHead{}
	if q.version >= 3 {
		n := f.length(2)
		h.transactional = n >= 0
		f.skip(max(n, 0))
	}
	h.acks = f.int16()
	timeout := f.int32()
	a := &produced{}
	a.resp.Default()
	for range f.array() {
		if !f.element() {
			break
		}
		s.produceTopic(q, f, &h, a)
	}
	f.tags()
	if f.err != nil {
		return nil, f.err
	}
	if a.silent = h.acks == 0; a.silent && q.code != codeNone {
		return nil, errUnacknowledged
	}
	q.arrived = time.Now()
	a.until = q.arrived.Add(time.Duration(max(timeout, 0)) * time.Millisecond)
	return a, nil
}

// produceHead is what a request says before its topics.
type produceHead struct {
	acks          int16
	transactional bool
}

// errUnacknowledged closes the connection of a producer that wants no answers: it has no other way to learn of an error.
var errUnacknowledged = errors.New("kafka: records without acknowledgement could not be appended")

// produceTopic reads what one topic is sent, and appends it.
func (s *Server) produceTopic(q *call, f *frameReader, h *produceHead, a *produced) {
	rt := kmsg.NewProduceResponseTopic()
	if q.version >= 13 {
		rt.TopicID = f.uuid()
	} else {
		rt.Topic = f.text()
	}
	for range f.array() {
		if !f.element() {
			return
		}
		rp := kmsg.NewProduceResponseTopicPartition()
		rp.Partition = f.int32()
		size := max(f.length(4), 0)
		ad, memory, err := s.appendRecords(q, h, &rt, rp.Partition, size)
		if f.tags(); f.err != nil {
			return
		}
		if err != nil {
			a.refuse(s, q, &rt, &rp, err)
		} else {
			rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = ad.BaseOffset, ad.LogAppendTime, ad.StartOffset
			if ad.Commit != nil {
				a.pending = append(a.pending, pendingBatch{ad.Commit, len(a.resp.Topics), len(rt.Partitions), memory})
			}
		}
		rt.Partitions = append(rt.Partitions, rp)
	}
	f.tags()
	a.resp.Topics = append(a.resp.Topics, rt)
}

// appendRecords checks what one partition is sent, the next size bytes of the frame, and appends it. Those bytes are always
// consumed; they are not kept in memory if they are to be refused whatever they are. It returns the memory that the log has
// been given with them.
func (s *Server) appendRecords(q *call, h *produceHead, t *kmsg.ProduceResponseTopic, index int32, size int64) (_ Appended, memory []byte, err error) {
	f := q.frame
	part, err := s.producePartition(q, h, t, index)
	if err == nil && size > int64(part.Config().MaxMessageBytes) {
		err = fmt.Errorf("%w: %d bytes, %d are allowed", errMessageTooLarge, size, part.Config().MaxMessageBytes)
	}
	if err != nil || f.err != nil {
		f.skip(size)
		return Appended{}, nil, err
	}
	records, err := q.conn.fill(f.br, size)
	if err != nil {
		f.err = err
		return Appended{}, nil, err
	}
	f.left -= size
	defer s.budget.give(size) // once appended it counts against the log's own bound
	b, err := s.checkRecords(q, part, records)
	if err != nil {
		slabs.put(records)
		return Appended{}, nil, err
	}
	count, bytes := b.Count(), len(b) // b is the log's from here on
	a, err := part.AppendBatch(b)
	if err == nil && !a.Duplicate {
		s.metrics.records.Add(float64(count))
		s.metrics.batches.Inc()
		s.metrics.produceBytes.Add(float64(bytes))
		memory = records
	}
	return a, memory, err
}

// producePartition finds the partition, or why it may not be written to.
func (s *Server) producePartition(q *call, h *produceHead, t *kmsg.ProduceResponseTopic, index int32) (Partition, error) {
	switch {
	case q.version < 3:
		return nil, errOldFormat
	case h.transactional:
		return nil, errNoTransactions
	case h.acks < -1 || h.acks > 1:
		return nil, errAcks
	}
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
