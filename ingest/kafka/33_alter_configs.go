package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
)

// AlterConfigs: replaces the whole configuration of a resource; what is not named returns to its default. KIP-133. A
// resource that occurs twice is INVALID_REQUEST.
func (s *Server) alterConfigs(ctx context.Context, q *call, req *kmsg.AlterConfigsRequest) kmsg.Response {
	resp := new(kmsg.AlterConfigsResponse)
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
		rr := kmsg.NewAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		ops := make([]meta.ConfigOp, 0, len(r.Configs))
		err := twiceError(res, n)
		for j := range r.Configs {
			c := &r.Configs[j]
			if c.Value == nil {
				err = nullError(c.Name)
				break
			}
			ops = append(ops, meta.ConfigOp{Key: c.Name, Op: meta.OpSet, Value: *c.Value})
		}
		if err == nil {
			err = s.alterResource(ctx, &p, res, ops, true)
		}
		if err != nil {
			rr.ErrorCode, rr.ErrorMessage = q.fail(codeOf(err)), errorText(err)
		}
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}
