package kafka

import (
	"context"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
)

// maxDescribedPartitions is how many partitions one answer holds (max.request.partition.size.limit).
const maxDescribedPartitions = 2000

// DescribeTopicPartitions: topics page by page. KIP-966; eligible leader replicas are not tracked apart from the ISR.
func (s *Server) describeTopicPartitions(_ context.Context, q *call, req *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	resp := new(kmsg.DescribeTopicPartitionsResponse)
	resp.Default()
	st := s.meta.State()
	left := min(int(max(req.ResponsePartitionLimit, 1)), maxDescribedPartitions)
	for _, name := range describedTopics(st, req) {
		from := 0
		if req.Cursor != nil && req.Cursor.Topic == name {
			from = int(max(req.Cursor.Partition, 0))
		}
		if left == 0 {
			resp.NextCursor = nextCursor(name, from)
			break
		}
		t := st.Topic(name)
		if t == nil {
			rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
			rt.Topic = &name
			code := codeUnknownTopicOrPartition
			if err := meta.CheckTopicName(name); err != nil {
				code = codeOf(err)
			}
			rt.ErrorCode = q.fail(code)
			resp.Topics = append(resp.Topics, rt)
			continue
		}
		from = min(from, len(t.Partitions))
		to := min(from+left, len(t.Partitions))
		resp.Topics = append(resp.Topics, describedTopic(st, t, from, to))
		left -= to - from
		if to < len(t.Partitions) {
			resp.NextCursor = nextCursor(name, to)
			break
		}
	}
	return resp
}

// describedTopics are the names asked for, or all, in order and from the cursor on.
func describedTopics(st *meta.State, req *kmsg.DescribeTopicPartitionsRequest) []string {
	var names []string
	if len(req.Topics) == 0 {
		names = slices.Sorted(maps.Keys(st.Topics))
	}
	for i := range req.Topics {
		names = append(names, req.Topics[i].Topic)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if req.Cursor == nil {
		return names
	}
	i, _ := slices.BinarySearch(names, req.Cursor.Topic)
	return names[i:]
}

func nextCursor(topic string, partition int) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, int32(partition) //nolint:gosec // meta bounds the number of partitions
	return &c
}

func describedTopic(st *meta.State, t *meta.Topic, from, to int) kmsg.DescribeTopicPartitionsResponseTopic {
	rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal = &t.Name, t.ID, t.Internal
	rt.AuthorizedOperations = topicOperations
	for i := from; i < to; i++ {
		p := &t.Partitions[i]
		rp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		rp.Partition = int32(i) //nolint:gosec // meta bounds the number of partitions
		rp.LeaderID, rp.LeaderEpoch = p.Leader, p.LeaderEpoch
		rp.Replicas, rp.ISR, rp.OfflineReplicas = p.Replicas, p.ISR, offline(st, p)
		rp.EligibleLeaderReplicas, rp.LastKnownELR = []int32{}, []int32{} // none, not null: the Java client fails on null
		if p.Leader < 0 {
			rp.ErrorCode = int16(codeLeaderNotAvailable)
		}
		rt.Partitions = append(rt.Partitions, rp)
	}
	return rt
}
