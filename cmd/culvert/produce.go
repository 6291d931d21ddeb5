package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// produceOptions are the flags of `culvert produce`.
type produceOptions struct {
	client      *clientOptions
	topic       string
	key         string
	hasKey      bool
	separator   string
	headers     []string
	partition   int32
	compression string
	whole       bool
	maxLine     sizeFlag
	out         *output
}

// maxBuffered bounds the memory of records that wait for their acknowledgement.
const maxBuffered = 8 << 20

const (
	// defaultBatch is the largest batch that a topic takes unless it is told otherwise, there and with Kafka.
	defaultBatch = 1<<20 + 12
	// leastBatch is the least that the client library takes for a limit of batches.
	leastBatch = 512
)

// verdictSlack is how much longer than the longest wait nothing may be acknowledged: the client library says better what
// is wrong, where it dares to. It never gives up a record that a broker may have stored without saying so.
const verdictSlack = 3 * time.Second

func newProduceCmd() *cobra.Command {
	o := &produceOptions{partition: -1, maxLine: 1 << 20}
	cmd := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Store records, one for each line of the input",
		Long: `Store records, one for each line of the input, and tell how many the node has acknowledged: they are on its disk then.
Input is read as fast as the node stores, so it may be endless. The first record that is refused ends the command, and so
does a node that acknowledges nothing for the longest wait. Interrupted (Ctrl-C), it stores what it has read, and tells.

The partition follows from the key (as with every Kafka client), or is the one given.`,
		Example: `  echo 21.5 | culvert produce telemetry --key lamp-17
  culvert produce telemetry --header unit=Cel --header site=north < readings.txt
  culvert produce telemetry --key-separator : < lines-like-key-colon-value.txt
  culvert produce pictures --key camera-3 --whole < picture.jpg`,
		Args: usageArgs(cobra.ExactArgs(1)),
	}
	o.client = addClientFlags(cmd)
	cmd.ValidArgsFunction = o.client.completeTopics
	f := cmd.Flags()
	f.StringVarP(&o.key, "key", "k", "", "key of every record")
	f.StringVarP(&o.separator, "key-separator", "K", "", "what separates the key from the value in each line")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "header of every record, name=value; may be repeated")
	f.Int32VarP(&o.partition, "partition", "p", -1, "partition; -1 chooses by key")
	f.StringVarP(&o.compression, "compression", "z", "none", "compression of batches: none, gzip, snappy, lz4 or zstd")
	f.BoolVar(&o.whole, "whole", false, "store the whole input as one record")
	f.Var(&o.maxLine, "max-record", "longest record that is read")
	o.out = addOutput(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.topic, o.hasKey = args[0], cmd.Flags().Changed("key")
		return o.run(cmd)
	}
	return cmd
}

// clientOpts checks the flags and returns what the client needs to know, but for the size of batches.
func (o *produceOptions) clientOpts() ([]kgo.Opt, []kgo.RecordHeader, error) {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	codec, ok := codecs[o.compression]
	switch {
	case !ok:
		return nil, nil, usage("--compression %q is none of none, gzip, snappy, lz4, zstd", o.compression)
	case o.hasKey && o.separator != "":
		return nil, nil, usage("--key and --key-separator exclude each other")
	case o.partition < -1:
		return nil, nil, usage("--partition must be -1 or a partition's number")
	case o.maxLine < 1 || o.maxLine > 1<<30:
		return nil, nil, usage("--max-record must be from 1 to 1GiB")
	}
	var headers []kgo.RecordHeader
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return nil, nil, usage("--header %q is not of the form name=value", h)
		}
		headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	opts := []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(codec),
		kgo.MaxBufferedBytes(int(max(maxBuffered, 2*o.maxLine))),
		kgo.MaxBufferedRecords(50_000),
		kgo.AllowAutoTopicCreation(),
		kgo.UnknownTopicRetries(3),
		kgo.RecordDeliveryTimeout(max(o.client.timeout, time.Second)), // it takes no less
		kgo.ProducerLinger(5 * time.Millisecond),
	}
	if o.partition >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return opts, headers, nil
}

func (o *produceOptions) run(cmd *cobra.Command) error {
	opts, headers, err := o.clientOpts()
	if err != nil {
		return err
	}
	var limit atomic.Int32
	limit.Store(defaultBatch)
	cl, err := o.client.connect(cmd.Context(), append(opts, kgo.ProducerBatchMaxBytesFn(func(string) int32 { return limit.Load() }))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	limit.Store(o.batchLimit(cmd.Context(), cl))
	if err := o.checkPartition(cmd.Context(), cl); err != nil {
		return err
	}
	p := &producer{cl: cl, topic: o.topic, partition: max(o.partition, 0), headers: headers, started: time.Now(), failed: make(chan struct{})}
	reading, stop := context.WithCancel(cmd.Context())
	defer stop()
	// What has been read is stored even when a signal has ended the context, for as long as the node may take.
	storing, giveUp := context.WithCancel(context.WithoutCancel(cmd.Context()))
	var watching sync.WaitGroup
	defer watching.Wait()
	defer giveUp()
	watching.Go(func() { p.watch(storing, giveUp, o.client.timeout+verdictSlack) })
	readErr := p.feed(cmd.Context(), storing, o.read(reading, cmd.InOrStdin()))
	flush, cancel := context.WithTimeout(storing, o.client.timeout+2*verdictSlack)
	defer cancel()
	flushErr := cl.Flush(flush)
	told := p.report(cmd.OutOrStdout(), o.out.kind)
	if err := p.silence(o.client); err != nil {
		return err
	}
	if err := errors.Join(p.err(), readErr, flushErr); err != nil {
		return err // that nobody reads the report matters less
	}
	return told
}

// batchLimit asks for the largest batch that the topic takes: the client fills batches up to what it is told.
func (o *produceOptions) batchLimit(ctx context.Context, cl *kgo.Client) int32 {
	ctx, cancel := o.client.bounded(ctx)
	defer cancel()
	limit := int64(defaultBatch) // of a topic that is created by producing; anything else that is wrong, producing tells
	if topics, err := kadm.NewClient(cl).DescribeTopicConfigs(ctx, o.topic); err == nil {
		topic, _ := topics.On(o.topic, nil)
		for _, c := range topic.Configs {
			if n, err := strconv.ParseInt(c.MaybeValue(), 10, 32); c.Key == "max.message.bytes" && err == nil {
				limit = n
			}
		}
	}
	return int32(max(leastBatch, min(limit, max(defaultBatch, int64(o.maxLine)+1024))))
}

// checkPartition refuses a partition that does not exist: the client would wait for it. A topic that does not exist is not
// created by looking; producing may.
func (o *produceOptions) checkPartition(ctx context.Context, cl *kgo.Client) error {
	if o.partition < 0 {
		return nil
	}
	partitions, err := partitionsOf(ctx, o.client, cl, o.topic)
	if isKafka(err, kerr.UnknownTopicOrPartition) {
		if n := o.usualPartitions(ctx, cl); o.partition >= n {
			return &exitError{code: exitNotFound, err: fmt.Errorf("%w, and would have no partition %d", err, o.partition),
				hint: fmt.Sprintf("producing makes it%s; `culvert topic create %s --partitions %d` with this one", withPartitions(n), o.topic, int64(o.partition)+1)}
		}
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.Contains(partitions, o.partition) {
		return noPartition(o.topic, o.partition, len(partitions))
	}
	return nil
}

// usualPartitions asks how many partitions a topic gets that is created by producing.
func (o *produceOptions) usualPartitions(ctx context.Context, cl *kgo.Client) int32 {
	ctx, cancel := o.client.bounded(ctx)
	defer cancel()
	a := kadm.NewClient(cl)
	if nodes, err := a.ListBrokers(ctx); err == nil && len(nodes) > 0 {
		if answers, err := a.DescribeBrokerConfigs(ctx, nodes[0].NodeID); err == nil && len(answers) == 1 {
			for _, c := range answers[0].Configs {
				if n, err := strconv.ParseInt(c.MaybeValue(), 10, 32); c.Key == "num.partitions" && err == nil {
					return int32(n)
				}
			}
		}
	}
	return 1 // as with Kafka
}

// producer stores records and counts.
type producer struct {
	cl        *kgo.Client
	topic     string
	partition int32
	headers   []kgo.RecordHeader
	started   time.Time

	mu     sync.Mutex
	given  int64         // guarded by mu: to the client
	ended  int64         // guarded by mu: of these, acknowledged or refused
	acked  int64         // guarded by mu
	moved  time.Time     // guarded by mu: when the last one ended, or the first one began to wait
	silent time.Duration // guarded by mu: how long nothing had ended when the node was given up
	first  error         // guarded by mu
	failed chan struct{} // closed with the first error
}

// watch gives the node up when records wait and none has ended for patience: the client would wait for ever, since it
// cannot know whether a record that was sent is stored.
func (p *producer) watch(ctx context.Context, giveUp context.CancelFunc, patience time.Duration) {
	t := time.NewTicker(patience / 16)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			p.mu.Lock()
			silent := now.Sub(p.moved)
			stuck := p.given > p.ended && silent >= patience
			if stuck {
				p.silent = silent
				p.fail(context.Canceled)
			}
			p.mu.Unlock()
			if stuck {
				giveUp()
				return
			}
		}
	}
}

// silence is the error of a node that was given up.
func (p *producer) silence(o *clientOptions) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == 0 {
		return nil
	}
	return &exitError{
		code: exitUnreachable,
		err: fmt.Errorf("the node at %s has acknowledged nothing for %s; what is not counted as acknowledged may be stored or not",
			strings.Join(o.brokers, ", "), p.silent.Round(time.Second)),
		hint: "`culvert status` shows how it is",
	}
}

// feed stores what comes until there is no more, ctx ends, or a record is refused. A record that waits for room does so
// until storing ends.
func (p *producer) feed(ctx, storing context.Context, in <-chan input) error {
	for {
		select {
		case <-ctx.Done():
			return context.Canceled
		case <-p.failed:
			return nil
		case r, ok := <-in:
			if !ok {
				return nil
			}
			if r.err != nil {
				return r.err
			}
			p.mu.Lock()
			if p.given == p.ended {
				p.moved = time.Now()
			}
			p.given++
			p.mu.Unlock()
			p.cl.Produce(storing, &kgo.Record{Topic: p.topic, Partition: p.partition, Key: r.key, Value: r.value,
				Headers: p.headers, Timestamp: time.Now()}, p.done)
		}
	}
}

func (p *producer) done(_ *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended++
	p.moved = time.Now()
	if err == nil {
		p.acked++
		return
	}
	p.fail(err)
}

// fail notes the first error. The caller holds mu.
func (p *producer) fail(err error) {
	if p.first == nil {
		p.first = err
		close(p.failed)
	}
}

func (p *producer) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == nil {
		return nil
	}
	return refusal(p.topic, p.first, "")
}

// report tells what became of the records.
func (p *producer) report(w io.Writer, kind string) error {
	p.mu.Lock()
	acked, lost := p.acked, p.given-p.acked
	p.mu.Unlock()
	took := time.Since(p.started)
	if kind == "json" {
		return printJSON(w, struct {
			Topic        string  `json:"topic"`
			Acknowledged int64   `json:"acknowledged"`
			Failed       int64   `json:"failed"`
			Seconds      float64 `json:"seconds"`
		}{p.topic, acked, lost, took.Seconds()})
	}
	records := "records"
	if acked == 1 {
		records = "record"
	}
	text := fmt.Sprintf("%d %s acknowledged in %s", acked, records, humanSeconds(took.Seconds()))
	if lost > 0 {
		text += fmt.Sprintf(", %d not", lost)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
