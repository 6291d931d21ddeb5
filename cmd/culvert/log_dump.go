package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/node/logtool"
)

// logDump are the flags of `culvert log dump`.
type logDump struct {
	sel     logtool.Selection
	format  string
	batches bool
}

func newLogDumpCmd() *cobra.Command {
	o := &logDump{}
	cmd := &cobra.Command{
		Use:   "dump [PATH]",
		Short: "Print the records of a log, or the headers of its batches",
		Long: `Print the records that are in force: those of each partition in the order of their offsets, of all partitions as they were
committed. Of one file all is printed that was not truncated in it. What is damaged is left out, with a line on standard
error, and the exit code is 1.

--format is text with placeholders, or json for one JSON object a line:

` + formatHelp,
		Example: `  culvert log dump --topic telemetry --format '%k %s\n' /media/card/var/lib/culvert
  culvert log dump --topic telemetry --partition 0 --from 1500 --to 1600 --format json
  culvert log dump --batches /var/lib/culvert/log/00000000000000000007.seg`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
	}
	s := addLogPlace(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.sel.Topic, "topic", "t", "", "topic; all of them without it")
	f.Int32VarP(&o.sel.Partition, "partition", "p", -1, "partition of the topic; -1 is all of them")
	f.Int64Var(&o.sel.From, "from", 0, "first offset to print")
	f.Int64Var(&o.sel.To, "to", -1, "first offset not to print; -1 is the end")
	f.StringVar(&o.format, "format", `%s\n`, "form of a record, or json")
	f.BoolVar(&o.batches, "batches", false, "print the headers of the batches, as a table or with --format json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.run(cmd, s, args) }
	return cmd
}

func (o *logDump) run(cmd *cobra.Command, s *settings, args []string) error {
	format, err := parseFormat(o.format)
	if err != nil {
		return err
	}
	switch {
	case o.sel.Partition < -1:
		return usage("--partition must be -1 or a partition's number")
	case o.sel.Partition >= 0 && o.sel.Topic == "":
		return usage("--partition is one of a topic: give --topic, too")
	case o.sel.From < 0 || o.sel.To < -1:
		return usage("--from and --to are offsets, which are not negative")
	case o.batches && cmd.Flags().Changed("format") && o.format != "json":
		return usage("--batches prints a table, or json: --format %q does not go with it", o.format)
	}
	t, err := findLog(s, args)
	if err != nil {
		return err
	}
	warnMoving(cmd.ErrOrStderr(), t)
	w := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	out := logtool.Output{Problem: func(p logtool.Problem) {
		if p.Harmless {
			return
		}
		_ = w.Flush() // so that the line stands where the records are missing; the next write tells
		fmt.Fprintf(cmd.ErrOrStderr(), "culvert: left out: %s\n", printable(p.String()))
	}}
	if o.batches {
		out.Batch = batchPrinter(w, o.format == "json")
	} else {
		out.Record = recordPrinter(w, format)
	}
	left, err := t.Dump(cmd.Context(), o.sel, out)
	if flushed := w.Flush(); err == nil {
		err = flushed
	}
	switch {
	case errors.Is(err, logtool.ErrNoPartition):
		return &exitError{code: exitNotFound, err: err, hint: "`culvert log inspect` shows what there is"}
	case err == nil && left > 0:
		err = fmt.Errorf("the log is damaged: %s made something be left out", amount(left, "problem", "problems"))
	}
	return err
}

// recordPrinter prints records as `culvert consume` does.
func recordPrinter(w io.Writer, format formatter) func(*logtool.Record) error {
	var buf []byte
	var k kgo.Record
	return func(r *logtool.Record) error {
		topic, partition := r.Topic, r.Partition
		if topic == "" {
			topic, partition = r.String(), 0
		}
		k = kgo.Record{Topic: topic, Partition: partition, Offset: r.Offset, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value, Headers: k.Headers[:0]}
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kgo.RecordHeader{Key: string(h.Key), Value: h.Value})
		}
		buf = format(buf[:0], &k)
		_, err := w.Write(buf)
		return err
	}
}

// batchPrinter prints the headers of batches, in columns of fixed width, since nobody knows how many there are.
func batchPrinter(w io.Writer, asJSON bool) func(logtool.Batch) error {
	const line = "%-24s %21s %7s %9s %-6s %5s %-20s %-8s %-20s %8s  %s\n"
	first := true
	return func(b logtool.Batch) error {
		if asJSON {
			return json.NewEncoder(w).Encode(b)
		}
		if first {
			first = false
			fmt.Fprintf(w, line, "TOPIC/PARTITION", "OFFSETS", "RECORDS", "BYTES", "CODEC", "EPOCH", "PRODUCER", "FLAGS", "NEWEST", "COMMIT", "FILE")
		}
		producer := "-"
		if b.ProducerID >= 0 {
			producer = fmt.Sprintf("%d/%d seq %d", b.ProducerID, b.ProducerEpoch, b.BaseSequence)
		}
		var flags []string
		for _, f := range []struct {
			set  bool
			name string
		}{{b.LogAppendTime, "time"}, {b.Transactional, "txn"}, {b.Control, "control"}} {
			if f.set {
				flags = append(flags, f.name)
			}
		}
		if flags == nil {
			flags = []string{"-"}
		}
		_, err := fmt.Fprintf(w, line, printable(b.String()), fmt.Sprintf("%d-%d", b.Base, b.Last), decimal(b.Records), decimal(b.Bytes), b.Codec, decimal(b.Epoch),
			producer, strings.Join(flags, ","), instant(time.UnixMilli(b.MaxTimestamp)), fmt.Sprint(b.Commit), printable(b.File))
		return err
	}
}
