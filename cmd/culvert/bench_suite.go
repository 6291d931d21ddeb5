package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/cmd/internal/load"
	"github.com/culvert-mq/culvert/node/config"
)

func newBenchSuiteCmd() *cobra.Command {
	o := load.DefaultSuiteOptions()
	open := config.Size(o.OpenBytes)
	var quick, figuresOnly bool
	var out *output
	cmd := &cobra.Command{
		Use:   "suite",
		Short: "Measure this program against its figures, beside other brokers in the same run",
		Long: `Start this program, and beside it what is installed of Mosquitto and NATS, and measure all of them in one run,
repetitions interleaved, so that what disturbs the machine disturbs them alike; print ratios against the figures
that culvert is to reach. Bytes on the device come from /proc/diskstats and hold whatever else writes to that disk:
leave the machine alone meanwhile.

The full run takes about an hour and needs some 25 GB below --dir; --quick is a small share that shows whether
everything works, not how fast it is.`,
		Example: `  culvert bench suite
  culvert bench suite --only mqtt,native --repetitions 3
  culvert bench suite --quick`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if quick {
				changed := o
				changed.Quick()
				for flag, take := range map[string]func(){
					"repetitions": func() { o.Repetitions = changed.Repetitions }, "span": func() { o.Span = changed.Span },
					"settle": func() { o.Settle = changed.Settle }, "open-bytes": func() { open = config.Size(changed.OpenBytes) },
				} {
					if !cmd.Flags().Changed(flag) {
						take()
					}
				}
			}
			o.OpenBytes = int64(open)
			if o.Binary, err = os.Executable(); err != nil {
				return err
			}
			began := time.Now()
			o.Progress = func(format string, args ...any) {
				if !figuresOnly {
					fmt.Fprintf(cmd.ErrOrStderr(), "%7s  %s\n", time.Since(began).Round(time.Second), fmt.Sprintf(format, args...))
				}
			}
			r, err := load.RunSuite(cmd.Context(), o)
			if err != nil {
				return benchError(err)
			}
			if out.kind == "json" {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = printSuite(cmd.OutOrStdout(), r)
			}
			if err == nil && !r.Ok() && !quick {
				err = fmt.Errorf("figures are missed")
			}
			return err
		},
	}
	out = addOutput(cmd, "text", "json")
	f := cmd.Flags()
	f.StringSliceVar(&o.Only, "only", nil, "sections to run: "+strings.Join(load.Sections(), ", ")+" (default all)")
	f.BoolVar(&quick, "quick", false, "run a small share; missed figures do not fail it")
	f.BoolVarP(&figuresOnly, "quiet", "q", false, "show no progress")
	f.StringVar(&o.Dir, "dir", o.Dir, "directory on the disk that is measured")
	f.IntVar(&o.Repetitions, "repetitions", o.Repetitions, "of everything that is compared; the median counts")
	f.DurationVar(&o.Span, "span", o.Span, "time of one measurement")
	f.DurationVar(&o.Settle, "settle", o.Settle, "time before each")
	f.TextVar(&open, "open-bytes", open, "bytes on disk when the node is killed and opened again")
	f.StringVar(&o.Mosquitto, "mosquitto", o.Mosquitto, "Mosquitto's program")
	f.StringVar(&o.NATS, "nats", o.NATS, "the NATS server's program")
	f.StringVar(&o.ARM64, "arm64", "", "binary for arm64 whose size counts (default: build it from the sources here)")
	f.DurationVar(&o.Coalesce, "coalesce", o.Coalesce, "pause of the load generator between two looks at its sockets")
	return cmd
}

func printSuite(w io.Writer, r *load.SuiteReport) error {
	number := func(v float64) string {
		switch {
		case v >= 100:
			return groupDigits(v)
		case v >= 10:
			return strconv.FormatFloat(v, 'f', 1, 64)
		}
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	fmt.Fprintf(w, "%s\n%s\n\n", r.Machine, r.Noise)
	if len(r.Peers) > 0 {
		t := table{header: []string{"LOAD", "BROKER", "MESSAGES/S", "P50 ms", "P99 ms", "BROKER us/msg", "OWN us/msg", "FAILURE"}}
		for _, p := range r.Peers {
			t.add(p.Load, p.Broker, groupDigits(p.PerSecond), number(p.P50/1000), number(p.P99/1000), number(p.BrokerCPU), number(p.OwnCPU), p.Failure)
		}
		if err := t.print(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	t := table{header: []string{"FIGURE", "TARGET", "MEASURED", "OF EACH RUN", "", "HOW"}}
	for _, f := range r.Figures {
		bound, verdict := "at least ", "reached"
		if f.AtMost {
			bound = "at most "
		}
		if !f.Pass() {
			verdict = "MISSED"
		}
		var all []string
		for _, v := range f.All {
			all = append(all, number(v))
		}
		measured := ""
		if len(f.All) > 0 {
			measured = number(f.Measured)
		}
		t.add(f.Section+": "+f.Name, strings.TrimSpace(bound+number(f.Target)+" "+f.Unit), measured, strings.Join(all, " "), verdict, f.Detail+f.Failure)
	}
	if err := t.print(w); err != nil {
		return err
	}
	for _, what := range r.NotMeasured {
		fmt.Fprintf(w, "NOT MEASURED: %s\n", what)
	}
	return nil
}
