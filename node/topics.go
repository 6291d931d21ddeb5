package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/quorum"
	"github.com/culvert-mq/culvert/sync/replica"
)

// proposer is the metadata quorum as the node uses it.
type proposer interface {
	State() *meta.State
	Propose(ctx context.Context, c meta.Command) (meta.Result, error)
}

// topics creates topics on behalf of the node itself: those that MQTT routes lead to, and internal ones.
type topics struct {
	quorum   proposer
	replicas *replica.Manager
	defaults atomic.Pointer[meta.Defaults]
	creating sync.Mutex // many devices lead to the same new topic at once; one proposes it
}

func (t *topics) setDefaults(d meta.Defaults) { t.defaults.Store(&d) }

func (t *topics) currentDefaults() meta.Defaults { return *t.defaults.Load() }

// errNoTopic says that a topic is missing and may not be created.
var errNoTopic = errors.New("topic does not exist, and auto_create_topics is off")

// ensure returns a topic that this node can use, creating it where it is missing and may be created: an internal one
// always, with its own configuration, another one where topics are created automatically.
func (t *topics) ensure(ctx context.Context, name string, partitions int32, configs map[string]string) (*meta.Topic, error) {
	topic := t.quorum.State().Topic(name)
	if topic == nil {
		var err error
		if topic, err = t.create(ctx, name, partitions, configs); err != nil {
			return nil, err
		}
	}
	return topic, t.await(ctx, topic)
}

func (t *topics) create(ctx context.Context, name string, partitions int32, configs map[string]string) (*meta.Topic, error) {
	t.creating.Lock()
	defer t.creating.Unlock()
	if topic := t.quorum.State().Topic(name); topic != nil {
		return topic, nil
	}
	b := t.quorum.State().BrokerConfig(t.currentDefaults())
	if !meta.InternalTopic(name) && !b.AutoCreateTopics {
		return nil, fmt.Errorf("%s: %w", name, errNoTopic)
	}
	if partitions == 0 {
		partitions = b.NumPartitions
	}
	r, err := t.quorum.Propose(ctx, &meta.CreateTopic{Name: name, ID: quorum.NewTopicID(), Partitions: partitions, ReplicationFactor: b.DefaultReplicationFactor, Configs: configs})
	switch topic := t.quorum.State().Topic(name); {
	case errors.Is(err, meta.ErrTopicExists) && topic != nil: // a client was first
		return topic, nil
	case err != nil:
		return nil, fmt.Errorf("create topic %s: %w", name, err)
	}
	return r.Topic, nil
}

// await returns when the partitions of a topic that this node leads are there.
func (t *topics) await(ctx context.Context, topic *meta.Topic) error {
	self := t.currentDefaults().Node()
	missing := func() bool {
		for i, p := range topic.Partitions {
			if p.Leader != self {
				continue
			}
			if _, err := t.replicas.ByID(topic.ID, int32(i)); err != nil {
				return true
			}
		}
		return false
	}
	if !missing() {
		return nil
	}
	ch := make(chan struct{}, 1)
	defer t.replicas.Watch(ch)()
	for missing() {
		select {
		case <-ch:
		case <-ctx.Done():
			return fmt.Errorf("partitions of topic %s: %w", topic.Name, ctx.Err())
		}
	}
	return nil
}
