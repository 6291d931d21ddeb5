package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/node/doctor"
)

func newDoctorCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine this machine: storage, clock, power, memory, ports",
		Long: `Examine this machine and tell in plain words what was found, what it means for a node, and what to do. The storage is
measured for about three seconds, by syncing small writes to a file of its own in the data directory, which is removed
again. A running node is not disturbed, and its files are not touched.

The exit code is 0 when there is nothing to mend, 8 when there are warnings, 1 when something fails: a node would not
run, or could not keep what it acknowledges. Run it as the user that runs the node, or as root.`,
		Example: `  culvert doctor
  sudo -u culvert culvert doctor --config /etc/culvert/culvert.toml
  culvert doctor --output json | jq '.findings[] | select(.check == "sync") | .values'`,
		Args: usageArgs(cobra.NoArgs),
	}
	s := addSettings(cmd)
	out := addOutput(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := s.load()
		if err != nil {
			return err
		}
		r := doctor.Run(cmd.Context(), doctorOptions(c))
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		if out.kind == "json" {
			err = printJSON(cmd.OutOrStdout(), r)
		} else {
			err = printReport(cmd.OutOrStdout(), r)
		}
		return errors.Join(err, verdict(r))
	}
	return cmd
}

func doctorOptions(c *config.Config) doctor.Options {
	opt := doctor.Options{
		DataDir: c.Node.DataDir, MinFreeBytes: int64(c.Log.MinFreeBytes), SegmentBytes: int64(c.Log.SegmentBytes),
		MemoryLimit: c.MemoryLimit(), PromisedBytes: int64(c.PromisedBytes()),
		Listen: []doctor.Listener{{Protocol: "mqtt", Address: c.MQTT.Listen}, {Protocol: "kafka", Address: c.Kafka.Listen}, {Protocol: "http", Address: c.HTTP.Listen}},
	}
	if c.MQTT.Listen != "" {
		opt.Connections += int64(c.MQTT.MaxConnections)
	}
	if c.Kafka.Listen != "" {
		opt.Connections += int64(c.Kafka.MaxConnections)
	}
	return opt
}

// verdict turns a report into an exit code.
func verdict(r *doctor.Report) error {
	fails, warns := r.Count(doctor.Fail), r.Count(doctor.Warn)
	switch {
	case fails > 0:
		return &exitError{code: exitFailure, err: fmt.Errorf("%s, %s", count(fails, "thing to mend", "things to mend"), count(warns, "warning", "warnings"))}
	case warns > 0:
		return &exitError{code: exitWarning, err: errors.New(count(warns, "warning", "warnings"))}
	}
	return nil
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return decimal(n) + " " + many
}

// pageWidth is what text for people is wrapped at, in characters.
const pageWidth = 80

// printReport writes a line for every finding, in the order of looking, and then what they mean, from bad to good.
func printReport(w io.Writer, r *doctor.Report) error {
	machine := []string{r.Machine.Arch}
	if r.Machine.Kernel != "" {
		machine = append(machine, "Linux "+r.Machine.Kernel)
	}
	if r.Machine.Model != "" {
		machine = append(machine, r.Machine.Model)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\ndata directory %s\n\n", printable(strings.Join(machine, ", ")), printable(r.DataDir))
	width := len("CHECK")
	for _, f := range r.Findings {
		width = max(width, utf8.RuneCountInString(f.Check))
	}
	row := func(level, check, measured string) {
		wrapped(&b, fmt.Sprintf("%-5s  %-*s  ", level, width, check), printable(measured))
	}
	row("LEVEL", "CHECK", "MEASURED")
	for _, f := range r.Findings {
		row(f.Level.String(), f.Check, f.Measured)
	}
	for _, f := range r.Worst() {
		b.WriteByte('\n')
		wrapped(&b, fmt.Sprintf("%-4s  ", f.Level), f.Check+": "+printable(f.Measured))
		wrapped(&b, "      ", printable(f.Means))
		if f.Do != "" {
			wrapped(&b, "   -> ", printable(f.Do))
		}
	}
	if r.Level < doctor.Warn {
		b.WriteString("\nnothing to mend\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrapped writes a text in lines of pageWidth, the first behind head, the others below where it began. A word that is
// longer than a line stays whole, so that it can be copied.
func wrapped(b *strings.Builder, head, text string) {
	b.WriteString(head)
	indent := utf8.RuneCountInString(head)
	column := indent
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > pageWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	b.WriteByte('\n')
}
