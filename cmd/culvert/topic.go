package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func newTopicCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topic",
		Short: "Create, list, describe, alter, trim and delete topics",
		Example: `  culvert topic create telemetry --partitions 4 --config retention.ms=86400000
  culvert topic list
  culvert topic describe telemetry
  culvert topic alter telemetry --config retention.ms=3600000
  culvert topic trim telemetry --before latest
  culvert topic delete telemetry`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	o := addClientFlags(cmd)
	cmd.AddCommand(newTopicCreateCmd(o), newTopicListCmd(o), newTopicDescribeCmd(o), newTopicAlterCmd(o), newTopicTrimCmd(o), newTopicDeleteCmd(o))
	return cmd
}

// readSettings reads flags of the form key=value.
func readSettings(flag string, settings []string) (map[string]string, error) {
	m := make(map[string]string, len(settings))
	for _, s := range settings {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return nil, usage("--%s %q is not of the form key=value", flag, s)
		}
		m[key] = value
	}
	return m, nil
}

// refusal makes one error of a code and of what the node said about it. The code stays in it, for the exit code.
func refusal(topic string, err error, message string) error {
	said := " " + err.Error()
	code, coded := errors.AsType[*kerr.Error](err)
	switch {
	case isKafka(err, kerr.UnknownTopicOrPartition):
		said = " does not exist"
	case isKafka(err, kerr.TopicAlreadyExists):
		said = " exists already"
	case coded && message != "": // it knows better than the code, which stands for several things
		said = ": " + printable(message) + " (" + code.Message + ")"
	}
	return &refused{text: "topic " + printable(topic) + said, err: err}
}

// refused is an error in words of its own.
type refused struct {
	text string
	err  error
}

func (r *refused) Error() string { return r.text }
func (r *refused) Unwrap() error { return r.err }

// topicID writes a topic's id as Kafka's tools do.
func topicID(id kadm.TopicID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func newTopicCreateCmd(o *clientOptions) *cobra.Command {
	var partitions int32
	var replication int16
	var settings []string
	var ifMissing bool
	cmd := &cobra.Command{
		Use:   "create TOPIC...",
		Short: "Create topics",
		Long: `Create topics. Without --partitions they get as many as the node's configuration says (log.num_partitions). The
settings are those of Kafka's topics, like retention.ms, retention.bytes, max.message.bytes or cleanup.policy, and
culvert.priority: which topics give way first when the disk is full, 0 to 9 (5 without it; 8 and 9 are alarms, which
have reserved space and go only when nothing else is left).`,
		Example: `  culvert topic create telemetry
  culvert topic create telemetry --partitions 4 --config retention.ms=86400000 --if-not-exists
  culvert topic create alarms --config culvert.priority=9`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, topics []string) error {
			configs, err := readSettings("config", settings)
			if err != nil {
				return err
			}
			pointers := make(map[string]*string, len(configs))
			for k, v := range configs {
				pointers[k] = &v
			}
			a, err := o.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer a.Close()
			ctx, cancel := o.bounded(cmd.Context())
			defer cancel()
			answers, err := a.CreateTopics(ctx, partitions, replication, pointers, topics...)
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range topics {
				t := answers[name]
				switch {
				case errors.Is(t.Err, kerr.TopicAlreadyExists) && ifMissing:
					fmt.Fprintf(cmd.OutOrStdout(), "%s exists already\n", t.Topic)
				case t.Err != nil:
					errs = append(errs, refusal(t.Topic, t.Err, t.ErrMessage))
				default:
					fmt.Fprintf(cmd.OutOrStdout(), "%s created%s\n", t.Topic, withPartitions(t.NumPartitions))
				}
			}
			return errors.Join(errs...)
		},
	}
	f := cmd.Flags()
	f.Int32VarP(&partitions, "partitions", "p", -1, "number of partitions; -1 is the node's default")
	f.Int16Var(&replication, "replication", -1, "replicas of each partition; -1 is the node's default")
	f.StringArrayVarP(&settings, "config", "c", nil, "setting of the topic, key=value; may be repeated")
	f.BoolVar(&ifMissing, "if-not-exists", false, "be content when a topic exists already")
	return cmd
}

func withPartitions(n int32) string {
	switch {
	case n <= 0:
		return ""
	case n == 1:
		return " with 1 partition"
	}
	return fmt.Sprintf(" with %d partitions", n)
}

func newTopicDeleteCmd(o *clientOptions) *cobra.Command {
	var ifPresent bool
	cmd := &cobra.Command{
		Use:               "delete TOPIC...",
		Short:             "Delete topics and everything in them",
		Example:           "  culvert topic delete scratch debug-1",
		Args:              usageArgs(cobra.MinimumNArgs(1)),
		ValidArgsFunction: o.completeTopics,
		RunE: func(cmd *cobra.Command, topics []string) error {
			a, err := o.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer a.Close()
			ctx, cancel := o.bounded(cmd.Context())
			defer cancel()
			answers, err := a.DeleteTopics(ctx, topics...)
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range topics {
				t := answers[name]
				switch {
				case errors.Is(t.Err, kerr.UnknownTopicOrPartition) && ifPresent:
					fmt.Fprintf(cmd.OutOrStdout(), "%s does not exist\n", t.Topic)
				case t.Err != nil:
					errs = append(errs, refusal(t.Topic, t.Err, t.ErrMessage))
				default:
					fmt.Fprintf(cmd.OutOrStdout(), "%s deleted\n", t.Topic)
				}
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&ifPresent, "if-exists", false, "be content when a topic does not exist")
	return cmd
}

func newTopicAlterCmd(o *clientOptions) *cobra.Command {
	var partitions int
	var settings, unset []string
	cmd := &cobra.Command{
		Use:   "alter TOPIC",
		Short: "Change a topic's settings, or give it more partitions",
		Long: `Change settings of a topic, take them back to the default, or give the topic more partitions. More partitions change
which partition a key belongs to from then on, so that the order of a key's records holds only before and after.`,
		Example: `  culvert topic alter telemetry --config retention.ms=3600000 --unset max.message.bytes
  culvert topic alter telemetry --partitions 8`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: o.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			configs, err := readSettings("config", settings)
			if err != nil {
				return err
			}
			if len(configs)+len(unset) == 0 && partitions == 0 {
				return usage("nothing to change: give --config, --unset or --partitions")
			}
			a, err := o.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer a.Close()
			return alterTopic(cmd, o, a, args[0], partitions, configs, unset)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&partitions, "partitions", "p", 0, "number of partitions to have from now on")
	f.StringArrayVarP(&settings, "config", "c", nil, "setting of the topic, key=value; may be repeated")
	f.StringArrayVar(&unset, "unset", nil, "setting to take back to its default; may be repeated")
	return cmd
}

func alterTopic(cmd *cobra.Command, o *clientOptions, a *kadm.Client, topic string, partitions int, set map[string]string, unset []string) error {
	ctx, cancel := o.bounded(cmd.Context())
	defer cancel()
	if len(set)+len(unset) > 0 {
		var changes []kadm.AlterConfig
		for k, v := range set {
			changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: k, Value: &v})
		}
		for _, k := range unset {
			changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: k})
		}
		answers, err := a.AlterTopicConfigs(ctx, changes, topic)
		if err != nil {
			return err
		}
		for _, r := range answers {
			if r.Err != nil {
				return refusal(topic, r.Err, r.ErrMessage)
			}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s has its new settings\n", topic)
	}
	if partitions != 0 {
		answers, err := a.UpdatePartitions(ctx, partitions, topic)
		if err != nil {
			return err
		}
		for _, r := range answers {
			if r.Err != nil {
				return refusal(topic, r.Err, r.ErrMessage)
			}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s has %d partitions\n", topic, partitions)
	}
	return nil
}

// topicRow is one topic in `topic list`.
type topicRow struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Internal   bool   `json:"internal"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Records    int64  `json:"records"` // offsets between start and end
}

func newTopicListCmd(o *clientOptions) *cobra.Command {
	var internal bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List topics",
		Example: "  culvert topic list --output json | jq -r '.[].name'",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := addOutput(cmd, "table", "json")
	cmd.Flags().BoolVar(&internal, "internal", false, "list the node's own topics, too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := o.admin(cmd.Context())
		if err != nil {
			return err
		}
		defer a.Close()
		rows, err := listTopics(cmd, o, a, internal)
		if err != nil {
			return err
		}
		return printTopics(cmd.OutOrStdout(), out.kind, rows)
	}
	return cmd
}

func listTopics(cmd *cobra.Command, o *clientOptions, a *kadm.Client, internal bool) ([]topicRow, error) {
	ctx, cancel := o.bounded(cmd.Context())
	defer cancel()
	topics, err := a.ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, err
	}
	if !internal {
		topics.FilterInternal()
	}
	rows := []topicRow{}
	if len(topics) == 0 {
		return rows, nil
	}
	starts, err := a.ListStartOffsets(ctx, topics.Names()...)
	if err != nil {
		return nil, err
	}
	ends, err := a.ListEndOffsets(ctx, topics.Names()...)
	if err != nil {
		return nil, err
	}
	for _, t := range topics.Sorted() {
		row := topicRow{Name: t.Topic, ID: topicID(t.ID), Internal: t.IsInternal, Partitions: len(t.Partitions),
			Replicas: t.Partitions.NumReplicas()}
		for _, p := range t.Partitions {
			start, _ := starts.Lookup(t.Topic, p.Partition)
			end, ok := ends.Lookup(t.Topic, p.Partition)
			if ok && start.Err == nil && end.Err == nil {
				row.Records += max(0, end.Offset-start.Offset)
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func printTopics(w io.Writer, kind string, rows []topicRow) error {
	if kind == "json" {
		return printJSON(w, rows)
	}
	t := table{header: []string{"TOPIC", "PARTITIONS", "REPLICAS", "RECORDS"}}
	for _, r := range rows {
		t.add(r.Name, decimal(r.Partitions), decimal(r.Replicas), decimal(r.Records))
	}
	return t.print(w)
}
