package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListOffsets: the offset for a timestamp. KIP-79, KIP-98 (isolation), KIP-207, KIP-320 (epochs), KIP-734 (max timestamp),
// KIP-405 and KIP-1005 (tiered storage, of which there is none: the local log is all there is).
//
// Version 0, which asks for the bases of segments, gets the offset looked for and nothing else. A partition that occurs
// twice is INVALID_REQUEST.
func (s *Server) listOffsets(_ context.Context, q *call, req *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := new(kmsg.ListOffsetsResponse)
	resp.Default()
	seen := map[TopicPartition]bool{}
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		rt.Partitions = make([]kmsg.ListOffsetsResponseTopicPartition, 0, len(t.Partitions))
		for j := range t.Partitions {
			p := &t.Partitions[j]
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.Offset, rp.Timestamp, rp.LeaderEpoch = p.Partition, -1, -1, -1
			tp := TopicPartition{t.Topic, p.Partition}
			code := codeInvalidRequest
			if !seen[tp] {
				seen[tp] = true
				code = s.listOffset(q, t.Topic, p, &rp, req.IsolationLevel)
			}
			rp.ErrorCode = q.fail(code)
			if q.version == 0 && code == codeNone && rp.Offset >= 0 && p.MaxNumOffsets > 0 {
				rp.OldStyleOffsets = []int64{rp.Offset}
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// Timestamps that stand for something else, and the first version that knows them.
const (
	latestTimestamp        = -1
	earliestTimestamp      = -2
	maxTimestamp           = -3 // v7
	earliestLocalTimestamp = -4 // v8
	latestTieredTimestamp  = -5 // v9
	earliestPendingUpload  = -6 // v11
)

func (s *Server) listOffset(q *call, topic string, p *kmsg.ListOffsetsRequestTopicPartition, rp *kmsg.ListOffsetsResponseTopicPartition, isolation int8) errorCode {
	part, err := s.logs.Partition(topic, p.Partition)
	if err != nil {
		return codeOf(err)
	}
	if q.version >= 4 {
		if code := checkEpoch(part, p.CurrentLeaderEpoch); code != codeNone {
			return code
		}
	}
	ts := p.Timestamp
	switch {
	case ts == latestTimestamp:
		rp.Offset = part.HighWatermark()
		if isolation != 0 {
			rp.Offset = part.LastStableOffset()
		}
		rp.LeaderEpoch, _ = part.EpochEnd(part.LeaderEpoch())
	case ts == earliestTimestamp, ts == earliestLocalTimestamp && q.version >= 8:
		rp.Offset = part.StartOffset()
		rp.LeaderEpoch = part.EpochAt(rp.Offset)
	case ts == maxTimestamp && q.version >= 7:
		if rp.Offset, rp.Timestamp, err = part.MaxTime(); rp.Offset >= 0 {
			rp.LeaderEpoch = part.EpochAt(rp.Offset)
		}
	case ts == latestTieredTimestamp && q.version >= 9, ts == earliestPendingUpload && q.version >= 11:
		// Nothing is tiered.
	case ts < 0:
		return codeUnsupportedVersion
	default:
		rp.Offset, rp.Timestamp, rp.LeaderEpoch, err = part.OffsetForTime(ts)
		if err == nil && q.version == 0 && rp.Offset < 0 {
			rp.Offset = part.HighWatermark()
		}
	}
	return codeOf(err)
}

// checkEpoch fences a client whose metadata are older, or newer, than this broker's (KIP-320). -1 is not checked.
func checkEpoch(p Partition, epoch int32) errorCode {
	switch own := p.LeaderEpoch(); {
	case epoch < 0 || epoch == own:
		return codeNone
	case epoch < own:
		return codeFencedLeaderEpoch
	default:
		return codeUnknownLeaderEpoch
	}
}
