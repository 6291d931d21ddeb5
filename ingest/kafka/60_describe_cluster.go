package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster: the brokers. KIP-700, KIP-919 (endpoint type: there are no controllers of their own), KIP-1073 (fenced
// brokers).
func (s *Server) describeCluster(_ context.Context, q *call, req *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := new(kmsg.DescribeClusterResponse)
	resp.Default()
	resp.EndpointType, resp.ControllerID = 1, -1
	if q.version >= 1 && req.EndpointType != 1 {
		code, text := codeUnsupportedEndpointType, "there are brokers (1) only"
		if req.EndpointType == 2 {
			code = codeMismatchedEndpointType
		}
		resp.ErrorCode, resp.ErrorMessage = q.fail(code), &text
		return resp
	}
	st := s.meta.State()
	resp.ClusterID, resp.ControllerID = st.ClusterID, s.defaults().Node()
	for _, b := range s.brokers(st, q.conn, q.version >= 2 && req.IncludeFencedBrokers) {
		rb := kmsg.NewDescribeClusterResponseBroker()
		rb.NodeID, rb.Host, rb.Port, rb.Rack, rb.IsFenced = b.id, b.host, b.port, b.rack, b.fenced
		resp.Brokers = append(resp.Brokers, rb)
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	return resp
}
