package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/cmd/internal/city"
)

// newDemoCmd is `culvert demo`.
func newDemoCmd() *cobra.Command {
	o := demoOptions{replay: replayOptions{layout: "aarhus"}, count: 500_000, devices: 500}
	var out *output
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole path, from sensors to the centre, and prove that it loses nothing",
		Long: `Start a gateway and, standing for the centre, a second culvert (or take a Kafka cluster, --centre); publish a
recording over MQTT as the devices it came from, or a simulated city without one; let the gateway forward it; read
it back at the centre with an ordinary client; and hold it against what was published: every reading must be there
once, in its device's order, as it was. Everything runs on loopback, on free ports, in a temporary directory.`,
		Example: `  culvert demo
  culvert demo --csv aarhus-traffic.csv.gz
  culvert demo --csv air.csv.gz --layout aberdeen --centre kafka.example.org:9092`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := o.run(cmd, out.kind == "json")
			if err != nil {
				return benchError(err)
			}
			if out.kind == "json" {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = printDemo(cmd.OutOrStdout(), r)
			}
			if err == nil && !r.Ok() {
				err = fmt.Errorf("what arrived is not what was published")
			}
			return err
		},
	}
	out = addOutput(cmd, "text", "json")
	o.replay.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.centre, "centre", "", "native address of a Kafka cluster that stands for the centre (default: a second culvert)")
	f.StringVar(&o.dir, "dir", os.TempDir(), "directory below which the data lies while it runs")
	f.BoolVar(&o.keep, "keep", false, "keep the data")
	f.IntVar(&o.devices, "devices", o.devices, "devices of the simulated city")
	f.Int64Var(&o.count, "count", o.count, "readings of the simulated city")
	f.IntVar(&o.connections, "connections", 0, "connections that the devices share (0: one for each device)")
	f.DurationVar(&o.patience, "patience", time.Minute, "how long nothing may arrive at the centre before it is given up")
	return cmd
}

type demoOptions struct {
	replay      replayOptions
	centre      string
	dir         string
	keep        bool
	devices     int
	count       int64
	connections int
	patience    time.Duration
}

func (o *demoOptions) run(cmd *cobra.Command, quiet bool) (*city.DemoReport, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	progress := cmd.ErrOrStderr()
	if quiet {
		progress = io.Discard
	}
	fleet := city.FleetOptions{Topic: "city/simulated/{id}/{measure}", Connections: o.connections, ClientID: "demo",
		KeepAlive: time.Minute, RetryFor: o.patience}
	source, closeSource, err := o.source(&fleet)
	if err != nil {
		return nil, err
	}
	defer closeSource()
	dir, err := os.MkdirTemp(o.dir, "culvert-demo-")
	if err != nil {
		return nil, err
	}
	if !o.keep {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	step := func(format string, args ...any) { fmt.Fprintf(progress, "-- "+format+"\n", args...) }
	step("everything lies below %s", dir)
	return city.Demo(cmd.Context(), city.DemoOptions{Binary: binary, Dir: dir, Centre: o.centre, Source: source, Fleet: fleet,
		Patience: o.patience, Step: step,
		Started: func(f *city.Fleet) func() { return showProgress(progress, f) }})
}

// source is the recording, or the simulated city when there is none.
func (o *demoOptions) source(fleet *city.FleetOptions) (src city.Source, closeIt func(), err error) {
	if o.replay.file == "" {
		// Nobody drops out here: a device that sends again after a reconnect doubles a reading, and rightly so.
		s, err := city.NewSimulator(city.SimulatorOptions{Devices: o.devices, Seed: 1, Count: o.count, Calm: true,
			Start: time.Date(2026, time.March, 2, 5, 0, 0, 0, time.UTC)})
		if err != nil {
			return nil, nil, usage("%w", err)
		}
		return s, func() {}, nil
	}
	l, err := o.replay.build()
	if err != nil {
		return nil, nil, err
	}
	r, err := city.OpenRecording(o.replay.file, l)
	if err != nil {
		return nil, nil, err
	}
	fleet.Topic = l.Topic
	return r, func() { _ = r.Close() }, nil
}

func printDemo(w io.Writer, r *city.DemoReport) error {
	v := r.Verdict
	seconds := r.Elapsed.Seconds()
	t := table{header: []string{"WHERE", "RECORDS", "HOW"}}
	n := func(v int64) string { return groupDigits(float64(v)) }
	t.add("published over MQTT", n(r.Published), fmt.Sprintf("by %d devices, QoS 1, in %s: %s/s", r.Devices, humanSeconds(seconds),
		groupDigits(float64(r.Published)/max(seconds, 1e-9))))
	t.add("acknowledged", n(r.Acked), "each one after it was synced to the gateway's disk")
	t.add("stored at the gateway", n(r.Stored), humanBytes(r.DiskBytes)+" on disk for "+humanBytes(r.Bytes)+" of payloads")
	t.add("forwarded to the centre", n(r.Forwarded), "the last one "+humanSeconds(r.Catchup)+" after its acknowledgement, topic "+r.Topic)
	t.add("read back at the centre", n(v.Received), "in "+humanSeconds(r.ReadBack)+" by an ordinary Kafka client")
	t.add("missing", n(v.Missing), "of "+n(v.Expected))
	again := ""
	if r.Resent > 0 {
		again = fmt.Sprintf("%s were sent again after %d reconnects", n(r.Resent), r.Reconnects)
	}
	t.add("doubled", n(v.Duplicates), again)
	t.add("out of order", n(v.OutOfOrder), fmt.Sprintf("within one of the %d devices", v.Devices))
	t.add("altered", n(int64(v.Altered)), "devices whose payloads differ from what was sent")
	t.add("nobody's", n(v.Foreign+v.Unexpected), "")
	if err := t.print(w); err != nil {
		return err
	}
	verdict := "The counts agree: every reading is at the centre, once, in its device's order, as it was sent."
	if !r.Ok() {
		verdict = fmt.Sprintf("The counts do NOT agree; devices to look at: %v", v.Worst)
	}
	_, err := fmt.Fprintln(w, verdict)
	return err
}
