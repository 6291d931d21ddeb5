package node

import (
	"fmt"

	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/sync/replica"
	"github.com/culvert-mq/culvert/sync/upstream"
)

// buildUpstream makes the forwarder where a centre is configured.
func (n *Node) buildUpstream(c *config.Config) error {
	if len(c.Upstream.Brokers) == 0 {
		return nil
	}
	var err error
	n.upstream, err = upstream.New(upstreamConfig(c), upstreamSource{n.replicas}, upstreamPositions{n.groups}, n.log.With("part", "upstream"), upstream.NewMetrics(n.reg))
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	n.replicas.SetForwarded(n.forwarded)
	return nil
}

// upstreamSource is the log as the forwarder sees it.
type upstreamSource struct{ m *replica.Manager }

// Partitions implements upstream.Source.
func (s upstreamSource) Partitions() []upstream.Partition {
	all := s.m.All()
	out := make([]upstream.Partition, len(all))
	for i, p := range all {
		out[i] = upstreamPartition{p}
	}
	return out
}

// Watch implements upstream.Source.
func (s upstreamSource) Watch(ch chan<- struct{}) (stop func()) { return s.m.WatchList(ch) }

// upstreamPartition is a partition as the forwarder sees it.
type upstreamPartition struct{ *replica.Partition }

// TopicID implements upstream.Partition.
func (p upstreamPartition) TopicID() [16]byte { return p.Partition.TopicID() }

// Read implements upstream.Partition.
func (p upstreamPartition) Read(from int64, size int) (upstream.Span, error) {
	s, err := p.Partition.Read(from, size)
	if err != nil {
		return upstream.Span{}, err
	}
	return upstream.Span{Batches: s.Batches, Release: s.Release}, nil
}
