package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FindCoordinator: who keeps a group's offsets. KIP-98, KIP-699 (several keys).
//
// There are no transactions. Their coordinator is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED: the one code that
// every client takes as final, where COORDINATOR_NOT_AVAILABLE has it ask until it times out. Share groups are refused.
func (s *Server) findCoordinator(_ context.Context, q *call, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := new(kmsg.FindCoordinatorResponse)
	resp.Default()
	keys := req.CoordinatorKeys
	if q.version < 4 {
		keys = []string{req.CoordinatorKey}
	}
	for _, key := range keys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.Port = key, -1, -1
		switch req.CoordinatorType {
		case 0:
			ep := s.advertised(q.conn)
			c.NodeID, c.Host, c.Port = s.defaults().Node(), ep.host, ep.port
		case 1:
			c.ErrorCode = q.fail(codeTransactionalIDAuthorization)
			c.ErrorMessage = new("transactions are not served")
		default:
			c.ErrorCode = q.fail(codeInvalidRequest)
			c.ErrorMessage = new("coordinators of this type are not served")
		}
		resp.Coordinators = append(resp.Coordinators, c)
	}
	if q.version < 4 {
		c := &resp.Coordinators[0]
		resp.NodeID, resp.Host, resp.Port, resp.ErrorCode, resp.ErrorMessage = c.NodeID, c.Host, c.Port, c.ErrorCode, c.ErrorMessage
	}
	return resp
}
