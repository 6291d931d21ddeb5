package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// consumeOptions are the flags of `culvert consume`.
type consumeOptions struct {
	client    *clientOptions
	from      string
	partition int32
	count     int64
	follow    bool
	exit      bool
	format    string
}

func newConsumeCmd() *cobra.Command {
	o := &consumeOptions{}
	cmd := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Print records",
		Long: `Print the records of a topic, from its beginning to its present end; with --follow, or from the end, go on with what
comes. Within a partition records come in order. Nothing is remembered: no group, no committed offset.

--format is text with placeholders, or json for one JSON object a line:

` + formatHelp,
		Example: `  culvert consume mqtt
  culvert consume mqtt --follow --format '%k %s\n'
  culvert consume telemetry --from 2h --format json | jq .value
  culvert consume telemetry --from -10
  culvert consume telemetry --from end`,
		Args: usageArgs(cobra.ExactArgs(1)),
	}
	o.client = addClientFlags(cmd)
	cmd.ValidArgsFunction = o.client.completeTopics
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "beginning", "where to begin: "+fromHelp)
	f.Int32VarP(&o.partition, "partition", "p", -1, "partition; -1 is all of them")
	f.Int64VarP(&o.count, "count", "n", 0, "end after so many records; 0 is no limit")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with records that come")
	f.BoolVarP(&o.exit, "exit", "e", false, "end at the present end (the default, but for --from end)")
	f.StringVar(&o.format, "format", `%s\n`, "form of a record, or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) }
	return cmd
}

func (o *consumeOptions) run(cmd *cobra.Command, topic string) error {
	from, err := parseFrom(o.from, time.Now())
	if err != nil {
		return err
	}
	format, err := parseFormat(o.format)
	if err != nil {
		return err
	}
	switch {
	case o.follow && o.exit:
		return usage("--follow and --exit exclude each other")
	case o.count < 0:
		return usage("--count must not be negative")
	case o.partition < -1:
		return usage("--partition must be -1 or a partition's number")
	}
	follow := o.follow || from == position{kind: fromEnd} && !o.exit
	ctx := cmd.Context()
	cl, err := o.client.connect(ctx, kgo.FetchMaxWait(500*time.Millisecond), kgo.FetchMaxBytes(4<<20), kgo.FetchMaxPartitionBytes(1<<20),
		kgo.BrokerMaxReadBytes(128<<20), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepRetryableFetchErrors())
	if err != nil {
		return err
	}
	defer cl.Close()
	ranges, err := o.ranges(ctx, cl, topic, from)
	if err != nil {
		return err
	}
	c := &consumer{cl: cl, o: o, topic: topic, format: format, out: bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10), left: o.count}
	starts := map[int32]kgo.Offset{}
	c.ends = map[int32]int64{}
	for p, r := range ranges {
		if follow || r.start < r.end {
			starts[p] = kgo.NewOffset().At(r.start)
			c.ends[p] = r.end
		}
	}
	if follow {
		c.ends = nil
	} else if len(starts) == 0 {
		return nil
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts})
	return c.run(ctx)
}

// span is what is to be read of a partition: from start up to and without end.
type span struct{ start, end int64 }

// ranges asks the node where each partition begins and ends.
func (o *consumeOptions) ranges(ctx context.Context, cl *kgo.Client, topic string, from position) (map[int32]span, error) {
	partitions, err := partitionsOf(ctx, o.client, cl, topic)
	if err != nil {
		return nil, err
	}
	if o.partition >= 0 {
		if !slices.Contains(partitions, o.partition) {
			return nil, noPartition(topic, o.partition, len(partitions))
		}
		partitions = []int32{o.partition}
	}
	a := kadm.NewClient(cl)
	ctx, cancel := o.client.bounded(ctx)
	defer cancel()
	starts, err := a.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := a.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	var times kadm.ListedOffsets
	if from.kind == fromTime {
		if times, err = a.ListOffsetsAfterMilli(ctx, from.value, topic); err != nil {
			return nil, err
		}
	}
	ranges := map[int32]span{}
	for _, p := range partitions {
		start, _ := starts.Lookup(topic, p)
		end, _ := ends.Lookup(topic, p)
		after, _ := times.Lookup(topic, p)
		for _, err := range []error{start.Err, end.Err, after.Err} {
			if err != nil {
				return nil, fmt.Errorf("topic %s, partition %d: %w", topic, p, err)
			}
		}
		r := span{start.Offset, end.Offset}
		switch from.kind {
		case fromEnd:
			r.start = max(r.start, r.end-from.value)
		case fromOffset:
			r.start = max(r.start, from.value)
		case fromTime:
			r.start = max(r.start, after.Offset)
		case fromStart:
		}
		ranges[p] = r
	}
	return ranges, nil
}

// consumer prints records.
type consumer struct {
	cl     *kgo.Client
	o      *consumeOptions
	topic  string
	format formatter
	out    *bufio.Writer
	ends   map[int32]int64 // of partitions that are not read to their end yet; nil when following
	left   int64           // records still to print, when they are limited
	buf    []byte
}

// run prints until the end, the limit, or the end of ctx.
func (c *consumer) run(ctx context.Context) error {
	silent := time.Now()
	for {
		wait, cancel := context.WithTimeout(ctx, time.Second)
		fetches := c.cl.PollFetches(wait)
		cancel()
		if ctx.Err() != nil {
			return errors.Join(c.out.Flush(), context.Canceled)
		}
		if err := c.fatal(fetches); err != nil {
			_ = c.out.Flush() // that nobody reads on matters less
			return err
		}
		done, err := c.print(fetches)
		if err = errors.Join(err, c.out.Flush()); err != nil || done {
			return err
		}
		if fetches.NumRecords() > 0 {
			silent = time.Now()
		}
		if c.ends != nil && time.Since(silent) > c.o.client.timeout {
			// Nothing comes, though there should be records: they were dropped meanwhile, or the node has gone.
			return c.o.client.ping(ctx, c.cl)
		}
	}
}

// fatal returns the first error that trying again does not mend.
func (c *consumer) fatal(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		switch {
		case errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled):
		case kerr.IsRetriable(e.Err) && !isKafka(e.Err, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID):
		case kgo.IsRetryableBrokerErr(e.Err):
		default:
			return refusal(c.topic, e.Err, "")
		}
	}
	return nil
}

// print prints what was fetched and tells whether that was all.
func (c *consumer) print(fetches kgo.Fetches) (done bool, err error) {
	for iter := fetches.RecordIter(); !iter.Done(); {
		r := iter.Next()
		end, limited := c.ends[r.Partition]
		if c.ends != nil && (!limited || r.Offset >= end) {
			delete(c.ends, r.Partition)
			continue
		}
		c.buf = c.format(c.buf[:0], r)
		if _, err := c.out.Write(c.buf); err != nil {
			return true, err
		}
		if limited && r.Offset == end-1 {
			delete(c.ends, r.Partition)
		}
		if c.left--; c.left == 0 {
			return true, nil
		}
	}
	return c.ends != nil && len(c.ends) == 0, nil
}

// partitionsOf returns the numbers of a topic's partitions. It never has the topic created, whatever the client may.
func partitionsOf(ctx context.Context, o *clientOptions, cl *kgo.Client, topic string) ([]int32, error) {
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 {
		return nil, fmt.Errorf("asked for one topic, the node told of %d", len(resp.Topics))
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return nil, refusal(topic, err, "")
	}
	numbers := make([]int32, 0, len(resp.Topics[0].Partitions))
	for _, p := range resp.Topics[0].Partitions {
		numbers = append(numbers, p.Partition)
	}
	slices.Sort(numbers)
	return numbers, nil
}

func noPartition(topic string, partition int32, of int) error {
	return &exitError{code: exitNotFound, err: fmt.Errorf("topic %s has no partition %d", topic, partition),
		hint: fmt.Sprintf("it has %d: 0 to %d", of, of-1)}
}
