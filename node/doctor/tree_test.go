package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machineOf makes a tree of files and links; a content that begins with "-> " is a link.
func machineOf(t *testing.T, files map[string]string) tree {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		target, link := strings.CutPrefix(text, "-> ")
		var err error
		if link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return tree(root)
}

// find returns the first finding of a check whose measurement holds a text.
func find(t *testing.T, all []Finding, check, measured string) Finding {
	t.Helper()
	for _, f := range all {
		if f.Check == check && strings.Contains(f.Measured, measured) {
			return f
		}
	}
	t.Fatalf("no finding %s with %q in %+v", check, measured, all)
	return Finding{}
}

// explained fails when a finding says nothing, or only what is wrong.
func explained(t *testing.T, all []Finding) {
	t.Helper()
	for _, f := range all {
		if f.Check == "" || f.Measured == "" || f.Means == "" || f.Level >= Warn && f.Do == "" {
			t.Errorf("not explained: %+v", f)
		}
	}
}

func TestATreeIsNotLeftByItsLinks(t *testing.T) {
	tr := machineOf(t, map[string]string{"a/file": " text \n", "in": "-> a", "out": "-> ../../etc", "gone": "-> nowhere"})
	if got := tr.resolve("in"); got != "a" {
		t.Errorf("a link inside leads to %q", got)
	}
	for _, name := range []string{"out", "gone", "none"} {
		if got := tr.resolve(name); got != "" {
			t.Errorf("%s leads to %q", name, got)
		}
	}
	if got := tr.text("in/file"); got != "text" {
		t.Errorf("read %q", got)
	}
	if got := tr.text("none"); got != "" {
		t.Errorf("read %q of nothing", got)
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1024: "1.0 KiB", 1536 << 10: "1.5 MiB", 64 << 30: "64 GiB", 1 << 62: "4.0 EiB"} {
		if got := size(n); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
	}
	for ns, want := range map[int64]string{12: "12 ns", 1500: "1.5 us", 130_000: "130 us", 2_100_000: "2.1 ms", 31_000_000: "31 ms", 3_000_000_000: "3.0 s"} {
		if got := short(time.Duration(ns)); got != want {
			t.Errorf("%d ns: %s, want %s", ns, got, want)
		}
	}
}
