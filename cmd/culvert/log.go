package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/node/logtool"
)

func newLogCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Look into a log without a node: inspect, verify, dump, repair",
		Long: `Look into the log of a node that does not run, for example on a card in a reader. PATH is a data directory, the directory
log in it, or one segment (*.seg) or journal; without it the data directory of the configuration is meant.

inspect, verify and dump only read: also a card that is mounted read-only, damaged files, and the files of a node that
runs, where what they show may be moving. repair takes the log for itself; it never destroys a damaged file.`,
		Example: `  culvert log inspect /media/card/var/lib/culvert
  culvert log verify /media/card/var/lib/culvert
  culvert log dump --topic telemetry /media/card/var/lib/culvert
  culvert log repair --dry-run /media/card/var/lib/culvert`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLogInspectCmd(), newLogVerifyCmd(), newLogDumpCmd(), newLogRepairCmd())
	return cmd
}

// addLogPlace gives a command the flags that say where the log is, when no path does.
func addLogPlace(cmd *cobra.Command) *settings {
	s := &settings{flags: map[string]*string{}, cmd: cmd}
	f := cmd.Flags()
	f.StringVarP(&s.file, "config", "c", "", "configuration file (variable "+config.VariableConfig+"; otherwise "+defaultConfigFile+" if it exists)")
	s.flags["node.data_dir"] = f.String("data-dir", "", "data directory of the node, where no PATH is given")
	return s
}

// findLog finds the log that a command line means.
func findLog(s *settings, args []string) (*logtool.Target, error) {
	var path string
	if len(args) > 0 {
		if s.cmd.Flags().Changed("data-dir") {
			return nil, usage("PATH and --data-dir exclude each other")
		}
		path = args[0]
	} else {
		c, err := s.load()
		if err != nil {
			return nil, err
		}
		path = c.Node.DataDir
	}
	t, err := logtool.Find(path)
	if errors.Is(err, logtool.ErrNoLog) || errors.Is(err, fs.ErrNotExist) {
		return nil, &exitError{code: exitUsage, err: err, hint: "name a data directory, the directory log in it, or one of its files"}
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// warnMoving warns where a node runs on a log that is read.
func warnMoving(w io.Writer, t *logtool.Target) {
	if t.Owner != logtool.Nobody {
		fmt.Fprintf(w, "culvert: %s is in use by a node%s: what is shown may be moving\n", printable(t.Dir), process(t.Owner))
	}
}

func process(pid int) string {
	if pid <= 0 {
		return ""
	}
	return " (pid " + decimal(pid) + ")"
}

// problemLine writes a problem for people.
func problemLine(w io.Writer, p logtool.Problem) {
	level := "DAMAGE"
	if p.Harmless {
		level = "note"
	}
	fmt.Fprintf(w, "%-6s  %s\n", level, printable(p.String()))
}

// printGone writes which records are gone.
func printGone(w io.Writer, indent string, gone []logtool.Range) {
	for _, g := range gone {
		fmt.Fprintf(w, "%sgone: %s (%s)\n", indent, printable(g.String()), amount(g.To-g.From, "offset", "offsets"))
	}
}

// amount writes a number with its noun.
func amount[T ~int | ~int64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return decimal(n) + " " + many
}
