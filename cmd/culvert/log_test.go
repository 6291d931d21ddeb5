package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-mq/culvert/node/logtool"
	"github.com/culvert-mq/culvert/node/logtool/logtest"
)

var update = flag.Bool("update", false, "write what the commands print to testdata")

// sampleLog makes a log below a data directory, and returns that.
func sampleLog(t *testing.T) string {
	t.Helper()
	data := t.TempDir()
	if err := logtest.Write(filepath.Join(data, "log"), false); err != nil {
		t.Fatal(err)
	}
	return data
}

// spoil makes a few bytes of a file of a log others.
func spoil(t *testing.T, data, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(data, "log", name), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [4]byte
	if _, err = f.ReadAt(b[:], at); err == nil {
		for i := range b {
			b[i] ^= 0x5a
		}
		_, err = f.WriteAt(b[:], at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// golden compares what a command printed with a file of testdata; the data directory is DATA there.
func golden(t *testing.T, name, data, got string) {
	t.Helper()
	got = strings.ReplaceAll(got, data, "DATA")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
	}
}

func TestALogIsShownWithoutANode(t *testing.T) {
	data := sampleLog(t)
	for name, args := range map[string][]string{
		"log-inspect.txt":         {"log", "inspect", data},
		"log-inspect-segment.txt": {"log", "inspect", filepath.Join(data, "log", "00000000000000000006.seg")},
		"log-inspect-journal.txt": {"log", "inspect", filepath.Join(data, "log", "journal")},
		"log-verify.txt":          {"log", "verify", "--data-dir", data},
		"log-dump.txt":            {"log", "dump", data, "--topic", "telemetry", "--partition", "1", "--from", "15", "--format", `%t/%p %o %T %k %h\n`},
		"log-dump-batches.txt":    {"log", "dump", filepath.Join(data, "log"), "--batches"},
	} {
		code, stdout, stderr := cli(t, "", args...)
		if code != exitOK || stderr != "" {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
		golden(t, name, data, stdout)
	}
}

func TestADamagedLogIsShownAndRepaired(t *testing.T) {
	data := sampleLog(t)
	spoil(t, data, "00000000000000000007.seg", 28_000)
	spoil(t, data, "00000000000000000011.seg", 30_000)
	if err := os.Remove(filepath.Join(data, "log", "00000000000000000004.seg")); err != nil {
		t.Fatal(err)
	}
	run := func(golds string, want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := cli(t, "", args...)
		if code != want || (code == exitOK) != (stderr == "") {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
		golden(t, golds, data, stdout)
		return stderr
	}
	if stderr := run("log-verify-damaged.txt", exitFailure, "log", "verify", data); stderr != "culvert: the log is damaged: 3 problems\n" {
		t.Errorf("%q", stderr)
	}
	stderr := run("log-dump-damaged.txt", exitFailure, "log", "dump", data, "-t", "telemetry", "--format", `%p %o\n`)
	if !strings.Contains(stderr, "culvert: left out: 00000000000000000011.seg: commit ") || !strings.HasSuffix(stderr, "culvert: the log is damaged: 2 problems made something be left out\n") {
		t.Errorf("%q", stderr)
	}
	run("log-repair-dry.txt", exitFailure, "log", "repair", "--dry-run", data)
	before, err := os.ReadFile(filepath.Join(data, "log", "00000000000000000011.seg"))
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := cli(t, "", "log", "repair", data)
	if code != exitOK || stderr != "" || !strings.Contains(stdout, "kept as 00000000000000000011.seg.damaged\n") || !strings.Contains(stdout, "gone: telemetry/0 offsets 15 to 17 (3 offsets)\n") ||
		!strings.HasSuffix(stdout, "\nwhole again\n") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if kept, err := os.ReadFile(filepath.Join(data, "log", "00000000000000000011.seg.damaged")); err != nil || string(kept) != string(before) {
		t.Errorf("the damaged file is not what it was: %v", err)
	}
	if code, stdout, _ := cli(t, "", "log", "repair", data); code != exitOK || !strings.HasSuffix(stdout, "\nwhole\nnothing to repair\n") {
		t.Errorf("a second repair: exit code %d, %s", code, stdout)
	}
	if code, stdout, _ := cli(t, "", "log", "inspect", data); code != exitOK || !strings.Contains(stdout, "set aside as damaged: 0000000000000000000") || strings.Contains(stdout, "DAMAGED  ok") {
		t.Errorf("exit code %d, %s", code, stdout)
	}
}

func TestWhatIsKnownOfALogIsThereForPrograms(t *testing.T) {
	data := sampleLog(t)
	code, stdout, _ := cli(t, "", "log", "inspect", "-o", "json", data)
	var in logtool.Inventory
	if err := json.Unmarshal([]byte(stdout), &in); err != nil || code != exitOK || len(in.Segments) < 5 || in.Journal.Pending == 0 || len(in.Partitions) != 3 || in.Partitions[1].Topic != "telemetry" {
		t.Errorf("exit code %d, %v, %+v", code, err, in)
	}
	code, stdout, _ = cli(t, "", "log", "dump", "--format", "json", "-t", "alarms", "--to", "1", data)
	var r jsonRecord
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK || r.Topic != "alarms" || r.Offset != 0 || len(r.Headers) != 1 {
		t.Errorf("exit code %d, %v, %s", code, err, stdout)
	}
	code, stdout, _ = cli(t, "", "log", "dump", "--batches", "--format", "json", "-t", "alarms", "--to", "1", data)
	var b logtool.Batch
	if err := json.Unmarshal([]byte(stdout), &b); err != nil || code != exitOK || b.Topic != "alarms" || b.Records != 1 || b.Codec != "none" {
		t.Errorf("exit code %d, %v, %s", code, err, stdout)
	}
	spoil(t, data, "00000000000000000011.seg", 30_000)
	code, stdout, _ = cli(t, "", "log", "verify", "-o", "json", data)
	var v logtool.Verdict
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != exitFailure || v.Damaged != 1 || len(v.Gone) != 1 || v.Problems[0].Of.Topic != "telemetry" {
		t.Errorf("exit code %d, %v, %s", code, err, stdout)
	}
	code, stdout, _ = cli(t, "", "log", "repair", "-o", "json", data)
	var done logtool.Repair
	if err := json.Unmarshal([]byte(stdout), &done); err != nil || code != exitOK || len(done.Mended) != 1 || !done.After.Whole() {
		t.Errorf("exit code %d, %v, %s", code, err, stdout)
	}
}

func TestLogCommandsRefuseWrongCommandLines(t *testing.T) {
	data := sampleLog(t)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"log inspect /nowhere", exitUsage, "no such file or directory\n  name a data directory"},
		{"log verify " + t.TempDir(), exitUsage, "holds neither segments (*.seg) nor a journal"},
		{"log verify --data-dir x " + data, exitUsage, "PATH and --data-dir exclude each other"},
		{"log verify --mqtt-listen x", exitUsage, "unknown flag: --mqtt-listen"},
		{"log dump --partition 1 " + data, exitUsage, "--partition is one of a topic"},
		{"log dump --topic telemetry --partition -2 " + data, exitUsage, "--partition must be -1"},
		{"log dump --from -1 " + data, exitUsage, "--from and --to are offsets"},
		{"log dump --batches --format %k " + data, exitUsage, "--batches prints a table, or json"},
		{"log dump --format %x " + data, exitUsage, `--format has "%x"`},
		{"log dump --topic nowhere " + data, exitNotFound, "no such topic or partition in the log: nowhere\n  `culvert log inspect` shows"},
		{"log dump --topic alarms --partition 7 " + data, exitNotFound, "alarms/7"},
		{"log repair " + filepath.Join(data, "log", "journal"), exitUsage, "is one file"},
	} {
		code, stdout, stderr := cli(t, "", strings.Fields(c.args)...)
		if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("culvert %s: exit code %d, %q, %q, want %q", c.args, code, stdout, stderr, c.want)
		}
	}
	if _, stdout, _ := cli(t, "", "help", "exit-codes"); !strings.Contains(stdout, "log verify") {
		t.Errorf("verify's exit code is not documented in\n%s", stdout)
	}
}

func TestALogInUseIsReadWithAWarningAndNotRepaired(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	w, err := logtest.New(logtest.Options(filepath.Join(data, "log")))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Store.Close()
	if err := w.Append(logtest.Alarms, 3, 100); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := cli(t, "", "log", "dump", "-t", "alarms", "--format", `%o\n`, data)
	if code != exitOK || stdout != "0\n1\n2\n" || !strings.Contains(stderr, "is in use by a node (pid "+decimal(os.Getpid())+"): what is shown may be moving") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	code, _, stderr = cli(t, "", "log", "repair", data)
	if code != exitInUse || !strings.Contains(stderr, "directory is in use by another process (pid "+decimal(os.Getpid())+")\n  stop the node first") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
