package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/culvert-mq/culvert/ingest/mqtt"
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/replica"
)

// retainedConfigs keep the newest retained message of every MQTT topic for good.
var retainedConfigs = map[string]string{"cleanup.policy": "compact"}

// maxDecoded bounds what a batch may decompress to when subscribers read it, in bytes.
const maxDecoded = 64 << 20

// mqttLog is the log as the MQTT server sees it.
type mqttLog struct {
	topics  *topics
	sources atomic.Pointer[sourceList]
	mu      sync.Mutex // one list is made at a time
}

// sourceList pairs the partitions of one table with their sources.
type sourceList struct {
	all     []*replica.Partition
	sources []mqtt.Source
	byPart  map[*replica.Partition]*mqttSource
}

// Bind implements mqtt.Log. The partition of a key is the one that Kafka's default partitioner gives it.
func (l *mqttLog) Bind(ctx context.Context, topic string, key []byte, headers []mqtt.Header) (mqtt.Appender, error) {
	partitions, configs := int32(0), map[string]string(nil)
	if topic == mqtt.RetainedTopic {
		partitions, configs = 1, retainedConfigs
	}
	t, err := l.topics.ensure(ctx, topic, partitions, configs)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrFull) {
			return nil, fmt.Errorf("%w: %w", mqtt.ErrUnavailable, err)
		}
		return nil, err
	}
	index := int32(0)
	if n := len(t.Partitions); n > 1 {
		index = partitionOf(key, n)
	}
	p, err := l.topics.replicas.ByID(t.ID, index)
	if err != nil {
		return nil, fmt.Errorf("%w: %s-%d: %w", mqtt.ErrUnavailable, topic, index, err)
	}
	a := &mqttAppender{l: l, p: p, topic: t, key: key, headers: make([]record.Header, len(headers))}
	for i, h := range headers {
		a.headers[i] = record.Header(h)
	}
	return a, nil
}

// Sources implements mqtt.Log.
func (l *mqttLog) Sources() []mqtt.Source {
	all := l.topics.replicas.All()
	if have := l.sources.Load(); have != nil && sameSlice(have.all, all) {
		return have.sources
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.sources.Load()
	next := &sourceList{all: all, byPart: make(map[*replica.Partition]*mqttSource, len(all))}
	for _, p := range all {
		s := &mqttSource{p}
		if old != nil && old.byPart[p] != nil {
			s = old.byPart[p]
		}
		next.byPart[p] = s
		next.sources = append(next.sources, s)
	}
	l.sources.Store(next)
	return next.sources
}

func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Watch implements mqtt.Log.
func (l *mqttLog) Watch(ch chan<- struct{}) (stop func()) { return l.topics.replicas.Watch(ch) }

// mqttAppender appends to one partition.
type mqttAppender struct {
	l       *mqttLog
	p       *replica.Partition
	topic   *meta.Topic
	key     []byte
	headers []record.Header
}

// Append implements mqtt.Appender.
func (a *mqttAppender) Append(ts int64, value []byte) (mqtt.Commit, error) {
	if a.p.Partitions() != len(a.topic.Partitions) {
		return nil, mqtt.ErrStale
	}
	_, g, err := a.p.Append(ts, a.key, value, a.headers)
	switch {
	case err == nil:
		return g, nil
	case errors.Is(err, replica.ErrGone):
		return nil, fmt.Errorf("%w: %w", mqtt.ErrStale, err)
	case errors.Is(err, store.ErrFull):
		return nil, fmt.Errorf("%w: %w", mqtt.ErrFull, err)
	case errors.Is(err, store.ErrFailed):
		return nil, fmt.Errorf("%w: %w", mqtt.ErrFailed, err)
	}
	return nil, err
}

// mqttSource reads one partition for subscribers.
type mqttSource struct{ p *replica.Partition }

// Topic implements mqtt.Source.
func (s *mqttSource) Topic() string { return s.p.Topic() }

// Index implements mqtt.Source.
func (s *mqttSource) Index() int32 { return s.p.Index() }

// Bounds implements mqtt.Source.
func (s *mqttSource) Bounds() (start, end int64) { return s.p.StartOffset(), s.p.HighWatermark() }

// Read implements mqtt.Source.
func (s *mqttSource) Read(from int64, size int, visit func(*mqtt.Record) bool) (next int64, err error) {
	span, err := s.p.Read(from, size)
	if err != nil {
		if errors.Is(err, replica.ErrOffsetOutOfRange) {
			err = fmt.Errorf("%w: %w", mqtt.ErrOutOfRange, err)
		}
		return from, err
	}
	defer span.Release()
	var r record.Reader
	defer r.Close()
	var out mqtt.Record
	next = from
	for _, b := range span.Batches {
		if b.Attributes().Control() {
			next = b.NextOffset()
			continue
		}
		if err := r.Reset(b, maxDecoded); err != nil {
			return b.NextOffset(), err // the batch passed its CRC: whoever wrote it is to blame, what follows may be read
		}
		for r.Next() {
			rec := r.Record()
			if rec.Offset < from {
				continue
			}
			out.Offset, out.Timestamp, out.Key, out.Value = rec.Offset, rec.Timestamp, rec.Key, rec.Value
			out.Headers = out.Headers[:0]
			for _, h := range rec.Headers {
				out.Headers = append(out.Headers, mqtt.Header(h))
			}
			next = rec.Offset + 1
			if !visit(&out) {
				return next, nil
			}
		}
		if err := r.Err(); err != nil {
			return b.NextOffset(), err
		}
		next = b.NextOffset()
	}
	return next, nil
}
