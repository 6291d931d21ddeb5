package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// trimRow is one partition in the output of `topic trim`.
type trimRow struct {
	Partition int32  `json:"partition"`
	Start     int64  `json:"start_offset"` // the first offset that is left; -1 where there is an error
	Error     string `json:"error,omitempty"`
}

func newTopicTrimCmd(o *clientOptions) *cobra.Command {
	var only []int32
	var before string
	cmd := &cobra.Command{
		Use:   "trim TOPIC",
		Short: "Delete the oldest records of a topic",
		Long: `Delete the records of a topic, or of some of its partitions, that lie before an offset; "latest" deletes all that are
there now. They cannot be read any more when the command ends; the disk has the space back soon after. Records that had
not been forwarded to the centre are counted as lost.

The topic's cleanup.policy must hold delete.`,
		Example: `  culvert topic trim telemetry --before latest
  culvert topic trim telemetry --partition 2 --before 150000`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: o.completeTopics,
	}
	out := addOutput(cmd, "table", "json")
	f := cmd.Flags()
	f.Int32SliceVarP(&only, "partition", "p", nil, "partition to trim; may be repeated; all if there is none")
	f.StringVar(&before, "before", "", "first offset to keep, or latest")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := parseBefore(before)
		if err != nil {
			return err
		}
		a, err := o.admin(cmd.Context())
		if err != nil {
			return err
		}
		defer a.Close()
		rows, refusals, err := trimTopic(cmd.Context(), o, a, args[0], only, to)
		if err != nil {
			return err
		}
		if out.kind == "json" {
			err = printJSON(cmd.OutOrStdout(), rows)
		} else {
			t := table{header: []string{"PARTITION", "START", "ERROR"}}
			for _, r := range rows {
				t.add(decimal(r.Partition), decimal(r.Start), r.Error)
			}
			err = t.print(cmd.OutOrStdout())
		}
		return errors.Join(append([]error{err}, refusals...)...)
	}
	return cmd
}

// latest is the high watermark in a request to delete records.
const latest = -1

func parseBefore(text string) (int64, error) {
	switch n, err := strconv.ParseInt(text, 10, 64); {
	case text == "":
		return 0, usage("--before is missing: give the first offset to keep, or latest")
	case text == "latest":
		return latest, nil
	case err != nil || n < 0:
		return 0, usage("--before %q is no offset and not latest", text)
	default:
		return n, nil
	}
}

// trimTopic deletes what the partitions have before an offset. What is refused for single partitions is in the rows, and
// told in full beside them.
func trimTopic(ctx context.Context, o *clientOptions, a *kadm.Client, topic string, only []int32, before int64) (rows []trimRow, refusals []error, err error) {
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	topics, err := a.ListTopics(ctx, topic)
	if err != nil {
		return nil, nil, err
	}
	t, ok := topics[topic]
	if !ok {
		t.Err = kerr.UnknownTopicOrPartition
	}
	if t.Err != nil {
		return nil, nil, refusal(topic, t.Err, "")
	}
	all := t.Partitions.Numbers()
	offsets := make(kadm.Offsets)
	for _, p := range all {
		if len(only) == 0 || slices.Contains(only, p) {
			offsets.AddOffset(topic, p, before, -1)
		}
	}
	for _, p := range only {
		if !slices.Contains(all, p) {
			return nil, nil, noPartition(topic, p, len(all))
		}
	}
	answers, err := a.DeleteRecords(ctx, offsets)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range answers.Sorted() {
		row := trimRow{Partition: r.Partition, Start: r.LowWatermark}
		if r.Err != nil {
			row.Start, row.Error = -1, r.Err.Error()
			refusals = append(refusals, trimRefusal(topic, r.Partition, r.Err))
		}
		rows = append(rows, row)
	}
	return rows, refusals, nil
}

func trimRefusal(topic string, partition int32, err error) error {
	said := err.Error()
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		said = "it ends before that offset"
	case errors.Is(err, kerr.PolicyViolation):
		said = "its cleanup.policy does not hold delete"
	case errors.Is(err, kerr.InvalidTopicException):
		said = "the topic is internal"
	}
	return &refused{text: fmt.Sprintf("partition %d of topic %s is not trimmed: %s", partition, printable(topic), said), err: err}
}
