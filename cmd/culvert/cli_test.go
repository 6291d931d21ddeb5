package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/culvert-mq/culvert/node"
	"github.com/culvert-mq/culvert/node/admin"
	"github.com/culvert-mq/culvert/node/config"
)

// cli runs a command line in this process and returns what a shell would see.
func cli(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return cliContext(t, t.Context(), strings.NewReader(stdin), args...)
}

func cliContext(t *testing.T, ctx context.Context, stdin io.Reader, args ...string) (code int, stdout, stderr string) { //nolint:revive // the test comes first
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(&out)
	root.SetErr(&errs)
	code = execute(ctx, root, &errs)
	return code, out.String(), errs.String()
}

func TestWrongCommandLinesAreExplained(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"tpoic list", `culvert: unknown command "tpoic" for "culvert"`},
		{"topic lits", `culvert: unknown command "lits" for "culvert topic"`},
		{"topic create", "culvert: requires at least 1 arg(s), only received 0\n  `culvert topic create --help` shows how\n"},
		{"topic list extra", `culvert: unknown command "extra" for "culvert topic list"`},
		{"topic list --output xml", `culvert: invalid argument "xml" for "-o, --output" flag: it is none of table, json`},
		{"topic list --brokers x", "culvert: unknown flag: --brokers\n  `culvert topic list --help` shows how\n"},
		{"topic list --broker localhost", `culvert: --broker "localhost" is no address; write it like 127.0.0.1:9092`},
		{"topic create t --config retention.ms", `culvert: --config "retention.ms" is not of the form key=value`},
		{"topic alter t", "culvert: nothing to change: give --config, --unset or --partitions"},
		{"topic trim t", "culvert: --before is missing: give the first offset to keep, or latest"},
		{"topic trim t --before soon", `culvert: --before "soon" is no offset and not latest`},
		{"topic trim t --before -3", `culvert: --before "-3" is no offset and not latest`},
		{"produce", "culvert: accepts 1 arg(s), received 0"},
		{"produce t --compression zip", `culvert: --compression "zip" is none of none, gzip, snappy, lz4, zstd`},
		{"produce t --key k --key-separator :", "culvert: --key and --key-separator exclude each other"},
		{"produce t --header x", `culvert: --header "x" is not of the form name=value`},
		{"produce t --partition -2", "culvert: --partition must be -1 or a partition's number"},
		{"produce t --max-record 1M", `size "1M" has the unit "M": write "1MiB"`},
		{"consume t --from yesterday", `culvert: --from "yesterday" is none of: beginning, end, an offset`},
		{"consume t --follow --exit", "culvert: --follow and --exit exclude each other"},
		{"consume t --format %x", `culvert: --format has "%x", which is unknown`},
		{"consume t --format %", `culvert: --format "%" ends in the middle`},
		{"consume t --count -1", "culvert: --count must not be negative"},
		{"config show --set log.retention", `culvert: --set "log.retention" is not of the form key=value`},
		{"config show --set log.retenton=2d", "culvert: flag --set: log.retenton is an unknown key; did you mean log.retention?"},
		{"config show --mqtt-listen here", `culvert: flag --mqtt-listen: mqtt.listen is "here": it has no port, or more than one`},
		{"config show --config /nowhere/culvert.toml", "culvert: configuration: open /nowhere/culvert.toml: no such file or directory\n  without --config, culvert runs with its defaults\n"},
	} {
		code, stdout, stderr := cli(t, "", strings.Fields(c.args)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("culvert %s: exit code %d, output %q, errors %q, want %q", c.args, code, stdout, stderr, c.want)
		}
	}
}

func TestANodeThatIsNotThereIsAnExitCodeOfItsOwn(t *testing.T) {
	for _, args := range []string{
		"topic list --broker 127.0.0.1:1", "produce t --broker 127.0.0.1:1", "consume t --broker 127.0.0.1:1", "topic delete t -b 127.0.0.1:1",
	} {
		code, _, stderr := cli(t, "", strings.Fields(args)...)
		want := "culvert: cannot reach a node at 127.0.0.1:1: connect: connection refused\n  start one with `culvert run`, or name its address with --broker\n"
		if code != exitUnreachable || stderr != want {
			t.Errorf("culvert %s: exit code %d, %q, want %q", args, code, stderr, want)
		}
	}
	code, _, stderr := cli(t, "", "status", "--http", "127.0.0.1:1")
	if want := "culvert: cannot get a status from 127.0.0.1:1: connect: connection refused\n"; code != exitUnreachable || !strings.HasPrefix(stderr, want) {
		t.Errorf("status: exit code %d, %q", code, stderr)
	}
}

func TestVariablesNameTheNode(t *testing.T) {
	t.Setenv(config.VariableBroker, "127.0.0.1:2,127.0.0.1:3")
	t.Setenv(config.VariableHTTP, "127.0.0.1:4")
	if _, _, stderr := cli(t, "", "topic", "list"); !strings.Contains(stderr, "127.0.0.1:2, 127.0.0.1:3") {
		t.Errorf("topic list asks %q", stderr)
	}
	if _, _, stderr := cli(t, "", "status"); !strings.Contains(stderr, "127.0.0.1:4") {
		t.Errorf("status asks %q", stderr)
	}
}

func TestASilentNodeIsGivenUpInTime(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	code, _, stderr := cli(t, "", "status", "--http", silent.URL, "--timeout", "50ms")
	if code != exitUnreachable || !strings.Contains(stderr, "no answer within 50ms") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestConfigurationIsCheckedShownAndExplained(t *testing.T) {
	t.Setenv("CULVERT_NODE_NAME", "cabinet-7")
	file := filepath.Join(t.TempDir(), "culvert.toml")
	put := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("[mqtt]\nlisten = \"127.0.0.1:1884\"\n")
	code, stdout, stderr := cli(t, "", "config", "check", file, "--data-dir", "/srv")
	want := file + " is good\n  mqtt    127.0.0.1:1884\n  native  127.0.0.1:9092\n  http    127.0.0.1:8080\n  data    /srv\n"
	if code != exitOK || stdout != want || stderr != "" {
		t.Errorf("check: exit code %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, _ = cli(t, "", "config", "show", "-c", file, "--http-listen", "")
	for _, want := range []string{
		`listen = "127.0.0.1:1884" # ` + file + ":2", `name = "cabinet-7" # variable CULVERT_NODE_NAME`, `listen = "" # flag --http-listen`,
	} {
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("show: exit code %d, no %q in\n%s", code, want, stdout)
		}
	}
	if code, stdout, _ = cli(t, "", "config", "show", "-o", "json"); code != exitOK || !strings.Contains(stdout, `"origin": "variable CULVERT_NODE_NAME"`) {
		t.Errorf("show as JSON: exit code %d\n%s", code, stdout)
	}
	t.Setenv(config.VariableConfig, file)
	put("[mqtt]\nlisen = 1\nlisten = 2\n")
	code, _, stderr = cli(t, "", "config", "check")
	want = "culvert: " + file + ":2: mqtt.lisen is an unknown key; did you mean mqtt.listen?\n" +
		"culvert: " + file + ":3: mqtt.listen must be a text in quotes, not a number; write \"2\"\n" +
		"  `culvert config default` prints every key with its explanation\n"
	if code != exitUsage || stderr != want {
		t.Errorf("check of a bad file: exit code %d\n%s\nwant\n%s", code, stderr, want)
	}
	_, stdout, _ = cli(t, "", "config", "default")
	put(stdout)
	if code, _, stderr = cli(t, "", "config", "check"); code != exitOK {
		t.Errorf("the default file is refused: %s", stderr)
	}
}

// status is what the node of the tests tells about itself.
var status = admin.Status{
	Version: "v1.2.3", Node: admin.NodeStatus{ID: 7, Name: "cabinet-7", DataDir: "/srv"}, Uptime: 93784, Ready: true,
	Listeners: []admin.Listener{{Protocol: "mqtt", Address: "127.0.0.1:1883", Connections: 449}},
	Log: admin.LogStatus{Segments: 3, DiskBytes: 150 << 20, FreeBytes: 5 << 30, BatchBytes: 1000, WrittenBytes: 2500, Amplification: 2.5,
		Commits: 12, CommitP50: 0.00025, CommitP99: 0.0123, Device: admin.Device{DeviceBytes: 4096, Name: "mmcblk0p2"}, Damaged: []string{"000007.bad"}},
	Topics: []admin.Topic{
		{Name: "__consumer_offsets", Internal: true, Partitions: []admin.Partition{{End: 5}}},
		{Name: "telemetry", Partitions: []admin.Partition{
			{Index: 0, Start: 100, End: 578435, Bytes: 20 << 20, Upstream: &admin.PartitionUpstream{State: "sending", Lag: 12}},
			{Index: 1, End: 7, Bytes: 100, Upstream: &admin.PartitionUpstream{State: "held", Lag: 7, Error: "centre\x1b[2J says no"}},
		}},
		{Name: "zigbee", Partitions: []admin.Partition{{End: 1, Bytes: 1}}},
	},
	Upstream: &admin.UpstreamState{State: "down", Brokers: []string{"centre:9092"}, Site: "north", Lag: 19, Behind: 90, Confirmed: 1000, Lost: 2, LastError: "refused"},
}

type statusSource struct{ s admin.Status }

func (s *statusSource) serve(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		if err := printJSON(w, s.s); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestStatusIsShownAsTables(t *testing.T) {
	source := &statusSource{status}
	url := source.serve(t)
	code, stdout, stderr := cli(t, "", "status", "--http", url)
	want := `cabinet-7 (node 7), culvert v1.2.3, ready, up 26h3m4s

LISTENER  ADDRESS         CONNECTIONS
mqtt      127.0.0.1:1883  449

STORE    /srv
on disk  150 MiB in 3 segments, 5.0 GiB free
stored   1000 B in 12 commits since the start, 0 B not in a segment yet
written  2.4 KiB (2.50 times what was stored)
device   4.0 KiB by everything on mmcblk0p2
commit   p50 250µs, p99 12.3ms
DAMAGED  000007.bad

UPSTREAM  centre:9092 as north: down, 19 records behind (1m30s), 1000 confirmed, 2 LOST
          last error: refused

TOPIC      PARTITIONS  RECORDS  BYTES    UPSTREAM LAG  UPSTREAM
telemetry  2           578342   20.0 MiB 19            sending, held: centre?[2J says no
zigbee     1           1        1 B      -             -
`
	if code != exitOK || strings.Join(strings.Fields(stdout), " ") != strings.Join(strings.Fields(want), " ") || stderr != "" {
		t.Errorf("exit code %d, %q\n%s\nwant\n%s", code, stderr, stdout, want)
	}
	source.s.Ready, source.s.NotReady = false, []string{"log: replaying the journal"}
	code, stdout, stderr = cli(t, "", "status", "--http", url, "--internal", "--output", "json")
	if code != exitFailure || !strings.Contains(stdout, `"name": "__consumer_offsets"`) || !strings.Contains(stderr, "the node does not serve: log: replaying the journal") {
		t.Errorf("not ready: exit code %d, %q\n%s", code, stderr, stdout)
	}
	source.s.Topics = nil
	if _, stdout, _ = cli(t, "", "status", "--http", url); !strings.Contains(stdout, "NOT READY") || !strings.Contains(stdout, "no topics yet") {
		t.Errorf("a new node: %s", stdout)
	}
}

func TestErrorsHaveTheirExitCodes(t *testing.T) {
	background := context.Background() //nolint:usetesting // it must not be cancelled
	stopped, cancel := context.WithCancelCause(background)
	cancel(interrupted{syscall.SIGINT})
	for _, c := range []struct {
		ctx  context.Context //nolint:containedctx // a row of a table
		err  error
		code int
		text string
	}{
		{background, errors.New("broken"), exitFailure, "culvert: broken"},
		{background, usage("wrong"), exitUsage, "culvert: wrong"},
		{background, fmt.Errorf("topic t: %w", kerr.UnknownTopicOrPartition), exitNotFound, "culvert topic list"},
		{background, refusal("t", kerr.UnknownTopicOrPartition, "nowhere"), exitNotFound, "culvert: topic t does not exist\n"},
		{background, refusal("t", kerr.TopicAlreadyExists, "x"), exitExists, "culvert: topic t exists already"},
		{background, refusal("t", kerr.InvalidConfig, "no\x07such key"), exitUsage, "culvert: topic t: no?such key (INVALID_CONFIG)"},
		{background, &outputError{&os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}}, exitOK, ""},
		{background, &outputError{syscall.ENOSPC}, exitFailure, "culvert: output: no space left on device"},
		{background, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}, exitFailure, "broken pipe"},
		{background, fmt.Errorf("%w: sync: %w", node.ErrDevice, syscall.EIO), exitDevice, "input/output error\n  start it again"},
		{stopped, node.ErrDevice, exitDevice, "start it again"},
		{stopped, context.Canceled, 130, ""},
		{stopped, errors.Join(errors.New("and more"), context.Canceled), 130, ""},
		{stopped, errors.New("broken"), 130, "culvert: broken"},
	} {
		code, text := judge(c.ctx, &cobra.Command{Use: "x"}, c.err)
		if code != c.code || !strings.Contains(text, c.text) || (c.text == "") != (text == "") {
			t.Errorf("%v: exit code %d, %q, want %d, %q", c.err, code, text, c.code, c.text)
		}
	}
	_, stdout, _ := cli(t, "", "help", "exit-codes")
	for _, code := range []int{exitOK, exitFailure, exitUsage, exitUnreachable, exitNotFound, exitExists, exitInUse, exitDevice, exitSignal + int(syscall.SIGINT)} {
		if !strings.Contains(stdout, fmt.Sprintf("\n  %d ", code)) {
			t.Errorf("exit code %d is not documented in\n%s", code, stdout)
		}
	}
}

// Every command explains itself, and every flag.
func TestHelpTeaches(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		if cmd.Short == "" {
			t.Errorf("%s has no short help", cmd.CommandPath())
		}
		if cmd.Runnable() && !cmd.HasSubCommands() && cmd.Example == "" && cmd.Name() != "version" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(newRoot())
	code, stdout, _ := cli(t, "")
	if code != exitOK || !strings.Contains(stdout, "culvert consume mqtt") || !strings.Contains(stdout, "exit-codes") {
		t.Errorf("culvert alone: exit code %d\n%s", code, stdout)
	}
}

func TestCompletionsAreMade(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, stdout, stderr := cli(t, "", "completion", shell); code != exitOK || !strings.Contains(stdout, "culvert") {
			t.Errorf("%s: exit code %d, %q", shell, code, stderr)
		}
	}
	if _, stdout, _ := cli(t, "", "__complete", "topic", "list", "--output", ""); !strings.Contains(stdout, "json") {
		t.Errorf("values of --output: %q", stdout)
	}
}

func TestVersionIsPrinted(t *testing.T) {
	if code, stdout, _ := cli(t, "", "version"); code != exitOK || !strings.HasPrefix(stdout, "culvert dev (go") {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	if code, stdout, _ := cli(t, "", "version", "--output", "json"); code != exitOK || !strings.Contains(stdout, `"version": "dev"`) {
		t.Errorf("exit code %d, %q", code, stdout)
	}
}
