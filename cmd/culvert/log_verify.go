package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node/logtool"
)

func newLogVerifyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [PATH]",
		Short: "Read a whole log and tell everything that is damaged",
		Long: `Read a whole log and check it: every checksum, the sums of commits, indexes and summaries against what is there, the order
of offsets, and the state that each segment begins with against what follows from the commits before. Every problem is told
with its file, its commit and, where that is known, the offsets that cannot be read.

A note is no damage: above all a commit or group that was being written when the machine stopped, which was never
acknowledged. The exit code is 0 when the log is whole and 1 when something is damaged.`,
		Example: `  culvert log verify /media/card/var/lib/culvert
  culvert log verify --output json | jq .gone`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
	}
	s := addLogPlace(cmd)
	out := addOutput(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := findLog(s, args)
		if err != nil {
			return err
		}
		warnMoving(cmd.ErrOrStderr(), t)
		w := cmd.OutOrStdout()
		v, err := t.Verify(cmd.Context(), tellProblems(w, out.kind))
		if err != nil {
			return err
		}
		if out.kind == "json" {
			err = printJSON(w, v)
		} else {
			printVerdict(w, v)
		}
		return errors.Join(err, damaged(v))
	}
	return cmd
}

// tellProblems returns what is called with each problem as it is found.
func tellProblems(w io.Writer, kind string) func(logtool.Problem) {
	if kind == "json" {
		return func(logtool.Problem) {}
	}
	return func(p logtool.Problem) { problemLine(w, p) }
}

func damaged(v *logtool.Verdict) error {
	if v.Whole() {
		return nil
	}
	return fmt.Errorf("the log is damaged: %s", amount(v.Damaged, "problem", "problems"))
}

func printVerdict(w io.Writer, v *logtool.Verdict) {
	if v.Damaged+v.Notes > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s, %s, %s, %s, %s; %s in the journal\n", amount(v.Segments, "segment", "segments"), amount(v.Commits, "commit", "commits"),
		amount(v.Batches, "batch", "batches"), amount(v.Records, "record", "records"), humanBytes(v.Bytes), amount(v.Pending, "group", "groups"))
	if v.Whole() {
		fmt.Fprintln(w, "whole")
		return
	}
	printGone(w, "", v.Gone)
	switch {
	case v.Blurred:
		fmt.Fprintln(w, "more may be gone: what the log ended with cannot be made out")
	case len(v.Gone) == 0:
		fmt.Fprintln(w, "no records are gone")
	}
}
