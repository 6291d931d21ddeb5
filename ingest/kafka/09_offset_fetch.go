package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
)

// OffsetFetch: how far groups have read. KIP-320 (epochs), KIP-447 (stable offsets: without transactions all are),
// KIP-709 (several groups), KIP-848 and KIP-516 (topic ids).
//
// A partition for which nothing is committed, or that does not exist, has the offset -1 and no error.
func (s *Server) offsetFetch(ctx context.Context, q *call, req *kmsg.OffsetFetchRequest) kmsg.Response {
	resp := new(kmsg.OffsetFetchResponse)
	resp.Default()
	if q.version >= 8 {
		for i := range req.Groups {
			resp.Groups = append(resp.Groups, s.offsetsOfGroup(ctx, q, &req.Groups[i]))
		}
		return resp
	}
	// The older form is one group of the newer.
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = req.Group
	if req.Topics != nil || q.version < 2 {
		g.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, len(req.Topics))
	}
	for i := range req.Topics {
		g.Topics[i].Topic, g.Topics[i].Partitions = req.Topics[i].Topic, req.Topics[i].Partitions
	}
	rg := s.offsetsOfGroup(ctx, q, &g)
	resp.ErrorCode = rg.ErrorCode
	for i := range rg.Topics {
		resp.Topics = append(resp.Topics, olderTopic(&rg.Topics[i], rg.ErrorCode))
	}
	return resp
}

func olderTopic(t *kmsg.OffsetFetchResponseGroupTopic, code int16) kmsg.OffsetFetchResponseTopic {
	out := kmsg.NewOffsetFetchResponseTopic()
	out.Topic = t.Topic
	for i := range t.Partitions {
		from := &t.Partitions[i]
		p := kmsg.NewOffsetFetchResponseTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = from.Partition, from.Offset, from.LeaderEpoch, from.Metadata, from.ErrorCode
		if code != 0 {
			p.ErrorCode = code // before version 2 there is no other place for it
		}
		out.Partitions = append(out.Partitions, p)
	}
	return out
}

func (s *Server) offsetsOfGroup(ctx context.Context, q *call, g *kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group = g.Group
	st := s.meta.State()
	var asked []TopicPartition
	if g.Topics != nil {
		asked = []TopicPartition{}
	}
	seen := map[TopicPartition]bool{}
	for i := range g.Topics {
		t := &g.Topics[i]
		if q.version >= 10 {
			topic := st.TopicByID(t.TopicID)
			if topic == nil {
				out.Topics = append(out.Topics, unknownIDs(q, t))
				continue
			}
			t.Topic = topic.Name
		}
		for _, p := range t.Partitions {
			if tp := (TopicPartition{t.Topic, p}); !seen[tp] {
				seen[tp] = true
				asked = append(asked, tp)
			}
		}
	}
	if asked != nil && len(asked) == 0 {
		return out
	}
	offsets, err := s.offsets.FetchOffsets(ctx, g.Group, asked)
	if err != nil {
		code := codeOf(err)
		if code == codeUnknownServerError {
			s.log.Error("committed offsets could not be read", "group", g.Group, "error", err)
		}
		out.ErrorCode = q.fail(groupCode(code))
		offsets = offsets[:0]
		for _, tp := range asked {
			offsets = append(offsets, CommittedOffset{tp, -1, -1, ""})
		}
	}
	appendOffsets(&out, st, offsets)
	return out
}

// appendOffsets groups offsets by topic, where those of a topic follow one another.
func appendOffsets(out *kmsg.OffsetFetchResponseGroup, st *meta.State, offsets []CommittedOffset) {
	for i := range offsets {
		o := &offsets[i]
		if n := len(out.Topics); n == 0 || out.Topics[n-1].Topic != o.Topic {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			t.Topic = o.Topic
			if topic := st.Topic(o.Topic); topic != nil {
				t.TopicID = topic.ID
			}
			out.Topics = append(out.Topics, t)
		}
		p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = o.Partition, o.Offset, o.LeaderEpoch, &o.Metadata
		t := &out.Topics[len(out.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
}

func unknownIDs(q *call, t *kmsg.OffsetFetchRequestGroupTopic) kmsg.OffsetFetchResponseGroupTopic {
	out := kmsg.NewOffsetFetchResponseGroupTopic()
	out.TopicID = t.TopicID
	for _, i := range t.Partitions {
		p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = i, -1, -1, new(string), q.fail(codeUnknownTopicID)
		out.Partitions = append(out.Partitions, p)
	}
	return out
}
