package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// InitProducerId: an id for an idempotent producer. KIP-98, KIP-360.
//
// There are no transactions: a transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which every client
// takes as final. A producer that brings its old id (KIP-360) gets a new one, as from Kafka.
func (s *Server) initProducerID(ctx context.Context, q *call, req *kmsg.InitProducerIDRequest) kmsg.Response {
	resp := new(kmsg.InitProducerIDResponse)
	resp.Default()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if req.TransactionalID != nil {
		code := codeTransactionalIDAuthorization
		if *req.TransactionalID == "" {
			code = codeInvalidRequest
		}
		resp.ErrorCode = q.fail(code)
		return resp
	}
	id, err := s.ids.Next(ctx)
	if err != nil {
		s.log.Warn("no producer id could be allocated", "error", err)
		resp.ErrorCode = q.fail(codeCoordinatorNotAvailable) // the client asks again
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return resp
}
