package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/quorum"
)

// CreateTopics. KIP-4, KIP-195 (validateOnly), KIP-464 (defaults, served to every version), KIP-525 (the answer tells the
// configuration), KIP-516 (ids).
//
// Each topic is created by itself: one that is refused leaves the others alone. The answer comes when the partitions can
// be used. Internal topics are culvert's own to create.
func (s *Server) createTopics(ctx context.Context, q *call, req *kmsg.CreateTopicsRequest) kmsg.Response {
	ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	resp := new(kmsg.CreateTopicsResponse)
	resp.Default()
	count := make(map[string]int, len(req.Topics))
	for i := range req.Topics {
		count[req.Topics[i].Topic]++
	}
	p := proposer{s: s, dry: q.version >= 1 && req.ValidateOnly, state: s.meta.State()}
	for i := range req.Topics {
		t := &req.Topics[i]
		n := count[t.Topic]
		if n < 0 {
			continue // answered by its first occurrence
		}
		count[t.Topic] = -1
		rt := kmsg.NewCreateTopicsResponseTopic()
		rt.Topic = t.Topic
		c, err := s.createTopic(t, n > 1)
		if err == nil {
			var r meta.Result
			if r, err = p.propose(ctx, c); err == nil {
				s.describeCreated(ctx, &p, r.Topic, &rt)
			}
		}
		if err != nil {
			rt.ErrorCode, rt.ErrorMessage = q.fail(codeOf(err)), errorText(err)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// createTopic makes a command of one topic of the request.
func (s *Server) createTopic(t *kmsg.CreateTopicsRequestTopic, twice bool) (*meta.CreateTopic, error) {
	switch {
	case twice:
		return nil, fmt.Errorf("%w: topic %.249q occurs twice", meta.ErrInvalidRequest, t.Topic)
	case meta.InternalTopic(t.Topic):
		return nil, fmt.Errorf("%w: %s is an internal topic, which is created when it is needed", meta.ErrInvalidTopic, t.Topic)
	case len(t.ReplicaAssignment) > 0 && (t.NumPartitions != -1 || t.ReplicationFactor != -1):
		return nil, fmt.Errorf("%w: with an assignment, partitions and replication factor must be -1", meta.ErrInvalidRequest)
	}
	c := &meta.CreateTopic{Name: t.Topic, ID: quorum.NewTopicID(), Configs: make(map[string]string, len(t.Configs))}
	for i := range t.Configs {
		kv := &t.Configs[i]
		if kv.Value == nil {
			return nil, &meta.ConfigError{Key: kv.Name, Reason: "null is not a value"}
		}
		if _, ok := c.Configs[kv.Name]; ok {
			return nil, fmt.Errorf("%w: configuration %.100q is given twice", meta.ErrInvalidRequest, kv.Name)
		}
		c.Configs[kv.Name] = *kv.Value
	}
	if n := len(t.ReplicaAssignment); n > 0 {
		c.Assignment = make([][]int32, n)
		for i := range t.ReplicaAssignment {
			a := &t.ReplicaAssignment[i]
			if a.Partition < 0 || int(a.Partition) >= n || c.Assignment[a.Partition] != nil {
				return nil, fmt.Errorf("%w: partitions must be numbered 0 to %d, each once", meta.ErrInvalidReplicaAssignment, n-1)
			}
			c.Assignment[a.Partition] = append([]int32{}, a.Replicas...)
		}
		return c, nil
	}
	cfg := &s.now().broker
	if c.Partitions = t.NumPartitions; c.Partitions == -1 {
		c.Partitions = cfg.NumPartitions
	}
	if c.ReplicationFactor = t.ReplicationFactor; c.ReplicationFactor == -1 {
		c.ReplicationFactor = cfg.DefaultReplicationFactor
	}
	return c, nil
}

func (s *Server) describeCreated(ctx context.Context, p *proposer, t *meta.Topic, rt *kmsg.CreateTopicsResponseTopic) {
	rt.NumPartitions = int32(len(t.Partitions))                      //nolint:gosec // meta bounds the number of partitions
	rt.ReplicationFactor = int16(len(t.Partitions[0].Replicas))      //nolint:gosec // meta bounds the number of replicas
	rt.Configs = make([]kmsg.CreateTopicsResponseTopicConfig, 0, 40) // about as many as there are keys
	for _, e := range p.state.DescribeTopicConfigs(t, s.defaults()) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.ReadOnly, c.Source, c.IsSensitive = e.Name, e.Value, e.ReadOnly, int8(e.Source), e.Sensitive
		rt.Configs = append(rt.Configs, c)
	}
	if !p.dry {
		rt.TopicID = t.ID
		s.awaitTopic(ctx, t)
	}
}

// proposer has commands carried out, or only checked against a state that those before them would leave.
type proposer struct {
	s     *Server
	dry   bool
	state *meta.State // after the last command
}

func (p *proposer) propose(ctx context.Context, c meta.Command) (meta.Result, error) {
	if p.dry {
		next, r, err := p.state.Apply(c)
		p.state = next
		return r, err
	}
	r, err := p.s.meta.Propose(ctx, c)
	p.state = p.s.meta.State()
	if err != nil && codeOf(err) == codeUnknownServerError {
		p.s.log.Error("metadata could not be changed", "command", fmt.Sprintf("%T", c), "error", err)
	}
	return r, err
}

// withTimeout bounds ctx by what a request asks for; Kafka's clients always ask for something.
func withTimeout(ctx context.Context, ms int32) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(max(ms, 0))*time.Millisecond)
}
