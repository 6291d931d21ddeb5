package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
)

// CreatePartitions: more partitions for a topic. KIP-195. Every topic of the request is answered, also a repeated one.
func (s *Server) createPartitions(ctx context.Context, q *call, req *kmsg.CreatePartitionsRequest) kmsg.Response {
	ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	resp := new(kmsg.CreatePartitionsResponse)
	resp.Default()
	count := make(map[string]int, len(req.Topics))
	for i := range req.Topics {
		count[req.Topics[i].Topic]++
	}
	p := proposer{s: s, dry: req.ValidateOnly, state: s.meta.State()}
	for i := range req.Topics {
		t := &req.Topics[i]
		n := count[t.Topic]
		if n < 0 {
			continue // answered by its first occurrence
		}
		count[t.Topic] = -1
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic = t.Topic
		if err := growTopic(ctx, &p, t, n > 1); err != nil {
			rt.ErrorCode, rt.ErrorMessage = q.fail(codeOf(err)), errorText(err)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func growTopic(ctx context.Context, p *proposer, t *kmsg.CreatePartitionsRequestTopic, twice bool) error {
	if twice {
		return fmt.Errorf("%w: topic %.249q occurs twice", meta.ErrInvalidRequest, t.Topic)
	}
	c := &meta.CreatePartitions{Name: t.Topic, Count: t.Count}
	for i := range t.Assignment {
		c.Assignment = append(c.Assignment, t.Assignment[i].Replicas)
	}
	r, err := p.propose(ctx, c)
	if err == nil && !p.dry {
		p.s.awaitTopic(ctx, r.Topic)
	}
	return err
}
