package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
)

// DescribeConfigs: of topics, of this broker, and the dynamic defaults of all. KIP-133, KIP-226 (sources and synonyms),
// KIP-569 (types and documentation). A resource that occurs twice is answered once.
func (s *Server) describeConfigs(_ context.Context, q *call, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	resp := new(kmsg.DescribeConfigsResponse)
	resp.Default()
	seen := map[configResource]bool{}
	for i := range req.Resources {
		r := &req.Resources[i]
		res := configResource{r.ResourceType, r.ResourceName}
		if seen[res] {
			continue
		}
		seen[res] = true
		rr := kmsg.NewDescribeConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		entries, err := s.configsOf(res)
		if err != nil {
			rr.ErrorCode, rr.ErrorMessage = q.fail(codeOf(err)), errorText(err)
		}
		for j := range entries {
			if len(r.ConfigNames) == 0 || slices.Contains(r.ConfigNames, entries[j].Name) {
				rr.Configs = append(rr.Configs, describedConfig(&entries[j], req))
			}
		}
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}

func describedConfig(e *meta.ConfigEntry, req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.ReadOnly, c.IsSensitive = e.Name, e.Value, e.ReadOnly, e.Sensitive
	c.Source, c.IsDefault = kmsg.ConfigSource(e.Source), e.Source == meta.SourceDefault
	c.ConfigType = kmsg.ConfigType(e.Type)
	if req.IncludeDocumentation {
		c.Documentation = &e.Doc
	}
	if req.IncludeSynonyms {
		for i := range e.Synonyms {
			from := &e.Synonyms[i]
			y := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			y.Name, y.Value, y.Source = from.Name, from.Value, kmsg.ConfigSource(from.Source)
			c.ConfigSynonyms = append(c.ConfigSynonyms, y)
		}
	}
	return c
}

// configResource is what has a configuration.
type configResource struct {
	kind kmsg.ConfigResourceType
	name string
}

func (s *Server) configsOf(r configResource) ([]meta.ConfigEntry, error) {
	st := s.meta.State()
	switch r.kind {
	case kmsg.ConfigResourceTypeTopic:
		if err := meta.CheckTopicName(r.name); err != nil {
			return nil, err
		}
		t := st.Topic(r.name)
		if t == nil {
			return nil, fmt.Errorf("%w: %s", meta.ErrUnknownTopic, r.name)
		}
		return st.DescribeTopicConfigs(t, s.defaults()), nil
	case kmsg.ConfigResourceTypeBroker:
		if r.name == "" {
			return st.DescribeClusterConfigs(), nil
		}
		if _, err := s.brokerOf(r); err != nil {
			return nil, err
		}
		return st.DescribeBrokerConfigs(s.defaults()), nil
	}
	return nil, fmt.Errorf("%w: resources of type %d have no configuration here", meta.ErrInvalidRequest, r.kind)
}

// brokerOf returns the id of this broker, or AllBrokers for the empty name: a broker knows no other's configuration.
func (s *Server) brokerOf(r configResource) (int32, error) {
	if r.name == "" {
		return meta.AllBrokers, nil
	}
	own := s.defaults().Node()
	if id, err := strconv.ParseInt(r.name, 10, 32); err != nil || int32(id) != own {
		return 0, fmt.Errorf("%w: this is broker %d, not %.20q", meta.ErrInvalidRequest, own, r.name)
	}
	return own, nil
}
