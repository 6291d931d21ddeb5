package main

import (
	"errors"
	"io"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/cmd/internal/load"
	"github.com/culvert-mq/culvert/node/config"
)

// errBench is what a measurement ends with that the broker did not pass; the report has told why.
var errBench = errors.New("the broker lost, refused or reordered something")

// newBenchCmd is `culvert bench`: a load generator for any broker of either protocol.
func newBenchCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Generate load for any MQTT or Kafka broker and measure it",
		Long: `Generate load for any MQTT 3.1.1 broker or any broker that speaks the Kafka protocol, and measure what it
makes of it. With a rate, latencies count from the time a message should have been sent, so that a broker that
stalls cannot hide it.`,
		Example: `  culvert bench mqtt --connections 200 --window 100
  culvert bench mqtt --rate 1000 --duration 60s --check
  culvert bench native produce --acks -1 --batch-bytes 64KiB && culvert bench native fetch --verify
  culvert bench suite --quick`,
	}
	cmd.AddCommand(newBenchMQTTCmd(), newBenchNativeCmd(), newBenchIdleCmd(), newBenchSyncCmd(), newBenchSuiteCmd())
	return cmd
}

func newBenchMQTTCmd() *cobra.Command {
	o := load.DefaultMQTTOptions()
	var out *output
	cmd := &cobra.Command{
		Use:   "mqtt",
		Short: "Publish to an MQTT broker",
		Long: `Publish over many connections and count what is acknowledged. Without --rate every connection keeps its window
full; with --rate messages leave at even times and latencies count from the time they should have left.

--check subscribes to what is published and verifies that everything acknowledged arrives once and in order;
--check-native reads it from the log instead, after publishing, as a Kafka consumer.`,
		Example: `  culvert bench mqtt --addr 127.0.0.1:1883 --connections 50 --window 20 --duration 10s
  culvert bench mqtt --count 1000000 --check-native 127.0.0.1:9092`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := load.RunMQTT(cmd.Context(), o)
			if err != nil {
				return benchError(err)
			}
			return benchResult(cmd, out, r, r.Ok(), func(w io.Writer) { printMQTT(w, r) })
		},
	}
	out = addOutput(cmd, "text", "json")
	f := cmd.Flags()
	f.StringVar(&o.Addr, "addr", o.Addr, "address of the broker")
	f.StringVar(&o.Credentials.Username, "username", "", "user name")
	f.StringVar(&o.Credentials.Password, "password", "", "password")
	f.IntVar(&o.Connections, "connections", o.Connections, "publishing connections")
	f.IntVar(&o.Window, "window", o.Window, "messages in flight on each connection (QoS 1)")
	f.Uint8Var(&o.QoS, "qos", o.QoS, "0 or 1")
	f.IntVar(&o.Size, "size", o.Size, "bytes of a payload")
	f.StringVar((*string)(&o.Fill), "payload", string(o.Fill), `what payloads are made of: "reading" (compresses as readings do) or "random"`)
	f.Float64Var(&o.Rate, "rate", o.Rate, "messages/s over all connections (0: as fast as they are acknowledged)")
	f.DurationVar(&o.Warmup, "warmup", o.Warmup, "time before measuring begins")
	f.DurationVar(&o.Duration, "duration", o.Duration, "time that is measured")
	f.Int64Var(&o.Count, "count", o.Count, "messages in all, instead of a duration")
	f.StringVar(&o.Topics, "topics", o.Topics, "topic pattern: {c} is the connection's number, {t} that of one of its topics")
	f.IntVar(&o.TopicsPerConnection, "topics-per-connection", o.TopicsPerConnection, "topics that a connection publishes to in turn")
	f.StringVar(&o.ClientID, "client-id", o.ClientID, "prefix of the client ids")
	f.IntVar(&o.Workers, "workers", o.Workers, "threads that serve the connections")
	f.DurationVar(&o.Coalesce, "coalesce", o.Coalesce, "pause between two looks at the sockets; 0 answers every acknowledgement at once, as devices do")
	f.DurationVar(&o.Patience, "patience", o.Patience, "how long nothing may move before the rest counts as lost")
	f.BoolVar(&o.Check.Subscribe, "check", false, "subscribe, and verify that everything arrives once and in order")
	f.StringVar(&o.Check.Native, "check-native", "", "native address at which everything is read back and verified")
	f.StringVar(&o.Check.Topic, "check-topic", "mqtt", "log topic that is read back")
	return cmd
}

func newBenchNativeCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "native", Short: "Produce to, or fetch from, a broker of the Kafka protocol"}
	cmd.AddCommand(newBenchProduceCmd(), newBenchFetchCmd())
	return cmd
}

func newBenchProduceCmd() *cobra.Command {
	o := load.DefaultProduceOptions()
	batchBytes := config.Size(o.BatchBytes)
	var out *output
	cmd := &cobra.Command{
		Use:     "produce",
		Short:   "Produce batches that were built beforehand",
		Long:    "Produce record batches that were built once, so that nearly all of the processor is left to the broker.",
		Example: "  culvert bench native produce --topic bulk --partitions 16 --window 16 --batch-bytes 64KiB",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.BatchBytes = int(min(batchBytes, 1<<30))
			r, err := load.RunProduce(cmd.Context(), o)
			if err != nil {
				return benchError(err)
			}
			return benchResult(cmd, out, r, r.Ok(), func(w io.Writer) { printProduce(w, r) })
		},
	}
	out = addOutput(cmd, "text", "json")
	f := cmd.Flags()
	f.StringVar(&o.Addr, "addr", o.Addr, "address of a broker")
	f.StringVar(&o.Topic, "topic", o.Topic, "topic, created when missing")
	f.Int32Var(&o.Partitions, "partitions", o.Partitions, "partitions of the topic when it is created")
	f.IntVar(&o.Connections, "connections", o.Connections, "connections, at most one for each partition")
	f.IntVar(&o.Window, "window", o.Window, "requests in flight on each connection")
	f.TextVar(&batchBytes, "batch-bytes", batchBytes, "bytes of a batch before compression")
	f.IntVar(&o.PerRequest, "batches-per-request", o.PerRequest, "batches, of different partitions, in one request")
	f.IntVar(&o.RecordSize, "size", o.RecordSize, "bytes of a record's value")
	f.StringVar((*string)(&o.Fill), "payload", string(o.Fill), `what values are made of: "reading" or "random"`)
	f.StringVar(&o.Compression, "compression", o.Compression, "none, gzip, snappy, lz4 or zstd")
	f.Int16Var(&o.Acks, "acks", o.Acks, "0, 1 or -1")
	f.Float64Var(&o.Rate, "rate", o.Rate, "records/s over all connections (0: as fast as they are acknowledged)")
	f.DurationVar(&o.Warmup, "warmup", o.Warmup, "time before measuring begins")
	f.DurationVar(&o.Duration, "duration", o.Duration, "time that is measured")
	f.Int64Var(&o.Count, "count", o.Count, "records in all, instead of a duration")
	return cmd
}

func newBenchFetchCmd() *cobra.Command {
	o := load.DefaultFetchOptions()
	maxBytes := config.Size(o.MaxBytes)
	var out *output
	cmd := &cobra.Command{
		Use:     "fetch",
		Short:   "Read a topic from its start and discard it",
		Example: "  culvert bench native fetch --topic bulk --verify",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.MaxBytes = int32(min(maxBytes, 1<<30))
			r, err := load.RunFetch(cmd.Context(), o)
			if err != nil {
				return benchError(err)
			}
			return benchResult(cmd, out, r, r.Ok(), func(w io.Writer) { printFetch(w, r) })
		},
	}
	out = addOutput(cmd, "text", "json")
	f := cmd.Flags()
	f.StringVar(&o.Addr, "addr", o.Addr, "address of a broker")
	f.StringVar(&o.Topic, "topic", o.Topic, "topic")
	f.IntVar(&o.Connections, "connections", o.Connections, "connections, at most one for each partition")
	f.IntVar(&o.Window, "window", o.Window, "requests in flight on each connection, each for another partition")
	f.TextVar(&maxBytes, "max-bytes", maxBytes, "bytes of a response")
	f.BoolVar(&o.Verify, "verify", o.Verify, "check the CRC and the offsets of every batch")
	f.DurationVar(&o.Duration, "duration", o.Duration, "read again and again for so long (0: once)")
	return cmd
}

func newBenchIdleCmd() *cobra.Command {
	o := load.IdleOptions{Addr: "127.0.0.1:1883", Connections: 5000, Settle: 2 * time.Second}
	var out *output
	cmd := &cobra.Command{
		Use:     "idle",
		Short:   "Open MQTT connections that say nothing, and read the broker's memory",
		Example: "  culvert bench idle --connections 5000 --pid $(pidof mosquitto)",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := load.RunIdle(cmd.Context(), o)
			if err != nil {
				return benchError(err)
			}
			return benchResult(cmd, out, r, true, func(w io.Writer) { printIdle(w, r) })
		},
	}
	out = addOutput(cmd, "text", "json")
	f := cmd.Flags()
	f.StringVar(&o.Addr, "addr", o.Addr, "address of the broker")
	f.StringVar(&o.Credentials.Username, "username", "", "user name")
	f.StringVar(&o.Credentials.Password, "password", "", "password")
	f.IntVar(&o.Connections, "connections", o.Connections, "connections")
	f.IntVar(&o.PID, "pid", 0, "process id of the broker, whose resident memory is read")
	f.DurationVar(&o.Settle, "settle", o.Settle, "time before memory is read again")
	return cmd
}

func newBenchSyncCmd() *cobra.Command {
	o := load.DefaultDiskOptions()
	commit, total, copied := config.Size(o.CommitSize), config.Size(o.Bytes), config.GiB
	var out *output
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Measure the machine itself: syncs, a plain file, a copy over loopback",
		Long: `Measure what the machine can do without any broker: overwriting and syncing 4 kB of a preallocated file,
appending to a plain file in synced commits, and copying bytes over a TCP connection on loopback.`,
		Example: "  culvert bench sync --dir /var/lib/culvert --commit-bytes 1MiB",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.CommitSize, o.Bytes = int64(commit), int64(total)
			disk, err := load.RunDisk(cmd.Context(), o)
			if err != nil {
				return benchError(err)
			}
			network, err := load.RunCopy(cmd.Context(), int64(copied))
			if err != nil {
				return err
			}
			r := struct {
				*load.DiskReport
				Copy *load.CopyReport `json:"copy"`
			}{disk, network}
			return benchResult(cmd, out, r, true, func(w io.Writer) { printSync(w, disk, network) })
		},
	}
	out = addOutput(cmd, "text", "json")
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", o.Dir, "directory on the disk that is measured")
	f.IntVar(&o.Overwrites, "overwrites", o.Overwrites, "4 kB overwrites, each synced")
	f.TextVar(&commit, "commit-bytes", commit, "bytes of a commit of the plain file")
	f.TextVar(&total, "bytes", total, "bytes written to the plain file")
	f.TextVar(&copied, "copy-bytes", copied, "bytes copied over loopback")
	return cmd
}

// benchResult prints a report the way that was asked for, and makes an error of one that is not good.
func benchResult(cmd *cobra.Command, out *output, report any, ok bool, text func(io.Writer)) error {
	if out.kind == "json" {
		if err := printJSON(cmd.OutOrStdout(), report); err != nil {
			return err
		}
	} else {
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		text(w)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if !ok {
		return errBench
	}
	return nil
}

// benchError gives what kept a measurement from its start the exit code it deserves.
func benchError(err error) error {
	switch {
	case errors.Is(err, load.ErrOptions), errors.Is(err, load.ErrTopicPattern):
		return usage("%w", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return &exitError{code: exitUnreachable, err: err}
	}
	return err
}
