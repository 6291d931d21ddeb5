package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-mq/culvert/cmd/internal/city"
	"github.com/culvert-mq/culvert/cmd/internal/load"
	"github.com/culvert-mq/culvert/cmd/internal/load/ledger"
	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

// sink is a broker that acknowledges everything.
func sink(t *testing.T) *mqttc.Sink {
	t.Helper()
	s, err := mqttc.NewSink(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Serve()
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestReplayAndSimulatePublishAndCount(t *testing.T) {
	file := filepath.Join(t.TempDir(), "air.csv")
	if err := os.WriteFile(file, []byte("station,utc,pm10,state\nx,1000,1.5,ok\ny,1000,2,ok\nx,1060,,bad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := sink(t)
	for _, c := range []struct {
		args string
		want city.Totals
	}{
		{"replay --csv " + file + " --id-column station --time-column utc --measures pm10:ug/m3,state:text --speed max",
			city.Totals{Devices: 2, Connections: 2, Published: 5, Acked: 5}},
		{"replay --csv " + file + " --id-column station --time-column utc --measures pm10=dust --speed 1000 --connections 1",
			city.Totals{Devices: 2, Connections: 1, Published: 2, Acked: 2}},
		{"simulate --devices 7 --calm --count 100 --rate 100000 --start 2026-03-02T06:00:00Z", city.Totals{Devices: 7, Connections: 7, Published: 100, Acked: 100}},
	} {
		code, stdout, stderr := cli(t, "", append(strings.Fields(c.args), "--mqtt", s.Addr(), "--output", "json", "-q")...)
		var got city.Totals
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitOK || stderr != "" {
			t.Fatalf("%s: %d %v %s", c.args, code, err, stderr)
		}
		if got.Elapsed, got.Bytes = 0, 0; got != c.want {
			t.Errorf("%s: %+v", c.args, got)
		}
	}
	code, stdout, _ := cli(t, "", "simulate", "--devices", "3", "--count", "10", "--speed", "max", "--mqtt", s.Addr())
	if code != exitOK || !strings.HasPrefix(stdout, "10 messages of ") || !strings.Contains(stdout, "10 acknowledged") {
		t.Errorf("%d %s", code, stdout)
	}
}

func TestBenchPrintsWhatItMeasured(t *testing.T) {
	s := sink(t)
	code, stdout, stderr := cli(t, "", "bench", "mqtt", "--addr", s.Addr(), "--connections", "2", "--count", "1000")
	if code != exitOK || !strings.Contains(stdout, "(1,000 in ") || !strings.Contains(stdout, "p99.9 ") {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	code, stdout, stderr = cli(t, "", "bench", "mqtt", "--addr", s.Addr(), "--connections", "2", "--count", "1000", "-o", "json")
	var r load.MQTTReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK || r.Acked != 1000 {
		t.Errorf("%d %+v %v %s", code, r, err, stderr)
	}
	code, stdout, stderr = cli(t, "", "bench", "sync", "--dir", t.TempDir(), "--overwrites", "5", "--commit-bytes", "8KiB", "--bytes", "64KiB", "--copy-bytes", "1MB")
	if code != exitOK || !strings.Contains(stdout, "commits of 8,192 bytes") || !strings.Contains(stdout, "copied over loopback") {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	code, stdout, stderr = cli(t, "", "bench", "idle", "--addr", s.Addr(), "--connections", "3", "--settle", "1ms")
	if code != exitOK || !strings.Contains(stdout, "3 connections") {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	// A broker that loses what it was sent fails the command.
	s = sink(t)
	s.OnMessage = func(int64, mqttc.Message) bool { return false }
	code, stdout, stderr = cli(t, "", "bench", "mqtt", "--addr", s.Addr(), "--connections", "1", "--count", "10")
	if code != exitFailure || !strings.Contains(stdout, "connections lost") || !strings.Contains(stderr, errBench.Error()) {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
}

func TestToolsRefuseWrongCommandLines(t *testing.T) {
	nothing := filepath.Join(t.TempDir(), "missing.csv")
	for args, want := range map[string]int{
		"replay": exitUsage, "replay --csv " + nothing: exitFailure, "replay --csv x --layout atlantis": exitUsage,
		"replay --csv x --measures a/b": exitUsage, "replay --csv x --separator ab": exitUsage,
		"simulate --devices 0": exitUsage, "simulate --speed fast": exitUsage, "simulate --speed NaN": exitUsage, "simulate --rate 5 --speed 2": exitUsage,
		"simulate --start today": exitUsage, "simulate --topic a/b": exitUsage, "simulate --mqtt 127.0.0.1:1": exitUnreachable,
		"demo --devices 0": exitUsage, "demo --csv " + nothing: exitFailure,
		"bench mqtt --qos 2": exitUsage, "bench mqtt --addr 127.0.0.1:1": exitUnreachable, "bench mqtt --topics a/#": exitUsage,
		"bench native produce --acks 7": exitUsage, "bench native produce --compression lzma": exitUsage,
		"bench native produce --batch-bytes many": exitUsage, "bench native fetch --window 0": exitUsage,
		"bench sync --overwrites -1": exitUsage, "bench suite --only everything": exitUsage,
	} {
		if code, _, stderr := cli(t, "", strings.Fields(args)...); code != want || stderr == "" {
			t.Errorf("%s: exit code %d, %s", args, code, stderr)
		}
	}
}

func TestDemoPrintsItsVerdict(t *testing.T) {
	r := &city.DemoReport{Totals: city.Totals{Devices: 2, Published: 1234567, Acked: 1234567, Bytes: 1 << 20}, Stored: 1234567, Forwarded: 1234567,
		Verdict: city.Verdict{Devices: 2, Tally: ledger.Tally{Expected: 1234567, Received: 1234567}}}
	var b strings.Builder
	if err := printDemo(&b, r); err != nil || !strings.Contains(b.String(), "1,234,567") || !strings.Contains(b.String(), "The counts agree") {
		t.Errorf("%v %s", err, b.String())
	}
	r.Verdict.Missing, r.Verdict.Worst = 1, []string{"lamp-17"}
	b.Reset()
	if err := printDemo(&b, r); err != nil || !strings.Contains(b.String(), "do NOT agree") || !strings.Contains(b.String(), "lamp-17") {
		t.Errorf("%v %s", err, b.String())
	}
}

func TestSuitePrintsFiguresPeersAndWhatIsMissing(t *testing.T) {
	r := &load.SuiteReport{Machine: "a machine", NotMeasured: []string{"comparison with nats"},
		Peers: []*load.Peer{{Load: "50 x 20", Broker: "mosquitto", PerSecond: 185000}},
		Figures: []*load.Figure{
			{Section: "mqtt", Name: "50 x 20", Unit: "x mosquitto", Target: 2.2, Measured: 2.7, All: []float64{2.7}},
			{Section: "open", Name: "open", Unit: "s", Target: 2, AtMost: true, Failure: "it did not start"},
		}}
	var b strings.Builder
	if err := printSuite(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"185,000", "at least 2.20 x mosquitto", "reached", "at most 2.00 s", "MISSED", "it did not start", "NOT MEASURED: comparison with nats"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

func TestDigitsAreGrouped(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999.4: "999", 999.5: "1,000", -1234: "-1,234", 1e9: "1,000,000,000"} {
		if got := groupDigits(v); got != want {
			t.Errorf("%g: %s", v, got)
		}
	}
}
