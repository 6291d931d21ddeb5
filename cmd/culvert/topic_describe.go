package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicDetails is what `topic describe` prints.
type topicDetails struct {
	Name       string             `json:"name"`
	ID         string             `json:"id"`
	Internal   bool               `json:"internal"`
	Partitions []partitionDetails `json:"partitions"`
	Settings   []settingDetails   `json:"settings"`
}

type partitionDetails struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leader_epoch"`
	Replicas    []int32 `json:"replicas"`
	InSync      []int32 `json:"in_sync"`
	Start       int64   `json:"start_offset"`
	End         int64   `json:"end_offset"`
	Error       string  `json:"error,omitempty"`
}

type settingDetails struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"` // topic, node, default
}

func newTopicDescribeCmd(o *clientOptions) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:               "describe TOPIC...",
		Short:             "Show partitions, offsets and settings of topics",
		Example:           "  culvert topic describe telemetry\n  culvert topic describe telemetry --all",
		Args:              usageArgs(cobra.MinimumNArgs(1)),
		ValidArgsFunction: o.completeTopics,
	}
	out := addOutput(cmd, "table", "json")
	cmd.Flags().BoolVar(&all, "all", false, "show settings that are defaults, too")
	cmd.RunE = func(cmd *cobra.Command, topics []string) error {
		a, err := o.admin(cmd.Context())
		if err != nil {
			return err
		}
		defer a.Close()
		ctx, cancel := o.bounded(cmd.Context())
		defer cancel()
		details, err := describeTopics(ctx, a, topics, all)
		if err != nil {
			return err
		}
		if out.kind == "json" {
			return printJSON(cmd.OutOrStdout(), details)
		}
		for i := range details {
			if i > 0 {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			if err := details[i].print(cmd.OutOrStdout()); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func describeTopics(ctx context.Context, a *kadm.Client, names []string, all bool) ([]topicDetails, error) {
	topics, err := a.ListTopics(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, t := range topics.Sorted() {
		if t.Err != nil {
			return nil, refusal(t.Topic, t.Err, "")
		}
	}
	starts, err := a.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	ends, err := a.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	configs, err := a.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return nil, err
	}
	var details []topicDetails
	for _, t := range topics.Sorted() {
		d := topicDetails{Name: t.Topic, ID: topicID(t.ID), Internal: t.IsInternal, Settings: []settingDetails{}}
		for _, p := range t.Partitions.Sorted() {
			start, _ := starts.Lookup(t.Topic, p.Partition)
			end, _ := ends.Lookup(t.Topic, p.Partition)
			row := partitionDetails{Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch,
				Replicas: p.Replicas, InSync: p.ISR, Start: start.Offset, End: end.Offset}
			for _, err := range []error{p.Err, start.Err, end.Err} {
				if err != nil {
					row.Error = err.Error()
				}
			}
			d.Partitions = append(d.Partitions, row)
		}
		resource, err := configs.On(t.Topic, nil)
		if err == nil && resource.Err != nil {
			err = resource.Err
		}
		if err != nil {
			return nil, refusal(t.Topic, err, resource.ErrMessage)
		}
		for _, c := range resource.Configs {
			source := sourceOf(c.Source)
			if source != "default" || all {
				d.Settings = append(d.Settings, settingDetails{Key: c.Key, Value: c.MaybeValue(), Source: source})
			}
		}
		details = append(details, d)
	}
	return details, nil
}

func sourceOf(s kmsg.ConfigSource) string {
	switch s {
	case kmsg.ConfigSourceDynamicTopicConfig:
		return "topic"
	case kmsg.ConfigSourceDefaultConfig:
		return "default"
	}
	return "node"
}

func (d *topicDetails) print(w io.Writer) error {
	fmt.Fprintf(w, "%s (id %s)\n\n", printable(d.Name), d.ID)
	t := table{header: []string{"PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "START", "END", "ERROR"}}
	for _, p := range d.Partitions {
		t.add(decimal(p.Partition), decimal(p.Leader), decimal(p.LeaderEpoch), numbers(p.Replicas), numbers(p.InSync),
			decimal(p.Start), decimal(p.End), p.Error)
	}
	if err := t.print(w); err != nil || len(d.Settings) == 0 {
		return err
	}
	fmt.Fprintln(w)
	t = table{header: []string{"SETTING", "VALUE", "FROM"}}
	for _, s := range d.Settings {
		t.add(s.Key, s.Value, s.Source)
	}
	return t.print(w)
}

func numbers(list []int32) string {
	texts := make([]string, len(list))
	for i, n := range list {
		texts[i] = decimal(n)
	}
	return strings.Join(texts, ",")
}
