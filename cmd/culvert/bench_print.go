package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-mq/culvert/cmd/internal/load"
)

func printMQTT(w io.Writer, r *load.MQTTReport) {
	fmt.Fprintf(w, "load\t%d connections, %d in flight, QoS %d, %d bytes\n", r.Connections, r.Window, r.QoS, r.Size)
	if r.Rate > 0 {
		fmt.Fprintf(w, "asked for\t%s messages/s\n", groupDigits(r.Rate))
	}
	fmt.Fprintf(w, "acknowledged\t%s messages/s\t(%s in %.2f s)\n", groupDigits(r.PerSecond), groupDigits(float64(r.Acked)), r.Seconds)
	if r.Latency != nil {
		since := "sending"
		if r.Rate > 0 {
			since = "the intended time"
		}
		fmt.Fprintf(w, "latency\t%s\tfrom %s\n", latencyText(r.Latency), since)
	}
	fmt.Fprintf(w, "not acknowledged\t%d\n", r.Unacked)
	if r.Misorder > 0 {
		fmt.Fprintf(w, "acknowledged out of order\t%d\n", r.Misorder)
	}
	if r.Failed > 0 {
		fmt.Fprintf(w, "connections lost\t%d\t%s\n", r.Failed, r.Failure)
	}
	fmt.Fprintf(w, "own cost\t%.2f us of processor time a message\n", r.CPU)
	if c := r.Check; c != nil {
		fmt.Fprintf(w, "read back (%s)\t%s of %s\tmissing %d, doubled %d, out of order %d, unexpected %d\n", c.Via,
			groupDigits(float64(c.Received)), groupDigits(float64(c.Expected)), c.Missing, c.Duplicates, c.OutOfOrder, c.Unexpected)
		if c.Failure != "" {
			fmt.Fprintf(w, "reading back failed\t%s\n", c.Failure)
		}
	}
}

func printProduce(w io.Writer, r *load.ProduceReport) {
	fmt.Fprintf(w, "load\t%d connections, %d requests in flight, batches of %d bytes\n", r.Connections, r.Window, r.BatchBytes)
	fmt.Fprintf(w, "acknowledged\t%.1f MB/s\t%s records/s\t(%s records in %.2f s)\n", r.MBPerSecond, groupDigits(r.RecordsPerSecond),
		groupDigits(float64(r.Records)), r.Seconds)
	if r.Latency != nil {
		fmt.Fprintf(w, "latency of a request\t%s\n", latencyText(r.Latency))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(w, "refused\t%d batches\t%s\n", r.Errors[name], name)
	}
	if r.Failure != "" {
		fmt.Fprintf(w, "failed\t%s\n", r.Failure)
	}
	fmt.Fprintf(w, "own cost\t%.2f us of processor time a record\n", r.CPU)
}

func printFetch(w io.Writer, r *load.FetchReport) {
	fmt.Fprintf(w, "read\t%.1f MB/s\t(%s bytes, %s records, %s batches in %.2f s)\n", r.MBPerSecond, groupDigits(float64(r.Bytes)),
		groupDigits(float64(r.Records)), groupDigits(float64(r.Batches)), r.Seconds)
	if r.Corrupt+r.Gaps > 0 {
		fmt.Fprintf(w, "damaged\t%d batches with a wrong CRC, %d gaps between offsets\n", r.Corrupt, r.Gaps)
	}
	if r.Failure != "" {
		fmt.Fprintf(w, "failed\t%s\n", r.Failure)
	}
	fmt.Fprintf(w, "own cost\t%.2f s of processor time\n", r.CPU)
}

func printIdle(w io.Writer, r *load.IdleReport) {
	fmt.Fprintf(w, "opened\t%d connections in %.2f s\n", r.Connections, r.Seconds)
	if r.Before > 0 {
		fmt.Fprintf(w, "resident memory\t%.1f MB, then %.1f MB\t(%s bytes a connection)\n", float64(r.Before)/1e6, float64(r.After)/1e6,
			groupDigits(float64(r.PerConnection)))
	}
}

func printSync(w io.Writer, d *load.DiskReport, c *load.CopyReport) {
	if d.Overwrite != nil {
		fmt.Fprintf(w, "4 kB overwritten and synced\t%s\n", latencyText(d.Overwrite))
	}
	if d.Commit != nil {
		fmt.Fprintf(w, "plain file, commits of %s bytes\t%.1f MB/s\t%s\n", groupDigits(float64(d.CommitSize)), d.MBPerSecond, latencyText(d.Commit))
	}
	fmt.Fprintf(w, "copied over loopback\t%.1f MB/s\n", c.MBPerSecond)
}

func latencyText(l *load.Latency) string {
	ms := func(us float64) string { return strconv.FormatFloat(us/1000, 'f', 3, 64) }
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s ms", ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max))
}

// groupDigits writes a number with its thousands set off: 1,234,567.
func groupDigits(v float64) string {
	s := strconv.FormatInt(int64(math.Round(v)), 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return sign + b.String()
}
