package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/node/doctor"
)

func TestTheDoctorsReportFitsATerminal(t *testing.T) {
	r := &doctor.Report{DataDir: "/var/lib/culvert", Level: doctor.Fail, Machine: doctor.Machine{Model: "Raspberry Pi 4", Kernel: "6.12.25", Arch: "arm64"}, Findings: []doctor.Finding{
		{Check: "sync", Measured: "p50 2.1 ms, p99 18 ms", Means: "A sensor that waits for every acknowledgement gets about 476 messages a second; those that wait together share a sync."},
		{Check: "file system", Level: doctor.Fail, Measured: "mounted with nobarrier", Means: "A power cut takes records.", Do: "Take nobarrier out of the mount options in /etc/fstab/and/a/name/that/is/much/longer/than/one/line/of/eighty/characters and mount it again."},
		{Check: "clock", Level: doctor.Warn, Measured: "2026-11-20 15:02 UTC, not synchronised, no hardware clock, and more that does not fit\x1b[2J", Means: "x", Do: "y"},
	}}
	var b bytes.Buffer
	if err := printReport(&b, r); err != nil {
		t.Fatal(err)
	}
	want := `arm64, Linux 6.12.25, Raspberry Pi 4
data directory /var/lib/culvert

LEVEL  CHECK        MEASURED
ok     sync         p50 2.1 ms, p99 18 ms
fail   file system  mounted with nobarrier
warn   clock        2026-11-20 15:02 UTC, not synchronised, no hardware clock,
                    and more that does not fit?[2J

fail  file system: mounted with nobarrier
      A power cut takes records.
   -> Take nobarrier out of the mount options in
      /etc/fstab/and/a/name/that/is/much/longer/than/one/line/of/eighty/characters
      and mount it again.

warn  clock: 2026-11-20 15:02 UTC, not synchronised, no hardware clock, and more
      that does not fit?[2J
      x
   -> y

ok    sync: p50 2.1 ms, p99 18 ms
      A sensor that waits for every acknowledgement gets about 476 messages a
      second; those that wait together share a sync.
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := printReport(&b, &doctor.Report{Findings: r.Findings[:1]}); err != nil || !strings.HasSuffix(b.String(), "\nnothing to mend\n") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestTheDoctorsVerdictIsAnExitCode(t *testing.T) {
	note, warn, fail := doctor.Finding{Level: doctor.Note}, doctor.Finding{Level: doctor.Warn}, doctor.Finding{Level: doctor.Fail}
	for _, c := range []struct {
		findings []doctor.Finding
		code     int
		text     string
	}{
		{nil, exitOK, ""}, {[]doctor.Finding{note}, exitOK, ""}, {[]doctor.Finding{note, warn}, exitWarning, "culvert: 1 warning"},
		{[]doctor.Finding{warn, fail, warn}, exitFailure, "culvert: 1 thing to mend, 2 warnings"},
	} {
		code, text := exitOK, ""
		if err := verdict(&doctor.Report{Findings: c.findings}); err != nil {
			code, text = judge(t.Context(), newDoctorCmd(), err)
		}
		if code != c.code || text != c.text {
			t.Errorf("%+v: exit code %d, %q", c.findings, code, text)
		}
	}
}

func TestTheDoctorExaminesTheMachineOfAConfiguration(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := cli(t, "", "doctor", "--data-dir", dir, "--mqtt-listen", "127.0.0.1:0", "--kafka-listen", "", "--http-listen", "127.0.0.1:0", "-o", "json")
	var r doctor.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err, stdout, stderr)
	}
	if want := map[doctor.Level]int{doctor.OK: exitOK, doctor.Note: exitOK, doctor.Warn: exitWarning, doctor.Fail: exitFailure}[r.Level]; code != want || (code == exitOK) != (stderr == "") {
		t.Errorf("exit code %d, %q for a report of level %v", code, stderr, r.Level)
	}
	checks := map[string]doctor.Finding{}
	for _, f := range r.Findings {
		checks[f.Check] = f
	}
	if r.DataDir != dir || checks["sync"].Values["count"].(float64) < 1 || !strings.HasPrefix(checks["mqtt"].Measured, "127.0.0.1:0 ") || checks["kafka"].Check != "" {
		t.Errorf("report %+v", r)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left in the data directory: %v, %v", entries, err)
	}
}

func TestTheDoctorsExitCodeIsDocumented(t *testing.T) {
	for _, args := range [][]string{{"help", "exit-codes"}, {"doctor", "--help"}} {
		if _, stdout, _ := cli(t, "", args...); !strings.Contains(stdout, "doctor") || !strings.Contains(stdout, strconv.Itoa(exitWarning)) {
			t.Errorf("%v: %s", args, stdout)
		}
	}
}

func TestAnInterruptedDoctorSaysNothing(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupted{syscall.SIGINT})
	if code, stdout, stderr := cliContext(t, ctx, strings.NewReader(""), "doctor", "--data-dir", t.TempDir()); code != 130 || stdout != "" || stderr != "" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestTheDoctorIsToldWhatTheConfigurationAllows(t *testing.T) {
	c := config.Default()
	c.MQTT.Listen, c.Node.MemoryLimit = "", config.AutoSize(200*config.MiB)
	opt := doctorOptions(c)
	if opt.Connections != int64(c.Kafka.MaxConnections) || opt.MemoryLimit != 200<<20 || opt.MinFreeBytes != 64<<20 || opt.PromisedBytes != int64(c.PromisedBytes()) || len(opt.Listen) != 3 {
		t.Errorf("%+v", opt)
	}
	var b strings.Builder
	wrapped(&b, "äö  ", strings.Repeat("ü ", 100))
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > pageWidth {
			t.Errorf("a line of %d characters: %s", n, line)
		}
	}
}
