package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/cmd/internal/city"
)

// newSimulateCmd is `culvert simulate`.
func newSimulateCmd() *cobra.Command {
	o := city.SimulatorOptions{Devices: 500, Seed: 1}
	fleet := fleetFlags{speed: "1", topic: "city/simulated/{id}/{measure}"}
	start := ""
	var out *output
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Publish what a city would, without a recording",
		Long: `Publish to an MQTT broker what a city would: road sensors with their rush hours, air stations, lamps that switch
on in the evening, parking sites that fill by day or by night. Incidents make the road sensors of a neighbourhood
report in bursts; devices drop out now and then and send what they held back when they are online again. Messages
are those of culvert replay.

The same seed and start make the same city.`,
		Example: `  culvert simulate --devices 500
  culvert simulate --devices 200 --start 2026-03-02T06:00:00Z --duration 12h --speed 360
  culvert simulate --rate 1000 --count 1000000`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Start = time.Now()
			if start != "" {
				t, err := time.Parse(time.RFC3339, start)
				if err != nil {
					return usage("--start %q: a time like 2026-03-02T06:00:00Z", start)
				}
				o.Start = t
			}
			src, err := city.NewSimulator(o)
			if err != nil {
				return usage("%w", err)
			}
			totals, err := fleet.run(cmd, src)
			return fleetResult(cmd, out, totals, err)
		},
	}
	out = addOutput(cmd, "text", "json")
	f := cmd.Flags()
	f.IntVar(&o.Devices, "devices", o.Devices, "devices of the city")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "what the city is made from")
	f.StringVar(&start, "start", "", "time at which the city's clock begins (default now)")
	f.DurationVar(&o.Duration, "duration", 0, "time on the city's clock (0: without end)")
	f.Int64Var(&o.Count, "count", 0, "readings in all (0: without end)")
	f.BoolVar(&o.Calm, "calm", false, "no device drops out")
	fleet.add(cmd)
	return cmd
}
