package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
)

// DeleteTopics, by name or by id. KIP-4, KIP-516, KIP-322 (delete.topic.enable), KIP-599 (messages).
func (s *Server) deleteTopics(ctx context.Context, q *call, req *kmsg.DeleteTopicsRequest) kmsg.Response {
	ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	resp := new(kmsg.DeleteTopicsResponse)
	resp.Default()
	topics := req.Topics
	if q.version < 6 {
		for _, name := range req.TopicNames {
			topics = append(topics, kmsg.DeleteTopicsRequestTopic{Topic: &name})
		}
	}
	type ask struct {
		name string
		id   meta.TopicID
	}
	asked := func(t *kmsg.DeleteTopicsRequestTopic) ask {
		a := ask{id: t.TopicID}
		if t.Topic != nil {
			a.name = *t.Topic
		}
		return a
	}
	count := make(map[ask]int, len(topics))
	for i := range topics {
		count[asked(&topics[i])]++
	}
	for i := range topics {
		t := &topics[i]
		a := asked(t)
		n := count[a]
		if n < 0 {
			continue // answered by its first occurrence
		}
		count[a] = -1
		rt := kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		deleted, err := s.deleteTopic(ctx, a.name, a.id, n > 1)
		if deleted != nil {
			rt.Topic, rt.TopicID = &deleted.Name, deleted.ID
		}
		if err != nil {
			rt.ErrorCode, rt.ErrorMessage = q.fail(codeOf(err)), errorText(err)
			if codeOf(err) == codeTopicDeletionDisabled && q.version < 3 {
				rt.ErrorCode = int16(codeInvalidRequest)
			}
		}
		if rt.Topic == nil && q.version < 6 {
			rt.Topic = new(string)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (s *Server) deleteTopic(ctx context.Context, name string, id meta.TopicID, twice bool) (*meta.Topic, error) {
	switch {
	case twice:
		return nil, fmt.Errorf("%w: topic %.249q occurs twice", meta.ErrInvalidRequest, name)
	case (name == "") == id.IsZero():
		return nil, fmt.Errorf("%w: either a topic's name or its id is needed", meta.ErrInvalidRequest)
	case !s.now().broker.DeleteTopics:
		return nil, errDeletionDisabled
	}
	p := proposer{s: s}
	r, err := p.propose(ctx, &meta.DeleteTopic{Name: name, ID: id})
	return r.Topic, err
}
