package fsx

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTheBootIDIsReadAsTheKernelWritesIt(t *testing.T) {
	const text = "0f8fad5b-d9cb-469f-a165-70867728950e"
	path := filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := bootFrom(path)
	if err != nil || id.String() != text || id.IsZero() || id[0] != 0x0f || id[15] != 0x0e {
		t.Fatalf("%v, %v; want %s", id, err, text)
	}
	if upper, err := ParseBootID(strings.ToUpper(text)); err != nil || upper != id {
		t.Fatalf("in capitals: %v, %v", upper, err)
	}
}

func TestWhatIsNoBootIDIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "0", "0f8fad5bd9cb469fa16570867728950e", "0f8fad5b-d9cb-469f-a165-70867728950", "0f8fad5b-d9cb-469f-a165-70867728950e0",
		"0f8fad5b-d9cb-469f-a165-70867728950g", "0f8fad5b-d9cb-469f-a165--0867728950e", "0f8fad5b?d9cb-469f-a165-70867728950e",
	} {
		if id, err := ParseBootID(text); !errors.Is(err, ErrBootID) || !id.IsZero() {
			t.Errorf("%q: %v, %v", text, id, err)
		}
	}
	dir := t.TempDir()
	if _, err := bootFrom(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	path := filepath.Join(dir, "large")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bootFrom(path); err == nil {
		t.Error("a large file is read")
	}
}

func TestTheMachineTellsItsBoot(t *testing.T) {
	id, err := Boot()
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("/proc is not there")
	}
	if err != nil || id.IsZero() {
		t.Fatal(id, err)
	}
	if again, err := Boot(); err != nil || again != id {
		t.Errorf("the boot id changed from %v to %v, %v", id, again, err)
	}
}

func TestTheTimeSinceTheBootGrows(t *testing.T) {
	first, err := BootTime()
	if err != nil || first < 0 {
		t.Fatal(first, err)
	}
	waitBeyond(t, first)
}

// waitBeyond polls the time since the boot until it is later than first.
func waitBeyond(t *testing.T, first int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		now, err := BootTime()
		if err != nil || now < first {
			t.Fatalf("%d after %d, %v", now, first, err)
		}
		if now > first {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the time since the boot stands still")
		}
	}
}

func TestOnlyTheKernelsFlagSaysWhetherTheClockIsSynchronised(t *testing.T) {
	for _, c := range []struct {
		state  int
		status int32
		want   bool
	}{
		{unix.TIME_OK, unix.STA_PLL, true},
		{unix.TIME_INS, unix.STA_PLL | unix.STA_INS, true}, // a leap second is near
		{unix.TIME_ERROR, unix.STA_PLL | unix.STA_PPSFREQ, true},
		{unix.TIME_ERROR, unix.STA_UNSYNC, false},
		{unix.TIME_OK, unix.STA_PLL | unix.STA_UNSYNC, false},
		{-1, 0, false},
	} {
		if got := synchronised(c.state, c.status); got != c.want {
			t.Errorf("state %d, status %#x: %v", c.state, c.status, got)
		}
	}
}

func TestTheKernelIsAskedWithoutPrivileges(t *testing.T) {
	_, err := Synchronised()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip("a sandbox forbids adjtimex:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
