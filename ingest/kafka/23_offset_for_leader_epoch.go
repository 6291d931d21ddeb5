package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetForLeaderEpoch: where the records of an epoch end, so that a client or follower finds where its log diverges.
// KIP-101, KIP-279 (the epoch found is told), KIP-320 (fencing).
func (s *Server) offsetForLeaderEpoch(_ context.Context, q *call, req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := new(kmsg.OffsetForLeaderEpochResponse)
	resp.Default()
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		for j := range t.Partitions {
			p := &t.Partitions[j]
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, -1, -1
			rp.ErrorCode = q.fail(s.epochEnd(q, t.Topic, p, &rp))
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (s *Server) epochEnd(q *call, topic string, p *kmsg.OffsetForLeaderEpochRequestTopicPartition, rp *kmsg.OffsetForLeaderEpochResponseTopicPartition) errorCode {
	part, err := s.logs.Partition(topic, p.Partition)
	if err != nil {
		return codeOf(err)
	}
	if q.version >= 2 {
		if code := checkEpoch(part, p.CurrentLeaderEpoch); code != codeNone {
			return code
		}
	}
	if p.LeaderEpoch >= 0 && p.LeaderEpoch <= part.LeaderEpoch() {
		rp.LeaderEpoch, rp.EndOffset = part.EpochEnd(p.LeaderEpoch)
	}
	return codeNone
}
