package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
)

// IncrementalAlterConfigs: sets, deletes, appends to and subtracts from single keys. KIP-339. All keys of a resource are
// altered, or none. A resource that occurs twice is INVALID_REQUEST.
func (s *Server) incrementalAlterConfigs(ctx context.Context, q *call, req *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	resp := new(kmsg.IncrementalAlterConfigsResponse)
	resp.Default()
	count := map[configResource]int{}
	for i := range req.Resources {
		count[configResource{req.Resources[i].ResourceType, req.Resources[i].ResourceName}]++
	}
	p := proposer{s: s, dry: req.ValidateOnly, state: s.meta.State()}
	for i := range req.Resources {
		r := &req.Resources[i]
		res := configResource{r.ResourceType, r.ResourceName}
		n := count[res]
		if n < 0 {
			continue // answered by its first occurrence
		}
		count[res] = -1
		rr := kmsg.NewIncrementalAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		ops := make([]meta.ConfigOp, 0, len(r.Configs))
		err := twiceError(res, n)
		for j := range r.Configs {
			c := &r.Configs[j]
			op := meta.ConfigOp{Key: c.Name, Op: meta.Op(c.Op)}
			if c.Value != nil {
				op.Value = *c.Value
			} else if op.Op != meta.OpDelete && err == nil {
				err = nullError(c.Name)
			}
			ops = append(ops, op)
		}
		if err == nil {
			err = s.alterResource(ctx, &p, res, ops, false)
		}
		if err != nil {
			rr.ErrorCode, rr.ErrorMessage = q.fail(codeOf(err)), errorText(err)
		}
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}

// alterResource proposes what the operations make of the configuration of a topic, of this broker, or of all brokers.
func (s *Server) alterResource(ctx context.Context, p *proposer, r configResource, ops []meta.ConfigOp, replace bool) error {
	var c meta.Command
	switch r.kind {
	case kmsg.ConfigResourceTypeTopic:
		c = &meta.AlterTopicConfigs{Name: r.name, Ops: ops, Replace: replace}
	case kmsg.ConfigResourceTypeBroker:
		id, err := s.brokerOf(r)
		if err != nil {
			return err
		}
		c = &meta.AlterBrokerConfigs{Broker: id, Ops: ops, Replace: replace}
	default:
		return fmt.Errorf("%w: resources of type %d have no configuration here", meta.ErrInvalidRequest, r.kind)
	}
	_, err := p.propose(ctx, c)
	return err
}

func twiceError(r configResource, n int) error {
	if n > 1 {
		return fmt.Errorf("%w: resource %.249q occurs twice", meta.ErrInvalidRequest, r.name)
	}
	return nil
}

func nullError(key string) error {
	return fmt.Errorf("%w: null is not a value for configuration %.100q", meta.ErrInvalidRequest, key)
}
