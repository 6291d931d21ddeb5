package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetCommit: how far a group has read. KIP-320 (epochs), KIP-345 (instances), KIP-848 and KIP-516 (topic ids).
//
// The answer comes when the offsets are durable: all that are acceptable are stored together. The retention that versions
// 2 to 4 ask for is not honoured, that of the configuration is.
func (s *Server) offsetCommit(ctx context.Context, q *call, req *kmsg.OffsetCommitRequest) kmsg.Response {
	resp := new(kmsg.OffsetCommitResponse)
	resp.Default()
	commit := OffsetCommit{Group: req.Group, Generation: -1, MemberID: req.MemberID, InstanceID: req.InstanceID}
	if q.version >= 1 {
		commit.Generation = req.Generation
	}
	type place struct{ topic, partition int }
	var accepted []place
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p, rp := &t.Partitions[j], &rt.Partitions[j]
			rp.Default()
			rp.Partition = p.Partition
			name, code := s.topicToCommit(q, t, p)
			if rp.ErrorCode = q.fail(code); code != codeNone {
				continue
			}
			c := CommittedOffset{TopicPartition{name, p.Partition}, p.Offset, p.LeaderEpoch, ""}
			if q.version < 6 {
				c.LeaderEpoch = -1
			}
			if p.Metadata != nil {
				c.Metadata = *p.Metadata
			}
			commit.Offsets = append(commit.Offsets, c)
			accepted = append(accepted, place{i, j})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if len(accepted) == 0 {
		return resp
	}
	if err := s.offsets.CommitOffsets(ctx, commit); err != nil {
		code := codeOf(err)
		if code == codeUnknownServerError {
			s.log.Error("offsets could not be committed", "group", req.Group, "error", err)
		}
		for _, a := range accepted {
			resp.Topics[a.topic].Partitions[a.partition].ErrorCode = q.fail(groupCode(code))
		}
	}
	return resp
}

// topicToCommit returns the name of the topic, or why nothing may be committed for the partition.
func (s *Server) topicToCommit(q *call, t *kmsg.OffsetCommitRequestTopic, p *kmsg.OffsetCommitRequestTopicPartition) (string, errorCode) {
	now := s.now()
	topic := now.state.Topic(t.Topic)
	if q.version >= 10 {
		if topic = now.state.TopicByID(t.TopicID); topic == nil {
			return "", codeUnknownTopicID
		}
	}
	switch {
	case topic == nil, p.Partition < 0, int(p.Partition) >= len(topic.Partitions):
		return "", codeUnknownTopicOrPartition
	case p.Metadata != nil && len(*p.Metadata) > int(now.broker.OffsetMetadataMaxBytes):
		return "", codeOffsetMetadataTooLarge
	}
	return topic.Name, codeNone
}

// groupCode turns what goes wrong with the log of the offsets into what clients expect of a coordinator.
func groupCode(code errorCode) errorCode {
	switch code {
	case codeUnknownTopicOrPartition, codeKafkaStorageError, codeRequestTimedOut:
		return codeCoordinatorNotAvailable // retriable
	case codeNotLeaderOrFollower:
		return codeNotCoordinator
	}
	return code
}
