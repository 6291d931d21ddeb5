package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/replica"
)

// toHighWatermark stands for the high watermark, where an offset is asked for: all records go.
const toHighWatermark = -1

// startsAtOnce is how many partitions' starts are moved at a time. They become durable together, so that a request for
// many partitions waits for few commits.
const startsAtOnce = 64

var errKeepsRecords = errors.New("the topic's cleanup.policy does not hold delete")

// DeleteRecords: the records of partitions that lie before an offset. KIP-107. The answer tells each partition's new start
// once that is durable; an offset before the start changes nothing. A partition that occurs twice is INVALID_REQUEST.
//
// The request's timeout is for followers to come along, of which there are none.
func (s *Server) deleteRecords(_ context.Context, q *call, req *kmsg.DeleteRecordsRequest) kmsg.Response {
	resp := new(kmsg.DeleteRecordsResponse)
	resp.Default()
	seen := map[TopicPartition]bool{}
	resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(req.Topics))
	var g errgroup.Group
	g.SetLimit(startsAtOnce)
	for i := range req.Topics {
		t, rt := &req.Topics[i], &resp.Topics[i]
		rt.Default()
		rt.Topic = t.Topic
		rt.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p, rp := &t.Partitions[j], &rt.Partitions[j]
			rp.Default()
			rp.Partition, rp.LowWatermark = p.Partition, -1
			tp := TopicPartition{t.Topic, p.Partition}
			if seen[tp] {
				rp.ErrorCode = int16(codeInvalidRequest)
				continue
			}
			seen[tp] = true
			g.Go(func() error {
				low, err := s.deleteRecordsOf(t.Topic, p.Partition, p.Offset)
				if err != nil {
					rp.ErrorCode = int16(codeOf(err))
				} else {
					rp.LowWatermark = low
				}
				return nil
			})
		}
	}
	_ = g.Wait() // each partition has its own error
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			q.fail(errorCode(resp.Topics[i].Partitions[j].ErrorCode))
		}
	}
	return resp
}

// deleteRecordsOf deletes what a partition has before an offset and returns where it starts then.
func (s *Server) deleteRecordsOf(topic string, index int32, before int64) (low int64, err error) {
	if t := s.meta.State().Topic(topic); t != nil && index >= 0 && int(index) < len(t.Partitions) && meta.InternalTopic(topic) {
		return 0, errInternalTopic
	}
	part, err := s.logs.Partition(topic, index)
	if err != nil {
		return 0, err
	}
	if !part.Config().Delete {
		return 0, errKeepsRecords
	}
	if before == toHighWatermark {
		before = part.HighWatermark()
	}
	if before < 0 {
		return 0, fmt.Errorf("%w: offset %d", replica.ErrOffsetOutOfRange, before)
	}
	if err := part.DeleteRecords(before); err != nil {
		return 0, err
	}
	return part.StartOffset(), nil
}
