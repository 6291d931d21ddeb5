package kafka

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/quorum"
)

// Metadata: brokers, topics, leaders; creates the topics that are named and missing, if the client and the configuration
// allow it. KIP-4, KIP-320 (epochs), KIP-430 (authorized operations), KIP-516 (topic ids).
//
// Every broker may be named the controller: all of them take administrative requests. Everybody is authorized for every
// operation. A topic that occurs twice is answered once.
func (s *Server) metadata(ctx context.Context, q *call, req *kmsg.MetadataRequest) kmsg.Response {
	resp := new(kmsg.MetadataResponse)
	resp.Default()
	all := req.Topics == nil || q.version == 0 && len(req.Topics) == 0
	create := q.version < 4 || req.AllowAutoTopicCreation
	if !all {
		resp.Topics = s.metadataOf(ctx, q, req, create)
	}
	st := s.meta.State()
	if all {
		for _, t := range st.SortedTopics() {
			resp.Topics = append(resp.Topics, metadataTopic(st, t, req.IncludeTopicAuthorizedOperations))
		}
	}
	for _, b := range s.brokers(st, q.conn, false) {
		mb := kmsg.NewMetadataResponseBroker()
		mb.NodeID, mb.Host, mb.Port, mb.Rack = b.id, b.host, b.port, b.rack
		resp.Brokers = append(resp.Brokers, mb)
	}
	resp.ControllerID = s.defaults().Node()
	resp.ClusterID = &st.ClusterID
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	return resp
}

// Bits of the operations that may be authorized (KIP-430), all of them.
const (
	topicOperations   int32 = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations int32 = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

func (s *Server) metadataOf(ctx context.Context, q *call, req *kmsg.MetadataRequest, create bool) []kmsg.MetadataResponseTopic {
	type ask struct {
		name string
		id   meta.TopicID
	}
	seen := make(map[ask]bool, len(req.Topics))
	out := make([]kmsg.MetadataResponseTopic, 0, len(req.Topics))
	bad := false
	for i := range req.Topics {
		t := &req.Topics[i]
		bad = bad || t.Topic == nil && t.TopicID == [16]byte{} || q.version < 12 && t.TopicID != [16]byte{}
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		a := ask{id: t.TopicID}
		if t.Topic != nil && a.id.IsZero() {
			a.name = *t.Topic
		}
		if seen[a] {
			continue
		}
		seen[a] = true
		if bad {
			out = append(out, failedTopic(t.Topic, t.TopicID, q.fail(codeInvalidRequest)))
			continue
		}
		out = append(out, s.metadataOne(ctx, q, a.name, a.id, create, req.IncludeTopicAuthorizedOperations))
	}
	return out
}

func (s *Server) metadataOne(ctx context.Context, q *call, name string, id meta.TopicID, create, ops bool) kmsg.MetadataResponseTopic {
	f := s.now()
	st, cfg := f.state, &f.broker
	if !id.IsZero() {
		if t := st.TopicByID(id); t != nil {
			return metadataTopic(st, t, ops)
		}
		return failedTopic(nil, id, q.fail(codeUnknownTopicID))
	}
	if t := st.Topic(name); t != nil {
		return metadataTopic(st, t, ops)
	}
	if err := meta.CheckTopicName(name); err != nil {
		return failedTopic(&name, id, q.fail(codeOf(err)))
	}
	if !create || !cfg.AutoCreateTopics || meta.InternalTopic(name) {
		return failedTopic(&name, id, q.fail(codeUnknownTopicOrPartition))
	}
	c := &meta.CreateTopic{Name: name, ID: quorum.NewTopicID(), Partitions: cfg.NumPartitions, ReplicationFactor: cfg.DefaultReplicationFactor}
	if _, err := s.meta.Propose(ctx, c); err != nil && !errors.Is(err, meta.ErrTopicExists) {
		s.log.Warn("topic could not be created for a client", "topic", name, "error", err)
		code := codeOf(err)
		if errors.Is(err, meta.ErrInvalidReplicationFactor) {
			code = codeLeaderNotAvailable // too few brokers are up; the client asks again
		}
		return failedTopic(&name, id, q.fail(code))
	}
	st = s.meta.State()
	t := st.Topic(name)
	if t == nil { // deleted at once by somebody else
		return failedTopic(&name, id, q.fail(codeUnknownTopicOrPartition))
	}
	s.awaitTopic(ctx, t)
	return metadataTopic(st, t, ops)
}

func failedTopic(name *string, id meta.TopicID, code int16) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID, t.ErrorCode = name, id, code
	if name == nil && id.IsZero() {
		t.Topic = new(string)
	}
	return t
}

func metadataTopic(st *meta.State, topic *meta.Topic, ops bool) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID, t.IsInternal = &topic.Name, topic.ID, topic.Internal
	if ops {
		t.AuthorizedOperations = topicOperations
	}
	t.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(topic.Partitions))
	for i := range topic.Partitions {
		from, p := &topic.Partitions[i], &t.Partitions[i]
		p.Default()
		p.Partition = int32(i)
		p.Leader, p.LeaderEpoch = from.Leader, from.LeaderEpoch
		p.Replicas, p.ISR = from.Replicas, from.ISR
		p.OfflineReplicas = offline(st, from)
		if p.Leader < 0 {
			p.ErrorCode = int16(codeLeaderNotAvailable)
		}
	}
	return t
}

// offline returns the replicas on brokers that are not there.
func offline(st *meta.State, p *meta.Partition) []int32 {
	return slices.DeleteFunc(slices.Clone(p.Replicas), func(id int32) bool {
		b, ok := st.Brokers[id]
		return ok && !b.Fenced
	})
}
