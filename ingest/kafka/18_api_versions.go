package kafka

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions: what is served. KIP-35, KIP-511.
//
// A version that is not served is answered in the encoding of version 0 with the range of this key, so that the client can
// ask again. No features are announced: transactions and the new group protocol come with their APIs.
func (s *Server) apiVersions(_ context.Context, q *call) (answer, error) {
	req := new(kmsg.ApiVersionsRequest)
	resp := new(kmsg.ApiVersionsResponse)
	resp.Default()
	if q.unsupported {
		resp.ErrorCode = q.fail(codeUnsupportedVersion)
		resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{apiRange(q.api)}
		return message{resp}, nil
	}
	if err := q.decode(req); err != nil {
		return nil, err
	}
	if q.version >= 3 {
		if !softwareName(req.ClientSoftwareName) || !softwareName(req.ClientSoftwareVersion) {
			resp.ErrorCode = q.fail(codeInvalidRequest)
			return message{resp}, nil
		}
		q.conn.log.Debug("native client", "client_id", q.clientID, "software", req.ClientSoftwareName, "software_version", req.ClientSoftwareVersion)
	}
	resp.ApiKeys = make([]kmsg.ApiVersionsResponseApiKey, 0, len(s.apis))
	for i := range s.apis {
		resp.ApiKeys = append(resp.ApiKeys, apiRange(&s.apis[i]))
	}
	return message{resp}, nil
}

func apiRange(a *api) kmsg.ApiVersionsResponseApiKey {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = a.key, a.min, a.max
	return k
}

// softwareName checks what KIP-511 asks: letters, digits, '-' and '.', the last two not at an end.
func softwareName(name string) bool {
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return name != "" && strings.Trim(name, alnum+"-.") == "" &&
		strings.IndexByte(alnum, name[0]) >= 0 && strings.IndexByte(alnum, name[len(name)-1]) >= 0
}
