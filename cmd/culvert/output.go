package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// output is the value of --output of a command that prints a list.
type output struct {
	kind  string
	kinds []string
}

// addOutput gives a command the flag --output. The first kind is the default.
func addOutput(cmd *cobra.Command, kinds ...string) *output {
	o := &output{kind: kinds[0], kinds: kinds}
	cmd.Flags().VarP(o, "output", "o", "form of the output: "+strings.Join(kinds, " or "))
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return kinds, cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc("output", complete); err != nil {
		panic(err) // a bug: the flag was made above
	}
	return o
}

func (o *output) String() string { return o.kind }
func (o *output) Type() string   { return strings.Join(o.kinds, "|") }

// Set reads the flag.
func (o *output) Set(text string) error {
	if !slices.Contains(o.kinds, text) {
		return fmt.Errorf("it is none of %s", strings.Join(o.kinds, ", "))
	}
	o.kind = text
	return nil
}

// standardOutput is where commands print. Its errors are *outputError, so that a reader that went away is not taken for
// a node that did: both are EPIPE.
type standardOutput struct{ w io.Writer }

func (s standardOutput) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		err = &outputError{err}
	}
	return n, err
}

type outputError struct{ err error }

func (o *outputError) Error() string { return "output: " + o.err.Error() }
func (o *outputError) Unwrap() error { return o.err }

// printJSON writes v, indented.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// A table is printed with aligned columns. Cells without text are shown as a dash, so that scripts can count columns.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			if cells[i] = printable(c); c == "" {
				cells[i] = "-"
			}
		}
		if _, err := io.WriteString(tw, strings.Join(cells, "\t")+"\n"); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// printable makes what a node sent safe for a terminal and a table: control characters become question marks.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func decimal[T ~int | ~int32 | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// humanBytes writes a size for people: three digits, binary units.
func humanBytes(n int64) string {
	if n < 0 {
		return "unknown"
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, i := float64(n), 0
	for v >= 1023.5 && i < len(units)-1 {
		v /= 1024
		i++
	}
	digits := 0
	if i > 0 && v < 99.95 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + units[i]
}

// humanSeconds writes a time for people.
func humanSeconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d" + strconv.FormatInt(int64(d%(24*time.Hour)/time.Hour), 10) + "h"
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
