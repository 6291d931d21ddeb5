package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node/logtool"
)

func newLogInspectCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect [PATH]",
		Short: "Show what a log holds: segments, journal, partitions",
		Long: `Show what a log holds: its segments, its journal and its partitions; of one file the partitions in it. Batches and records
are those that are there, dead ones too: those that have expired, were truncated, or belong to a deleted topic. STORED
counts those in force; with the records that expired, were lost before they were forwarded, were superseded (compaction)
or damaged they add up to NEXT.

Records are not read for this, so that not all damage shows: culvert log verify reads everything.`,
		Example: `  culvert log inspect /var/lib/culvert
  culvert log inspect /var/lib/culvert/log/00000000000000000007.seg
  culvert log inspect --output json | jq '.partitions[] | {topic, partition, start, next}'`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
	}
	s := addLogPlace(cmd)
	out := addOutput(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := findLog(s, args)
		if err != nil {
			return err
		}
		warnMoving(cmd.ErrOrStderr(), t)
		in, err := t.Inspect(cmd.Context())
		if err != nil {
			return err
		}
		if out.kind == "json" {
			return printJSON(cmd.OutOrStdout(), in)
		}
		return printInventory(cmd.OutOrStdout(), in, t.File != "")
	}
	return cmd
}

// printInventory writes tables. Of one file the partitions in it are shown, of a log those that it has.
func printInventory(w io.Writer, in *logtool.Inventory, file bool) error {
	fmt.Fprintf(w, "log in %s\n", printable(in.Dir))
	var runs []logtool.Run
	if len(in.Segments) > 0 {
		fmt.Fprintln(w)
		t := table{header: []string{"SEGMENT", "KIND", "CREATED", "COMMITS", "BATCHES", "RECORDS", "BYTES", "FILE", "PARTITIONS", "OFFSETS", "STATE"}}
		for _, s := range in.Segments {
			t.add(decimal(int64(s.Number)), segmentKind(s), instant(s.Created), decimal(s.Commits), decimal(s.Batches), decimal(s.Records), humanBytes(s.Bytes),
				humanBytes(s.FileBytes), decimal(len(s.Runs)), offsetsOf(s.Runs), state(s.State))
			runs = s.Runs
		}
		if err := t.print(w); err != nil {
			return err
		}
	}
	if j := in.Journal; j != nil {
		fmt.Fprintln(w)
		t := table{header: []string{"JOURNAL", "GROUPS", "SETTLED", "PENDING", "BATCHES", "RECORDS", "BYTES", "STATE"}}
		t.add(humanBytes(j.Size), howMany(j.Groups, j.First, j.Last), fmt.Sprint(j.Settled), howMany(j.Pending, j.PendingFrom, j.PendingTo), decimal(j.Batches), decimal(j.Records),
			humanBytes(j.Bytes), state(j.State))
		runs = j.Runs
		if err := t.print(w); err != nil {
			return err
		}
	}
	if err := printPartitions(w, in, runs, file); err != nil {
		return err
	}
	if len(in.SetAside) > 0 {
		fmt.Fprintf(w, "\nset aside as damaged: %s\n", printable(strings.Join(in.SetAside, ", ")))
	}
	if len(in.Problems) > 0 {
		fmt.Fprintln(w)
	}
	for _, p := range in.Problems {
		problemLine(w, p)
	}
	return nil
}

func printPartitions(w io.Writer, in *logtool.Inventory, runs []logtool.Run, file bool) error {
	fmt.Fprintln(w)
	if file {
		t := table{header: []string{"TOPIC", "PARTITION", "ID", "FROM", "TO", "BATCHES", "RECORDS", "BYTES", "NEWEST"}}
		for _, r := range runs {
			t.add(r.Topic, index(r.Place), decimal(int64(r.ID)), decimal(r.From), decimal(r.To-1), decimal(r.Batches), decimal(r.Records), humanBytes(r.Bytes), instant(time.UnixMilli(r.MaxTime)))
		}
		return t.print(w)
	}
	t := table{header: []string{"TOPIC", "PARTITION", "ID", "START", "NEXT", "STORED", "EXPIRED", "LOST", "SUPERSEDED", "DAMAGED", "HOLES", "EPOCH", "PRODUCERS"}}
	for _, p := range in.Partitions {
		epoch := ""
		if n := len(p.Epochs); n > 0 {
			epoch = decimal(p.Epochs[n-1].Epoch)
		}
		t.add(p.Topic, index(p.Place), decimal(int64(p.ID)), decimal(p.Start), decimal(p.Next), decimal(p.Stored), decimal(p.Expired), decimal(p.Lost), decimal(p.Superseded),
			decimal(p.Damaged), holes(p.Holes), epoch, decimal(p.Producers))
	}
	return t.print(w)
}

func segmentKind(s logtool.Segment) string {
	switch {
	case s.Rewritten:
		return "rewritten"
	case s.Sealed:
		return "sealed"
	case s.Active:
		return "active"
	}
	return "unsealed"
}

func state(s string) string {
	if s == logtool.StateDamaged {
		return "DAMAGED"
	}
	return s
}

// instant writes a time for people; nothing where it is not known.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func index(p logtool.Place) string {
	if p.Partition < 0 {
		return ""
	}
	return decimal(p.Partition)
}

// offsetsOf tells which offsets a file holds, where they are of one partition.
func offsetsOf(runs []logtool.Run) string {
	if len(runs) != 1 {
		return ""
	}
	return decimal(runs[0].From) + "-" + decimal(runs[0].To-1)
}

// howMany writes how many there are, and which.
func howMany(n int64, first, last uint64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%d-%d)", n, first, last)
}

// holes writes the first holes, and how many more there are.
func holes(all []logtool.Hole) string {
	const most = 3
	var parts []string
	for i, h := range all {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(all)-most))
			break
		}
		parts = append(parts, fmt.Sprintf("%d-%d", h.From, h.To-1))
	}
	return strings.Join(parts, ",")
}
