package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/culvert-mq/culvert/ingest/kafka"
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/sync/group"
	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/replica"
	"github.com/culvert-mq/culvert/sync/upstream"
)

// openGroups reads the committed offsets.
func (n *Node) openGroups(*config.Config) error {
	var err error
	n.groups, err = group.Open(context.Background(), group.Options{
		Log: offsetsLog{n.topics},
		Retention: func() time.Duration {
			b := n.quorum.State().BrokerConfig(n.topics.currentDefaults())
			return time.Duration(b.OffsetsRetentionMs) * time.Millisecond
		},
		Now: time.Now, Logger: n.log.With("part", "groups"),
	})
	return err
}

// offsetsConfigs keep the newest commit of every group and partition for good.
var offsetsConfigs = map[string]string{"cleanup.policy": "compact", "compression.type": "producer"}

// offsetsLog is the topic of the committed offsets.
type offsetsLog struct{ topics *topics }

// Partitions implements group.Log.
func (l offsetsLog) Partitions(ctx context.Context, create bool) ([]group.Partition, error) {
	t := l.topics.quorum.State().Topic(meta.ConsumerOffsetsTopic)
	if t == nil && !create {
		return nil, nil
	}
	if create {
		var err error
		b := l.topics.quorum.State().BrokerConfig(l.topics.currentDefaults())
		if t, err = l.topics.ensure(ctx, meta.ConsumerOffsetsTopic, b.OffsetsTopicPartitions, offsetsConfigs); err != nil {
			return nil, err
		}
	}
	all := make([]group.Partition, len(t.Partitions))
	for i := range t.Partitions {
		p, err := l.topics.replicas.ByID(t.ID, int32(i))
		if err != nil {
			return nil, fmt.Errorf("%s-%d: %w", t.Name, i, err)
		}
		all[i] = offsetsPartition{p}
	}
	return all, nil
}

type offsetsPartition struct{ *replica.Partition }

// AppendBatch implements group.Partition.
func (p offsetsPartition) AppendBatch(b record.Batch) (int64, group.Commit, error) {
	a, err := p.Partition.AppendBatch(b)
	return a.BaseOffset, a.Commit, err
}

// Read implements group.Partition.
func (p offsetsPartition) Read(from int64, size int) ([]record.Batch, func(), error) {
	s, err := p.Partition.Read(from, size)
	if err != nil {
		return nil, nil, err
	}
	return s.Batches, s.Release, nil
}

// kafkaOffsets is the coordinator as the native protocol sees it.
type kafkaOffsets struct{ c *group.Coordinator }

// CommitOffsets implements kafka.Offsets.
func (k kafkaOffsets) CommitOffsets(ctx context.Context, c kafka.OffsetCommit) error {
	offsets := make([]group.Offset, len(c.Offsets))
	for i, o := range c.Offsets {
		offsets[i] = group.Offset{TopicPartition: group.TopicPartition(o.TopicPartition), Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata}
	}
	return k.c.Commit(ctx, c.Group, c.Generation, offsets)
}

// FetchOffsets implements kafka.Offsets.
func (k kafkaOffsets) FetchOffsets(_ context.Context, name string, partitions []kafka.TopicPartition) ([]kafka.CommittedOffset, error) {
	have := make(map[kafka.TopicPartition]kafka.CommittedOffset)
	var all []kafka.CommittedOffset
	for _, o := range k.c.Fetch(name) {
		c := kafka.CommittedOffset{TopicPartition: kafka.TopicPartition(o.TopicPartition), Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata}
		have[c.TopicPartition] = c
		all = append(all, c)
	}
	if partitions == nil {
		return all, nil
	}
	all = all[:0]
	for _, p := range partitions {
		c, ok := have[p]
		if !ok {
			c = kafka.CommittedOffset{TopicPartition: p, Offset: -1, LeaderEpoch: -1}
		}
		all = append(all, c)
	}
	return all, nil
}

// upstreamGroup is the group whose committed offsets are how far each partition has been forwarded, so that tools of the
// native protocol show the lag.
const upstreamGroup = "__culvert_upstream"

// upstreamPositions keeps the forwarder's positions as committed offsets. The topic's id stands beside the offset.
type upstreamPositions struct{ c *group.Coordinator }

const topicIDPrefix = "topic-id="

// Load implements upstream.Positions.
func (u upstreamPositions) Load(_ context.Context, ids []upstream.PartitionID) ([]upstream.Position, error) {
	have := make(map[group.TopicPartition]group.Offset)
	for _, o := range u.c.Fetch(upstreamGroup) {
		have[o.TopicPartition] = o
	}
	var all []upstream.Position
	for _, id := range ids {
		o, ok := have[group.TopicPartition{Topic: id.Topic, Partition: id.Index}]
		if ok && strings.TrimPrefix(o.Metadata, topicIDPrefix) == meta.TopicID(id.TopicID).String() {
			all = append(all, upstream.Position{PartitionID: id, Offset: o.Offset})
		}
	}
	return all, nil
}

// Store implements upstream.Positions.
func (u upstreamPositions) Store(ctx context.Context, positions []upstream.Position) error {
	offsets := make([]group.Offset, len(positions))
	for i, p := range positions {
		offsets[i] = group.Offset{
			TopicPartition: group.TopicPartition{Topic: p.Topic, Partition: p.Index}, Offset: p.Offset, LeaderEpoch: -1,
			Metadata: topicIDPrefix + meta.TopicID(p.TopicID).String(),
		}
	}
	return u.c.Commit(ctx, upstreamGroup, -1, offsets)
}

// keepOffsets deletes committed offsets that have expired, and those of topics that were deleted, until ctx ends.
func (n *Node) keepOffsets(ctx context.Context) {
	deleted := make(chan string, 64)
	stop := n.quorum.Watch(func(old, s *meta.State) {
		for _, c := range meta.Diff(old, s) {
			if c.Kind == meta.TopicRemoved {
				select {
				case deleted <- c.Topic:
				default: // they expire
				}
			}
		}
	})
	defer stop()
	for {
		b := n.quorum.State().BrokerConfig(n.topics.currentDefaults())
		timer := time.NewTimer(time.Duration(b.OffsetsRetentionCheckMs) * time.Millisecond)
		var err error
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case topic := <-deleted:
			err = n.groups.DropTopic(ctx, topic)
		case <-timer.C:
			err = n.groups.Expire(ctx)
		}
		timer.Stop()
		if err != nil && !errors.Is(err, context.Canceled) {
			n.log.Error("committed offsets cannot be cleaned up", "err", err)
		}
	}
}
