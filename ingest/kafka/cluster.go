package kafka

import (
	"context"
	"time"

	"github.com/culvert-mq/culvert/sync/meta"
)

// brokerAddress is a broker as a client is told of it.
type brokerAddress struct {
	id int32
	endpoint
	rack   *string
	fenced bool
}

// defaults are this node's id and the broker configurations of its file.
func (s *Server) defaults() meta.Defaults { return *s.nodeDefaults.Load() }

// SetDefaults puts other broker configurations in force. The node's id must stay.
func (s *Server) SetDefaults(d meta.Defaults) { s.nodeDefaults.Store(&d) }

// brokers returns the brokers that the client of c can connect to. This node is told by the address that suits the
// client, the others by the one they registered.
func (s *Server) brokers(st *meta.State, c *conn, fenced bool) []brokerAddress {
	self := s.defaults().Node()
	var out []brokerAddress
	for _, b := range st.SortedBrokers() {
		if b.Fenced && !fenced && b.ID != self {
			continue
		}
		a := brokerAddress{id: b.ID, fenced: b.Fenced}
		if b.Rack != "" {
			a.rack = &b.Rack
		}
		switch {
		case b.ID == self:
			a.endpoint = s.advertised(c)
		case len(b.Endpoints) > 0:
			a.endpoint = endpoint{b.Endpoints[0].Host, int32(b.Endpoints[0].Port)}
		default:
			continue
		}
		out = append(out, a)
	}
	return out
}

// awaitTopic waits until this node's share of a new topic can be used: the metadata know a topic a moment before its
// partitions are there, and the client that asked for it writes at once. It waits a few seconds at most; then the client
// has to try again.
func (s *Server) awaitTopic(ctx context.Context, t *meta.Topic) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	self := s.defaults().Node()
	pause := 500 * time.Microsecond
	for i := range t.Partitions {
		for t.Partitions[i].Leader == self {
			if _, err := s.logs.Partition(t.Name, int32(i)); err == nil {
				break
			}
			select {
			case <-time.After(pause):
				pause = min(2*pause, 20*time.Millisecond)
			case <-ctx.Done():
				return
			}
		}
	}
}

// inForce is what is in force under one state of the metadata.
type inForce struct {
	state  *meta.State
	node   *meta.Defaults
	broker meta.BrokerConfig
}

// now returns the metadata and the broker's configuration.
func (s *Server) now() *inForce {
	st, node := s.meta.State(), s.nodeDefaults.Load()
	if f := s.configs.Load(); f != nil && f.state == st && f.node == node {
		return f
	}
	f := &inForce{state: st, node: node, broker: st.BrokerConfig(*node)}
	s.configs.Store(f)
	return f
}

// partitionByID tells a topic that does not exist from a partition that does not.
func (s *Server) partitionByID(id meta.TopicID, index int32) (Partition, error) {
	p, err := s.logs.ByID(id, index)
	if err != nil && s.meta.State().TopicByID(id) == nil {
		return nil, errUnknownTopicID
	}
	return p, err
}

// leader returns who leads a partition, -1 and -1 if that is not known: the hint for clients that ask the wrong broker
// (KIP-951).
func (s *Server) leader(topic string, id meta.TopicID, index int32) (leader, epoch int32) {
	st := s.meta.State()
	t := st.Topic(topic)
	if !id.IsZero() {
		t = st.TopicByID(id)
	}
	if t == nil || index < 0 || int(index) >= len(t.Partitions) {
		return -1, -1
	}
	return t.Partitions[index].Leader, t.Partitions[index].LeaderEpoch
}
