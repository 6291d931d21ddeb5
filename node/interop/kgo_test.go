//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func adminOf(t *testing.T, addr string) *kadm.Client { return kadm.NewClient(client(t, addr)) }

// readAll reads a topic from its start to its end as it is now: per partition, in order.
func readAll(t *testing.T, addr, name string) map[int32][]*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ends, err := adminOf(t, addr).ListEndOffsets(ctx, name)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatalf("end of %s: %v", name, err)
	}
	left, all := map[int32]int64{}, map[int32][]*kgo.Record{}
	ends.Each(func(o kadm.ListedOffset) {
		all[o.Partition] = nil
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	cl := client(t, addr, kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading %s: %v, left %v", name, err, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, ok := left[r.Partition]; ok {
				all[r.Partition] = append(all[r.Partition], r)
				if r.Offset+1 >= end {
					delete(left, r.Partition)
				}
			}
		})
	}
	return all
}

func count(all map[int32][]*kgo.Record) (n int) {
	for _, records := range all {
		n += len(records)
	}
	return n
}

func TestFranzGoProducesAndConsumes(t *testing.T) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for _, codec := range slices.Sorted(maps.Keys(codecs)) {
		t.Run(codec, func(t *testing.T) {
			name := topic(t)
			createTopic(t, name, 3)
			cl := client(t, native(t), kgo.ProducerBatchCompression(codecs[codec]), kgo.DefaultProduceTopic(name))
			at := time.UnixMilli(1_700_000_000_000)
			for i := range 3000 {
				cl.Produce(t.Context(), &kgo.Record{Key: fmt.Appendf(nil, "k%d", i%10), Value: fmt.Appendf(nil, "%d", i/10),
					Timestamp: at.Add(time.Duration(i) * time.Millisecond), Headers: []kgo.RecordHeader{{Key: "n", Value: nil}, {Key: "unit", Value: []byte("Cel")}}},
					func(_ *kgo.Record, err error) {
						if err != nil {
							t.Error(err)
						}
					})
			}
			ctx, cancel := context.WithTimeout(t.Context(), toolTimeout)
			defer cancel()
			if err := cl.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			all, next := readAll(t, native(t), name), map[string]int{}
			for p, records := range all {
				for i, r := range records {
					if r.Offset != int64(i) || string(r.Value) != fmt.Sprint(next[string(r.Key)]) || len(r.Headers) != 2 || r.Headers[0].Value != nil ||
						r.Timestamp.Before(at) {
						t.Fatalf("partition %d, record %d: %+v", p, i, r)
					}
					next[string(r.Key)]++
				}
			}
			if n := count(all); n != 3000 || len(all) != 3 {
				t.Errorf("%d records in %d partitions", n, len(all))
			}
		})
	}
}

func TestFranzGoAdministersTopics(t *testing.T) {
	ctx, adm, name := t.Context(), adminOf(t, native(t)), topic(t)
	week := "604800001"
	if _, err := adm.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &week}, name); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(ctx, 2, 1, nil, name); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := adm.CreateTopic(ctx, 2, 1, nil, "no such/name"); !errors.Is(err, kerr.InvalidTopicException) {
		t.Errorf("a name that is none: %v", err)
	}
	if _, err := adm.CreateTopic(ctx, 2, 1, map[string]*string{"no.such.key": &week}, name+".x"); !errors.Is(err, kerr.InvalidConfig) {
		t.Errorf("a configuration that is none: %v", err)
	}
	wait(t, 20*time.Second, func() error {
		rs, err := adm.DescribeTopicConfigs(ctx, name)
		if err != nil {
			return err
		}
		r, err := rs.On(name, nil)
		if err != nil {
			return err
		}
		if r.Err != nil {
			return r.Err
		}
		for _, c := range r.Configs {
			if c.Key == "retention.ms" && (c.MaybeValue() != week || c.Source != kmsg.ConfigSourceDynamicTopicConfig) {
				t.Errorf("%s = %s from %s", c.Key, c.MaybeValue(), c.Source)
			}
		}
		if len(r.Configs) < 20 {
			t.Errorf("only %d keys", len(r.Configs))
		}
		return nil
	})
	hour := "3600000"
	if rs, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &hour}}, name); err != nil || rs[0].Err != nil {
		t.Errorf("alter: %v, %+v", err, rs)
	}
	if rs, err := adm.UpdatePartitions(ctx, 5, name); err != nil || rs.Error() != nil {
		t.Errorf("partitions: %v, %v", err, rs.Error())
	}
	wait(t, 20*time.Second, func() error {
		rs, err := adm.DescribeTopicConfigs(ctx, name)
		if err != nil {
			return err
		}
		for _, c := range rs[0].Configs {
			if c.Key == "retention.ms" && c.MaybeValue() != hour {
				return fmt.Errorf("%s = %s", c.Key, c.MaybeValue())
			}
		}
		topics, err := adm.ListTopics(ctx, name)
		if err != nil {
			return err
		}
		if n := len(topics[name].Partitions); n != 5 {
			return fmt.Errorf("%d partitions", n)
		}
		return nil
	})
	if rs, err := adm.UpdatePartitions(ctx, 3, name); err == nil && !errors.Is(rs.Error(), kerr.InvalidPartitions) {
		t.Errorf("fewer partitions: %v", rs.Error())
	}
	if _, err := adm.DeleteTopic(ctx, name); err != nil {
		t.Fatal(err)
	}
	wait(t, 20*time.Second, func() error {
		topics, err := adm.ListTopics(ctx)
		if err == nil && topics.Has(name) {
			err = errors.New("it is still listed")
		}
		return err
	})
}

func TestFranzGoCommitsOffsetsWithoutAGroup(t *testing.T) {
	ctx, adm, name := t.Context(), adminOf(t, native(t)), topic(t)
	createTopic(t, name, 2)
	group := "group." + name
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: name, Partition: 0, At: 11, LeaderEpoch: 0, Metadata: "here"})
	offsets.Add(kadm.Offset{Topic: name, Partition: 1, At: 22, LeaderEpoch: -1})
	// A coordinator that has just been asked for the first time may still be loading.
	wait(t, 20*time.Second, func() error { return adm.CommitAllOffsets(ctx, group, offsets) })
	got, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := got.Lookup(name, 0)
	b, _ := got.Lookup(name, 1)
	if a.At != 11 || a.Metadata != "here" || b.At != 22 || a.Err != nil || b.Err != nil {
		t.Errorf("%+v, %+v", a, b)
	}
	if none, err := adm.FetchOffsets(ctx, group+".none"); err != nil || len(none) != 0 {
		t.Errorf("an unknown group has %v, %v", none, err)
	}
}
