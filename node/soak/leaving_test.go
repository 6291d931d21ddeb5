//go:build soak

package soak

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topicShort     = "soak-short"
	topicCompacted = "soak-compacted"
	compactedKeys  = 20
)

// A leaving writes to two topics whose records leave by themselves, so that the log drops and rewrites segments all the
// while: one keeps a MiB, one the newest record of each key. Both are written by an idempotent producer from their first
// offset on, so that the sequence of a record is its offset.
type leaving struct {
	addr      string
	short     *producer
	compacted *producer

	stopped chan struct{}
	wg      sync.WaitGroup
	errs    [2]error // of the producers, once wg is through
	read    int64    // records
	gone    int64    // offsets that had no record any more, at the last look
}

func newLeaving(t *testing.T, addr string) *leaving {
	t.Helper()
	cl := newClient(t, addr)
	bytes, ratio, compact := "1048576", "0.01", "compact"
	adm := kadm.NewClient(cl)
	for topic, configs := range map[string]map[string]*string{
		topicShort:     {"retention.bytes": &bytes},
		topicCompacted: {"cleanup.policy": &compact, "min.cleanable.dirty.ratio": &ratio},
	} {
		if _, err := adm.CreateTopic(within(t, machineTimeout), 1, 1, configs, topic); err != nil {
			t.Fatal(err)
		}
	}
	l := &leaving{
		addr: addr, stopped: make(chan struct{}),
		short:     newProducer("short", topicShort, Idempotent, 100, 1000, kgo.NoCompression(), 0),
		compacted: newProducer("compacted", topicCompacted, Idempotent, 60, 200, kgo.NoCompression(), 0),
	}
	l.compacted.key = func(seq int64) string { return fmt.Sprint(seq % compactedKeys) }
	return l
}

func (l *leaving) start(ctx context.Context) {
	for i, p := range []*producer{l.short, l.compacted} {
		l.wg.Go(func() { l.errs[i] = p.run(ctx, l.addr, l.stopped) })
	}
}

// stop returns when everything that was sent is acknowledged.
func (l *leaving) stop() error {
	close(l.stopped)
	l.wg.Wait()
	return errors.Join(l.errs[:]...)
}

// verify reads what there is of both topics.
func (l *leaving) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := errors.Join(l.short.failure(), l.compacted.failure()); err != nil {
		return err
	}
	l.gone = 0
	var err error
	for range 20 {
		// Retention may go on between asking where the topic starts and reading there.
		if err = l.verifyShort(ctx); !errors.Is(err, kerr.OffsetOutOfRange) {
			break
		}
	}
	return errors.Join(err, l.verifyCompacted(ctx))
}

// verifyShort checks that from the start on every offset has its record.
func (l *leaving) verifyShort(ctx context.Context) error {
	acked := l.short.acked[0].Load()
	start, end, err := l.span(ctx, topicShort)
	if err != nil {
		return err
	}
	if end < acked || start > end {
		return fmt.Errorf("%w: %s: %d records were acknowledged, the log goes from offset %d to %d", ErrLedger, topicShort, acked, start, end)
	}
	next := start
	err = read(ctx, l.addr, topicShort, map[int32]int64{0: start}, map[int32]int64{0: end}, func(r *kgo.Record) error {
		if r.Offset != next {
			return fmt.Errorf("%w: offset %d follows %d", ErrLedger, r.Offset, next-1)
		}
		next++
		return l.own(r, l.short)
	})
	l.gone += start
	return err
}

// verifyCompacted checks that the last record of each key is there.
func (l *leaving) verifyCompacted(ctx context.Context) error {
	acked := l.compacted.acked[0].Load()
	start, end, err := l.span(ctx, topicCompacted)
	if err != nil {
		return err
	}
	if end < acked {
		return fmt.Errorf("%w: %s: %d records were acknowledged, the log ends at %d", ErrLedger, topicCompacted, acked, end)
	}
	var last [compactedKeys]int64 // one past the newest offset
	before, there := int64(-1), int64(0)
	err = read(ctx, l.addr, topicCompacted, map[int32]int64{0: start}, map[int32]int64{0: end}, func(r *kgo.Record) error {
		if r.Offset <= before {
			return fmt.Errorf("%w: offset %d follows %d", ErrLedger, r.Offset, before)
		}
		before, last[r.Offset%compactedKeys] = r.Offset, r.Offset+1
		there++
		if want := l.compacted.key(r.Offset); string(r.Key) != want {
			return fmt.Errorf("%w: offset %d has the key %q, not %q", ErrLedger, r.Offset, r.Key, want)
		}
		return l.own(r, l.compacted)
	})
	for key, have := range last {
		// The newest acknowledged record of the key.
		newest := acked - 1 - (acked-1-int64(key))%compactedKeys
		if err == nil && acked > int64(key) && have <= newest {
			err = fmt.Errorf("%w: %s: key %d: record %d was acknowledged, the log has it up to %d", ErrLedger, topicCompacted, key, newest, have-1)
		}
	}
	l.gone += end - there
	return err
}

// own checks that a record is the one that the producer sent to its offset.
func (l *leaving) own(r *kgo.Record, p *producer) error {
	l.read++
	e, err := ParseEntry(r.Value)
	if err == nil && (e.Seq != r.Offset || e.Source != p.source(0)) {
		err = fmt.Errorf("%w: offset %d holds record %d of %s", ErrLedger, r.Offset, e.Seq, e.Source)
	}
	return err
}

func (l *leaving) span(ctx context.Context, topic string) (start, end int64, err error) {
	cl, err := kgo.NewClient(clientOpts(l.addr)...)
	if err != nil {
		return 0, 0, err
	}
	defer cl.Close()
	listed, err := kadm.NewClient(cl).ListStartOffsets(ctx, topic)
	if err := errors.Join(err, listed.Error()); err != nil {
		return 0, 0, fmt.Errorf("start of %s: %w", topic, err)
	}
	from, ok := listed.Lookup(topic, 0)
	if !ok {
		return 0, 0, fmt.Errorf("%w: topic %s is not there", ErrLedger, topic)
	}
	to, err := ends(ctx, cl, topic)
	return from.Offset, to[0], err
}

func (l *leaving) report(t *testing.T) {
	t.Helper()
	t.Logf("%d records of topics that keep only some were read; %d of %d had left at the end", l.read, l.gone, l.short.acked[0].Load()+l.compacted.acked[0].Load())
}
