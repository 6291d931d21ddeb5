package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node/admin"
	"github.com/culvert-mq/culvert/node/config"
)

const defaultHTTP = "127.0.0.1:8080"

func newStatusCmd() *cobra.Command {
	var address string
	var timeout time.Duration
	var internal, ledger bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a node is: listeners, store, topics, forwarding",
		Long: `Show how a node is, as it tells over HTTP at /status. The exit code is 1 when the node does not serve, and 3 when it
does not answer.

With --ledger, what became of the records of every topic since it was created: ACCEPTED is STORED, EXPIRED, LOST,
SUPERSEDED and DAMAGED together. LOST are those that had to go, or were deleted, before they were forwarded to the centre;
EXPIRED those that went after, or of topics that are not forwarded; SUPERSEDED went by compaction. FORWARDED are in one
of the others, too.`,
		Example: `  culvert status
  culvert status --ledger
  culvert status --http cabinet-7.example:8080 --output json | jq .log
  watch culvert status`,
		Args: usageArgs(cobra.NoArgs),
	}
	f := cmd.Flags()
	server := defaultHTTP
	if text := os.Getenv(config.VariableHTTP); text != "" {
		server = text
	}
	f.StringVar(&address, "http", server, "HTTP address of the node (variable "+config.VariableHTTP+")")
	f.DurationVar(&timeout, "timeout", 10*time.Second, "longest wait for the node")
	f.BoolVar(&internal, "internal", false, "show the node's own topics, too")
	f.BoolVar(&ledger, "ledger", false, "show what became of the records of every topic")
	out := addOutput(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		s, err := admin.FetchStatus(ctx, address)
		if err != nil {
			return unreachable(cmd.Context(), address, timeout, err)
		}
		switch {
		case out.kind == "json":
			err = printJSON(cmd.OutOrStdout(), s)
		case ledger:
			err = printLedger(cmd.OutOrStdout(), s, internal)
		default:
			err = printStatus(cmd.OutOrStdout(), s, internal)
		}
		if err == nil && !s.Ready {
			err = fmt.Errorf("the node does not serve: %s", printable(strings.Join(s.NotReady, "; ")))
		}
		return err
	}
	return cmd
}

func unreachable(ctx context.Context, address string, timeout time.Duration, err error) error {
	reason, hint := err.Error(), "start one with `culvert run`, or name its HTTP address with --http"
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		reason = "no answer within " + timeout.String()
	case errors.Is(err, admin.ErrAnswer):
		hint = "is that the HTTP address of a culvert node?"
	case errors.As(err, &op):
		reason = op.Err.Error()
	}
	return &exitError{code: exitUnreachable, err: fmt.Errorf("cannot get a status from %s: %s", address, reason), hint: hint}
}

func printStatus(w io.Writer, s *admin.Status, internal bool) error {
	ready := "ready"
	if !s.Ready {
		ready = "NOT READY"
	}
	fmt.Fprintf(w, "%s (node %d), culvert %s, %s, up %s\n\n", printable(s.Node.Name), s.Node.ID, printable(s.Version), ready, humanSeconds(s.Uptime))
	t := table{header: []string{"LISTENER", "ADDRESS", "CONNECTIONS"}}
	for _, l := range s.Listeners {
		t.add(l.Protocol, l.Address, decimal(l.Connections))
	}
	if err := t.print(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printStore(w, &s.Log, s.Node.DataDir); err != nil {
		return err
	}
	if s.Upstream != nil {
		fmt.Fprintln(w)
		printUpstream(w, s.Upstream)
	}
	fmt.Fprintln(w)
	t = table{header: []string{"TOPIC", "PARTITIONS", "RECORDS", "BYTES", "UPSTREAM LAG", "UPSTREAM"}}
	for i := range s.Topics {
		topic := &s.Topics[i]
		if topic.Internal && !internal {
			continue
		}
		lag, state := "", ""
		if n, forwarded := topic.Lag(); forwarded {
			lag, state = decimal(n), upstreamStates(topic)
		}
		t.add(topic.Name, decimal(len(topic.Partitions)), decimal(topic.Records()), humanBytes(topic.Bytes()), lag, state)
	}
	if len(t.rows) == 0 {
		fmt.Fprintln(w, "no topics yet")
		return nil
	}
	return t.print(w)
}

// upstreamStates names the states of a topic's partitions, each once, and the first error.
func upstreamStates(t *admin.Topic) string {
	var states []string
	seen := map[string]bool{}
	problem := ""
	for _, p := range t.Partitions {
		if p.Upstream == nil {
			continue
		}
		if !seen[p.Upstream.State] {
			seen[p.Upstream.State] = true
			states = append(states, p.Upstream.State)
		}
		if problem == "" && p.Upstream.Error != "" {
			problem = ": " + p.Upstream.Error
		}
	}
	return strings.Join(states, ", ") + problem
}

func printStore(w io.Writer, l *admin.LogStatus, dir string) error {
	t := table{header: []string{"STORE", dir}}
	t.add("on disk", fmt.Sprintf("%s in %d segments, %s free", humanBytes(l.DiskBytes), l.Segments, humanBytes(l.FreeBytes)))
	t.add("stored", fmt.Sprintf("%s in %d commits since the start, %s not in a segment yet", humanBytes(l.BatchBytes), l.Commits, humanBytes(l.PendingBytes)))
	t.add("written", fmt.Sprintf("%s (%.2f times what was stored)", humanBytes(l.WrittenBytes), l.Amplification))
	if l.Device.DeviceBytes >= 0 {
		device := fmt.Sprintf("%s by everything on %s", humanBytes(l.Device.DeviceBytes), l.Device.Name)
		if l.ReceivedBytes > 0 {
			device += fmt.Sprintf(" (%.2f times what was received)", l.DeviceAmplification)
		}
		t.add("device", device)
	}
	addFlash(&t, l)
	t.add("commit", fmt.Sprintf("p50 %s, p99 %s", humanSeconds(l.CommitP50), humanSeconds(l.CommitP99)))
	if l.ReserveBytes < l.ReserveWanted {
		t.add("RESERVE", fmt.Sprintf("%s of %s are held for alarms: they have used it, or there is no room", humanBytes(l.ReserveBytes), humanBytes(l.ReserveWanted)))
	}
	if l.Lost > 0 {
		t.add("LOST", fmt.Sprintf("%d records gone before they were forwarded; `culvert status --ledger` tells of which topics", l.Lost))
	}
	if l.RetentionHeld != "" {
		t.add("EXPIRY WAITS", l.RetentionHeld)
	}
	if l.Refusing != "" {
		t.add("REFUSING", l.Refusing)
	}
	for _, d := range l.Damaged {
		t.add("DAMAGED", d)
	}
	return t.print(w)
}

func printUpstream(w io.Writer, u *admin.UpstreamState) {
	fmt.Fprintf(w, "UPSTREAM  %s as %s: %s, %d records behind", printable(strings.Join(u.Brokers, ", ")), printable(u.Site), printable(u.State), u.Lag)
	if u.Behind > 0 {
		fmt.Fprintf(w, " (%s)", humanSeconds(u.Behind))
	}
	fmt.Fprintf(w, ", %d confirmed", u.Confirmed)
	if u.Lost > 0 {
		fmt.Fprintf(w, ", %d LOST", u.Lost)
	}
	if u.Refused > 0 {
		fmt.Fprintf(w, ", %d REFUSED", u.Refused)
	}
	if u.Held > 0 {
		fmt.Fprintf(w, ", %d partitions HELD", u.Held)
	}
	fmt.Fprintln(w)
	if u.LastError != "" {
		fmt.Fprintf(w, "          last error: %s\n", printable(u.LastError))
	}
}
