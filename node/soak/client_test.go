//go:build soak

package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clientOpts make a client that notices at once when the node is back.
func clientOpts(addr string, more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(addr),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
		kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.DialTimeout(2 * time.Second),
		kgo.AlwaysRetryEOF(), // a node killed between accepting and answering is no wrong configuration
		kgo.FetchMaxWait(50 * time.Millisecond),
		kgo.FetchMaxBytes(16 << 20),
	}, more...)
}

// newClient returns a client that is closed when the test ends.
func newClient(t *testing.T, addr string, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(clientOpts(addr, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// createTopics creates topics of the given number of partitions.
func createTopics(t *testing.T, addr string, partitions int32, topics ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(clientOpts(addr)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	created, err := kadm.NewClient(cl).CreateTopics(ctx, partitions, 1, nil, topics...)
	if err := errors.Join(err, created.Error()); err != nil {
		t.Fatal(err)
	}
}

// ends returns the high watermark of every partition of the topic.
func ends(ctx context.Context, cl *kgo.Client, topic string) (map[int32]int64, error) {
	listed, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err := errors.Join(err, listed.Error()); err != nil {
		return nil, fmt.Errorf("end offsets of %s: %w", topic, err)
	}
	to := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { to[o.Partition] = o.Offset })
	if len(to) == 0 {
		return nil, fmt.Errorf("topic %s is not there", topic)
	}
	return to, nil
}

// read calls record for each record of the topic with from <= offset < to, in order per partition. The
// client checks the CRC of every batch. A record at or behind the end says that all before it were read, also
// where the last of them has left the log meanwhile.
func read(ctx context.Context, addr, topic string, from, to map[int32]int64, record func(*kgo.Record) error) error {
	at := map[int32]int64{}
	start := map[int32]kgo.Offset{}
	for p, end := range to {
		if from[p] > end {
			return fmt.Errorf("%w: %s/%d was read up to offset %d and now ends at %d", ErrLedger, topic, p, from[p], end)
		}
		if from[p] < end {
			at[p], start[p] = from[p], kgo.NewOffset().At(from[p])
		}
	}
	if len(start) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(clientOpts(addr, kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start}))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for len(at) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading %s at %v up to %v: %w", topic, at, to, err)
		}
		for p := range fetches.RecordsAll() {
			if p.Offset >= to[p.Partition] {
				delete(at, p.Partition)
				continue
			}
			if err := record(p); err != nil {
				return fmt.Errorf("%s: %w", topic, err)
			}
			if at[p.Partition] = p.Offset + 1; at[p.Partition] >= to[p.Partition] {
				delete(at, p.Partition)
			}
		}
	}
	return nil
}

// into feeds a ledger.
func into(l *Ledger) func(*kgo.Record) error {
	return func(r *kgo.Record) error { return l.Record(r.Partition, r.Offset, r.Value) }
}

// advance reads what the ledger has not seen of the topic, up to the end as it is now.
func (l *Ledger) advance(ctx context.Context, addr, topic string) error {
	cl, err := kgo.NewClient(clientOpts(addr)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	to, err := ends(ctx, cl, topic)
	if err != nil {
		return err
	}
	from := maps.Clone(l.next)
	return read(ctx, addr, topic, from, to, into(l))
}

// percentile returns the value below which p of the durations lie.
func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(d))
	return s[min(len(s)-1, int(p*float64(len(s))))]
}
