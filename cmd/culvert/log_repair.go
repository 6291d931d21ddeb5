package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node/logtool"
)

func newLogRepairCmd() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "repair [PATH]",
		Short: "Put what is whole of damaged files in their place",
		Long: `Verify a log, and mend it where it is damaged: what is whole of each damaged file is put in its place, and the damaged file
is kept under another name (*.damaged), whatever happens. Which records are gone is told, and noted in the log, whose
offsets stay as they are. A node does the same when it starts, or when it comes upon the damage; this does it at once,
for the whole log, and verifies the result.

The log is taken for that: no node may run on it. The exit code is 0 when the log is whole, or is again, and 1 when
something is left that could not be mended; with --dry-run, which only reads, it is that of culvert log verify.`,
		Example: `  culvert log repair --dry-run /media/card/var/lib/culvert
  sudo -u culvert culvert log repair /var/lib/culvert`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
	}
	s := addLogPlace(cmd)
	out := addOutput(cmd, "text", "json")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would be done, and do nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := s.load()
		if err != nil {
			return err
		}
		t, err := findLog(s, args)
		if err != nil {
			return err
		}
		if dry {
			warnMoving(cmd.ErrOrStderr(), t)
		}
		w := cmd.OutOrStdout()
		r, err := t.Repair(cmd.Context(), logtool.RepairOptions{
			SegmentBytes: int64(c.Log.SegmentBytes), JournalBytes: int64(c.Log.JournalBytes), DirectBytes: int64(c.Commit.DirectBytes), DryRun: dry,
			Logger: slog.New(slog.DiscardHandler), // what there is to tell the report has
		}, tellProblems(w, out.kind))
		switch {
		case errors.Is(err, logtool.ErrInUse):
			return &exitError{code: exitInUse, err: err, hint: "stop the node first; culvert log verify can be used beside it"}
		case errors.Is(err, logtool.ErrNoLog):
			return &exitError{code: exitUsage, err: err}
		case r == nil:
			return err
		}
		if out.kind == "json" {
			err = errors.Join(err, printJSON(w, r))
		} else {
			printRepair(w, r)
		}
		return errors.Join(err, unmended(r))
	}
	return cmd
}

func unmended(r *logtool.Repair) error {
	if r.After == nil {
		return damaged(r.Before)
	}
	return damaged(r.After)
}

func printRepair(w io.Writer, r *logtool.Repair) {
	printVerdict(w, r.Before)
	if r.Before.Whole() {
		fmt.Fprintln(w, "nothing to repair")
		return
	}
	kept, done := "would be kept as", "what is whole of it would be put in its place"
	if r.After != nil {
		kept, done = "kept as", "what is whole of it is in its place"
	}
	for _, m := range r.Mended {
		name := m.File
		if name == "" {
			name = "the log"
		}
		fmt.Fprintf(w, "\n%s\n", printable(name))
		for _, text := range m.Text {
			fmt.Fprintf(w, "  %s\n", printable(text))
		}
		if m.Kept != "" {
			fmt.Fprintf(w, "  %s %s\n", kept, printable(m.Kept))
		}
		if m.Rebuilt {
			fmt.Fprintf(w, "  %s\n", done)
		}
		printGone(w, "  ", m.Gone)
	}
	switch {
	case r.After == nil:
	case r.After.Whole():
		fmt.Fprintln(w, "\nwhole again")
	default:
		fmt.Fprintln(w, "\nnot whole yet:")
		for _, p := range r.After.Problems {
			problemLine(w, p)
		}
	}
}
