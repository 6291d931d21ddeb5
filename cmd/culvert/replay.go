package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/cmd/internal/city"
)

// newReplayCmd is `culvert replay`.
func newReplayCmd() *cobra.Command {
	o := replayOptions{layout: "generic"}
	fleet := fleetFlags{speed: "1"}
	var out *output
	cmd := &cobra.Command{
		Use:   "replay --csv FILE",
		Short: "Replay a recording as the fleet of MQTT devices it came from",
		Long: `Replay a recording, a CSV file (gzipped or not), to an MQTT broker: every device of the file becomes an MQTT
client with its own connection, and every measured value a message of QoS 1, in the order of time, as JSON:

  {"n":"avgSpeed","v":72,"u":"km/h","t":1409522400,"seq":17}

n is the name of the measure, v its value (vs for words), u its unit, t the time in seconds since 1970, seq the
device's own count from 0. When a connection breaks, the device connects again and sends what was not
acknowledged once more.

The columns are told by --layout, a known recording, or by the flags for a generic one.`,
		Example: `  culvert replay --csv traffic.csv.gz --layout aarhus --speed 60
  culvert replay --csv air.csv --id-column station --time-column utc --measures pm10=pm10:ug/m3,temp:Cel --speed max`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.file == "" {
				return usage("--csv is missing: the recording to replay")
			}
			l, err := o.build()
			if err != nil {
				return err
			}
			src, err := city.OpenRecording(o.file, l)
			if err != nil {
				return err
			}
			defer func() { _ = src.Close() }()
			if fleet.topic == "" {
				fleet.topic = l.Topic
			}
			totals, err := fleet.run(cmd, src)
			if bad := src.Bad(); bad > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%d rows could not be read and were passed over\n", bad)
			}
			return fleetResult(cmd, out, totals, err)
		},
	}
	out = addOutput(cmd, "text", "json")
	o.add(cmd)
	fleet.add(cmd)
	return cmd
}

// replayOptions say what the columns of a recording mean.
type replayOptions struct {
	file      string
	layout    string
	id, time  string
	form      string
	zone      string
	measures  []string
	separator string
	skipBad   bool
}

func (o *replayOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.file, "csv", "", "recording, gzipped or not; its first line names the columns")
	f.StringVar(&o.layout, "layout", o.layout, "known layout: "+strings.Join(city.LayoutNames(), ", "))
	f.StringVar(&o.id, "id-column", "", "column that names the device")
	f.StringVar(&o.time, "time-column", "", "column of the time")
	f.StringVar(&o.form, "time-format", "", `form of the time: "unix", "unixms" or an example after Go's manner, 2006-01-02 15:04:05`)
	f.StringVar(&o.zone, "time-zone", "", "zone of times that have none, like +02:00 or Europe/Copenhagen (default UTC)")
	f.StringSliceVar(&o.measures, "measures", nil, `measured columns as column[=name][:unit], where the unit "text" is for words (default all others)`)
	f.StringVar(&o.separator, "separator", ",", "what stands between two fields")
	f.BoolVar(&o.skipBad, "skip-bad", false, "pass over rows that cannot be read, and count them")
}

// build is the layout that the flags describe.
func (o *replayOptions) build() (city.Layout, error) {
	l, err := city.FindLayout(o.layout)
	if err != nil {
		return l, usage("--layout: %w", err)
	}
	for flag, into := range map[string]*string{o.id: &l.ID, o.time: &l.Time, o.form: &l.TimeForm, o.zone: &l.Zone} {
		if flag != "" {
			*into = flag
		}
	}
	if len(o.measures) > 0 {
		l.Columns = nil
	}
	for _, m := range o.measures {
		c, err := city.ParseColumn(m)
		if err != nil {
			return l, usage("--measures: %w", err)
		}
		l.Columns = append(l.Columns, c)
	}
	if len(o.separator) != 1 {
		return l, usage("--separator %q: one byte is possible", o.separator)
	}
	l.Separator, l.SkipBad = o.separator[0], o.skipBad
	return l, nil
}

// fleetFlags are the flags of what publishes as many devices.
type fleetFlags struct {
	options city.FleetOptions
	topic   string
	speed   string
	quiet   bool
}

func (f *fleetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.options.Addr, "mqtt", "127.0.0.1:1883", "address of the MQTT broker")
	flags.StringVar(&f.options.Credentials.Username, "username", "", "user name")
	flags.StringVar(&f.options.Credentials.Password, "password", "", "password")
	flags.StringVar(&f.topic, "topic", f.topic, "topic pattern with {id} and {measure}")
	flags.IntVar(&f.options.Connections, "connections", 0, "connections that the devices share (0: one for each device)")
	flags.IntVar(&f.options.Window, "window", 100, "messages in flight on each connection")
	flags.StringVar(&f.speed, "speed", f.speed, "times real time, or max: as fast as they are acknowledged")
	flags.Float64Var(&f.options.Rate, "rate", 0, "messages/s instead of a speed")
	flags.StringVar(&f.options.ClientID, "client-id", "culvert-"+cmd.Name(), "prefix of the client ids")
	flags.DurationVar(&f.options.KeepAlive, "keepalive", time.Minute, "keepalive of the connections")
	flags.DurationVar(&f.options.RetryFor, "retry-for", 0, "give up when the broker is away for so long (0: never)")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
}

// run publishes a source, showing progress on standard error once a second.
func (f *fleetFlags) run(cmd *cobra.Command, src city.Source) (city.Totals, error) {
	o := f.options
	o.Topic = f.topic
	switch {
	case o.Rate > 0:
		if cmd.Flags().Changed("speed") {
			return city.Totals{}, usage("--rate and --speed exclude each other")
		}
	case f.speed != "max":
		speed, err := strconv.ParseFloat(f.speed, 64)
		if err != nil || !(speed > 0) {
			return city.Totals{}, usage("--speed %q: a number above 0, or max", f.speed)
		}
		o.Speed = speed
	}
	fleet, err := city.NewFleet(o)
	if err != nil {
		return city.Totals{}, usage("%w", err)
	}
	if !f.quiet {
		defer showProgress(cmd.ErrOrStderr(), fleet)()
	}
	return fleet.Run(cmd.Context(), src)
}

// showProgress writes a line a second until the returned function is called.
func showProgress(w io.Writer, fleet *city.Fleet) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		before := int64(0)
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			n, devices, clock := fleet.Progress()
			fmt.Fprintf(w, "%s  %s messages of %d devices, %s/s\n", clock.UTC().Format("2006-01-02 15:04:05"),
				groupDigits(float64(n)), devices, groupDigits(float64(n-before)))
			before = n
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// fleetResult prints what was published, also when it ended early.
func fleetResult(cmd *cobra.Command, out *output, t city.Totals, err error) error {
	if err != nil && (t.Published == 0 || !errors.Is(err, context.Canceled)) {
		return benchError(err)
	}
	if out.kind == "json" {
		return errors.Join(printJSON(cmd.OutOrStdout(), t), err)
	}
	seconds := t.Elapsed.Seconds()
	_, werr := fmt.Fprintf(cmd.OutOrStdout(), "%s messages of %d devices over %d connections in %s (%s/s), %s acknowledged, %d sent again, %d reconnects\n",
		groupDigits(float64(t.Published)), t.Devices, t.Connections, humanSeconds(seconds), groupDigits(float64(t.Published)/max(seconds, 1e-9)),
		groupDigits(float64(t.Acked)), t.Resent, t.Reconnects)
	return errors.Join(werr, err)
}
