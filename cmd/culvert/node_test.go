package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/node"
	"github.com/culvert-mq/culvert/node/config"
)

// startNode runs a real node in this process and has the client commands use it.
func startNode(t *testing.T, change func(*config.Config)) *node.Node {
	t.Helper()
	cfg, err := config.Load("", []string{"HOME=" + t.TempDir()}, config.Override{Key: "node.data_dir", Value: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Kafka.Listen, cfg.MQTT.Listen, cfg.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	change(cfg)
	n, err := node.New(node.Options{Config: cfg, Logger: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Setenv(config.VariableBroker, n.Addr("kafka"))
	t.Setenv(config.VariableHTTP, n.Addr("http"))
	return n
}

// must runs a command line that has to succeed, and returns its output.
func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	code, stdout, stderr := cli(t, stdin, args...)
	if code != exitOK {
		t.Fatalf("culvert %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func TestTopicsLiveFromCreationToDeletion(t *testing.T) {
	startNode(t, func(*config.Config) {})
	if out := must(t, "", "topic", "list"); strings.Contains(out, "telemetry") {
		t.Errorf("a new node has topics:\n%s", out)
	}
	if out := must(t, "", "topic", "create", "telemetry", "plain", "--partitions", "3", "--config", "retention.ms=86400000"); out !=
		"telemetry created with 3 partitions\nplain created with 3 partitions\n" {
		t.Errorf("create says %q", out)
	}
	for _, c := range []struct {
		args string
		code int
		text string
	}{
		{"topic create telemetry", exitExists, "culvert: topic telemetry exists already\n"},
		{"topic create a/b", exitUsage, "(INVALID_TOPIC_EXCEPTION)"},
		{"topic create many --partitions 1000000", exitUsage, "culvert: topic many: invalid number of partitions: 1000000, a topic may have 1024 (INVALID_PARTITIONS)\n"},
		{"topic create x --config nonsense=1", exitUsage, "INVALID_CONFIG"},
		{"topic alter telemetry --config culvert.priority=10", exitUsage, "0 to 9 is needed"},
		{"topic describe nowhere", exitNotFound, "culvert: topic nowhere does not exist\n  `culvert topic list` shows what there is\n"},
		{"topic alter telemetry --partitions 2", exitUsage, "INVALID_PARTITIONS"},
		{"topic alter nowhere --config retention.ms=5", exitNotFound, "does not exist"},
		{"topic delete nowhere", exitNotFound, "does not exist"},
		{"consume nowhere", exitNotFound, "does not exist"},
		{"consume telemetry --partition 7", exitNotFound, "culvert: topic telemetry has no partition 7\n  it has 3: 0 to 2\n"},
		{"produce telemetry --partition 7", exitNotFound, "has no partition 7"},
		{"produce nowhere --partition 5", exitNotFound, "culvert: topic nowhere does not exist, and would have no partition 5\n" +
			"  producing makes it with 1 partition; `culvert topic create nowhere --partitions 6` with this one\n"},
	} {
		if code, _, stderr := cli(t, "", strings.Fields(c.args)...); code != c.code || !strings.Contains(stderr, c.text) {
			t.Errorf("culvert %s: exit code %d, %q; want %d, %q", c.args, code, stderr, c.code, c.text)
		}
	}
	if out := must(t, "", "topic", "list"); strings.Contains(out, "nowhere") {
		t.Errorf("what was refused is there:\n%s", out)
	}
	must(t, "", "topic", "create", "telemetry", "--if-not-exists")
	must(t, "", "topic", "delete", "nowhere", "--if-exists")
	must(t, "", "topic", "alter", "telemetry", "--config", "retention.bytes=1000000", "--config", "culvert.priority=9", "--unset", "retention.ms", "--partitions", "4")

	var details []topicDetails
	if err := json.Unmarshal([]byte(must(t, "", "topic", "describe", "telemetry", "--output", "json")), &details); err != nil {
		t.Fatal(err)
	}
	if len(details) != 1 || len(details[0].Partitions) != 4 || len(details[0].ID) != 22 ||
		!slices.Contains(details[0].Settings, settingDetails{"retention.bytes", "1000000", "topic"}) ||
		!slices.Contains(details[0].Settings, settingDetails{"culvert.priority", "9", "topic"}) || strings.Contains(fmt.Sprint(details), "86400000") {
		t.Errorf("described as %+v", details)
	}
	if out := must(t, "", "topic", "describe", "telemetry", "--all"); !strings.Contains(out, "cleanup.policy") || !strings.Contains(out, "culvert.priority") || !strings.Contains(out, "PARTITION  LEADER") {
		t.Errorf("described as\n%s", out)
	}
	if out := must(t, "", "__complete", "topic", "delete", ""); !strings.Contains(out, "telemetry\n") {
		t.Errorf("completed to %q", out)
	}
	must(t, "", "topic", "delete", "telemetry", "plain")
	var rows []topicRow
	if err := json.Unmarshal([]byte(must(t, "", "topic", "list", "--output", "json")), &rows); err != nil || len(rows) != 0 {
		t.Errorf("after deletion %+v, %v", rows, err)
	}
}

func TestTrimmingDeletesTheOldestRecords(t *testing.T) {
	startNode(t, func(*config.Config) {})
	must(t, "", "topic", "create", "telemetry", "--partitions", "2")
	must(t, "", "topic", "create", "compacted", "--config", "cleanup.policy=compact")
	must(t, "one\ntwo\nthree\n", "produce", "telemetry", "--partition", "0")
	must(t, "four\n", "produce", "telemetry", "--partition", "1")
	if out := must(t, "", "topic", "trim", "telemetry", "--partition", "0", "--before", "2"); out != "PARTITION  START  ERROR\n0          2      -\n" {
		t.Errorf("trim says\n%s", out)
	}
	if out := must(t, "", "consume", "telemetry", "--exit", "--format", "%s "); out != "three four " && out != "four three " {
		t.Errorf("left is %q", out)
	}
	for _, c := range []struct {
		args string
		code int
		text string
	}{
		{"topic trim nowhere --before 1", exitNotFound, "does not exist"},
		{"topic trim telemetry --partition 5 --before 1", exitNotFound, "has no partition 5"},
		{"topic trim telemetry --before 3", exitFailure, "culvert: partition 1 of topic telemetry is not trimmed: it ends before that offset\n"},
		{"topic trim compacted --before latest", exitFailure, "partition 0 of topic compacted is not trimmed: its cleanup.policy does not hold delete"},
	} {
		if code, _, stderr := cli(t, "", strings.Fields(c.args)...); code != c.code || !strings.Contains(stderr, c.text) {
			t.Errorf("culvert %s: exit code %d, %q; want %d, %q", c.args, code, stderr, c.code, c.text)
		}
	}
	var rows []trimRow
	if err := json.Unmarshal([]byte(must(t, "", "topic", "trim", "telemetry", "--before", "latest", "--output", "json")), &rows); err != nil ||
		!slices.Equal(rows, []trimRow{{0, 3, ""}, {1, 1, ""}}) {
		t.Errorf("trimmed to %+v, %v", rows, err)
	}
}

func TestWhatIsProducedIsConsumed(t *testing.T) {
	startNode(t, func(*config.Config) {})
	must(t, "", "topic", "create", "telemetry", "--partitions", "2")
	out := must(t, "one\ntwo\nthree\n", "produce", "telemetry", "--key", "lamp-17", "--header", "unit=Cel", "-H", "empty=")
	if !strings.HasPrefix(out, "3 records acknowledged in ") {
		t.Errorf("produce says %q", out)
	}
	if out := must(t, "", "consume", "telemetry", "--format", `%o %k %h %s\n`); out !=
		"0 lamp-17 unit=Cel,empty= one\n1 lamp-17 unit=Cel,empty= two\n2 lamp-17 unit=Cel,empty= three\n" {
		t.Errorf("consumed %q", out)
	}
	for args, want := range map[string]string{
		"--from 1":                  "two\nthree\n",
		"--from -1":                 "three\n",
		"--from -100":               "one\ntwo\nthree\n",
		"--from 100":                "",
		"--from end --exit":         "",
		"--from 1h":                 "one\ntwo\nthree\n",
		"--from 2100-01-01":         "",
		"--count 2":                 "one\ntwo\n",
		"--follow --count 3":        "one\ntwo\nthree\n",
		"--from 1 -e --format %s":   "twothree",
		"--from 2 --format [%s]":    "[three]",
		"--from beginning -e -n 1 ": "one\n",
	} {
		if out := must(t, "", append([]string{"consume", "telemetry"}, strings.Fields(args)...)...); out != want {
			t.Errorf("consume %s prints %q, want %q", args, out, want)
		}
	}
	must(t, "a:1\nb::2\n:3\n", "produce", "keyed", "--key-separator", ":", "-z", "zstd")
	if out := must(t, "", "consume", "keyed", "--format", `%k=%s\n`); out != "a=1\nb=:2\n=3\n" {
		t.Errorf("keyed records are %q", out)
	}
	must(t, "two\nlines", "produce", "whole", "--whole", "--partition", "0")
	if out := must(t, "", "consume", "whole", "--format", "%s"); out != "two\nlines" {
		t.Errorf("the whole input is %q", out)
	}
	code, stdout, stderr := cli(t, "a:1\nb\nc:3\n", "produce", "keyed", "--key-separator", ":", "--output", "json")
	if code != exitFailure || !strings.Contains(stdout, `"acknowledged": 1,`) || !strings.Contains(stderr, `line 2 has no ":"`) {
		t.Errorf("a line without a key: exit code %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, stderr = cli(t, "short\n"+strings.Repeat("x", 2000)+"\n", "produce", "whole", "--max-record", "1KiB")
	if code != exitFailure || !strings.HasPrefix(stdout, "1 record acknowledged") || !strings.Contains(stderr, "line 2 is longer than 1KiB") {
		t.Errorf("a long line: exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestManyRecordsArriveOnceAndInOrder(t *testing.T) {
	startNode(t, func(*config.Config) {})
	var lines strings.Builder
	const n = 20000
	for i := range n {
		lines.WriteString(strconv.Itoa(i) + "\n")
	}
	must(t, lines.String(), "produce", "many", "--key", "k")
	if out := must(t, "", "consume", "many"); out != lines.String() {
		t.Errorf("%d bytes went in, %d came out", lines.Len(), len(out))
	}
}

func TestProducingIntoAPartitionThatTheTopicWillHaveCreatesIt(t *testing.T) {
	startNode(t, func(c *config.Config) { c.Log.NumPartitions = 3 })
	must(t, "1\n", "produce", "new", "--partition", "2")
	if out := must(t, "", "consume", "new", "--format", `%p %s\n`); out != "2 1\n" {
		t.Errorf("consumed %q", out)
	}
	if code, _, stderr := cli(t, "1\n", "produce", "other", "--partition", "3"); code != exitNotFound || !strings.Contains(stderr, "producing makes it with 3 partitions") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestProducingToATopicThatMayNotBeCreatedFails(t *testing.T) {
	startNode(t, func(c *config.Config) { c.Log.AutoCreateTopics = false })
	code, stdout, stderr := cli(t, "1\n", "produce", "nowhere")
	if code != exitNotFound || !strings.HasPrefix(stdout, "0 records acknowledged") || !strings.Contains(stderr, "culvert: topic nowhere does not exist") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestInterruptedProducingStoresWhatWasRead(t *testing.T) {
	startNode(t, func(*config.Config) {})
	ctx, interrupt := context.WithCancelCause(t.Context())
	r, w := io.Pipe()
	go func() {
		for range 3 {
			if _, err := w.Write([]byte("line\n")); err != nil {
				return
			}
		}
		interrupt(interrupted{syscall.SIGINT})
	}()
	code, stdout, stderr := cliContext(t, ctx, r, "produce", "telemetry")
	if err := r.Close(); err != nil { // the reading goroutine ends
		t.Fatal(err)
	}
	if code != 130 || !strings.Contains(stdout, "acknowledged") || stderr != "" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	said, _, _ := strings.Cut(stdout, " ")
	if out := must(t, "", "consume", "telemetry"); strconv.Itoa(strings.Count(out, "\n")) != said {
		t.Errorf("%q, and there is %q", stdout, out)
	}
}

// brokenPipe is an output whose reader has gone.
type brokenPipe struct{ writes int }

func (b *brokenPipe) Write([]byte) (int, error) {
	b.writes++
	return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}
}

func TestAReaderThatGoesAwayIsNoError(t *testing.T) {
	startNode(t, func(*config.Config) {})
	must(t, "1\n2\n", "produce", "telemetry")
	var errs strings.Builder
	root, out := newRoot(), &brokenPipe{}
	root.SetArgs([]string{"consume", "telemetry", "--follow"})
	root.SetOut(out)
	root.SetErr(&errs)
	if code := execute(t.Context(), root, &errs); code != exitOK || errs.Len() > 0 || out.writes != 1 {
		t.Errorf("exit code %d, %q, %d writes", code, errs.String(), out.writes)
	}
}

func TestInterruptedConsumingEndsCleanly(t *testing.T) {
	startNode(t, func(*config.Config) {})
	must(t, "1\n", "produce", "telemetry")
	ctx, interrupt := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { interrupt(interrupted{syscall.SIGTERM}) })
	code, stdout, stderr := cliContext(t, ctx, nil, "consume", "telemetry", "--follow")
	if code != 143 || stdout != "1\n" || stderr != "" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestTheStatusOfARealNodeIsShown(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.Node.Name = "cabinet-7" })
	must(t, "1\n2\n", "produce", "telemetry")
	poll(t, func() bool { code, _, _ := cli(t, "", "status"); return code == exitOK })
	out := must(t, "", "status")
	for _, want := range []string{"cabinet-7 (node 1), culvert test, ready", "kafka     " + n.Addr("kafka"), "mqtt      " + n.Addr("mqtt"), "telemetry  1           2"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// mustLoad returns the configuration of a node in a directory, on ports of its own.
func mustLoad(t *testing.T, dir string, id int) *config.Config {
	t.Helper()
	var overrides []config.Override
	for key, value := range map[string]string{"node.data_dir": dir, "node.id": strconv.Itoa(id), "kafka.listen": "127.0.0.1:0", "mqtt.listen": "127.0.0.1:0", "http.listen": "127.0.0.1:0"} {
		overrides = append(overrides, config.Override{Key: key, Value: value})
	}
	c, err := config.Load("", nil, overrides...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhatIsInTheWayOfANodeIsNamed(t *testing.T) {
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	elsewhere := []string{"run", "--mqtt-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"}
	code, _, stderr := cli(t, "", append(elsewhere, "--data-dir", t.TempDir(), "--mqtt-listen", taken.Addr().String())...)
	if code != exitInUse || !strings.Contains(stderr, taken.Addr().String()) || !strings.Contains(stderr, "--mqtt-listen") {
		t.Errorf("a port in use: exit code %d, %q", code, stderr)
	}
	var dir string
	startNode(t, func(c *config.Config) { dir = c.Node.DataDir })
	code, _, stderr = cli(t, "", append(elsewhere, "--data-dir", dir)...)
	if code != exitInUse || !strings.Contains(stderr, dir) || !strings.Contains(stderr, "--data-dir") {
		t.Errorf("a directory in use: exit code %d, %q", code, stderr)
	}
	foreign := t.TempDir()
	func() {
		n, err := newNode(mustLoad(t, foreign, 1), slog.New(slog.DiscardHandler), new(slog.LevelVar))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := n.Run(ctx); err != nil {
			t.Fatal(err)
		}
	}()
	code, _, stderr = cli(t, "", append(elsewhere, "--data-dir", foreign, "--set", "node.id=2")...)
	if code != exitUsage || !strings.Contains(stderr, "is that of node 1, this is node 2\n  set node.id to the node whose data this is") {
		t.Errorf("the directory of another node: exit code %d, %q", code, stderr)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr = cli(t, "", append(elsewhere, "--data-dir", file)...); code != exitFailure || !strings.Contains(stderr, file) {
		t.Errorf("a file for a directory: exit code %d, %q", code, stderr)
	}
}

// poll waits until something is so.
func poll(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(errors.New("waited for 10s"))
		}
	}
}
