package fsx

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteFileReplacesWholeAndLeavesNothingBeside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, want := range []string{"first", "second, longer"} {
		if err := WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadFile(path, 100)
		if err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("directory holds %v, %v; want the file alone", entries, err)
	}
}

func TestReadFileRefusesWhatIsLargerThanItsLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 101), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path, 100); err == nil || !strings.Contains(err.Error(), "larger than 100") {
		t.Fatalf("got %v", err)
	}
}

func TestSecondOwnerOfADirectoryIsRefusedUntilTheFirstLeaves(t *testing.T) {
	dir := t.TempDir()
	l, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockDir(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "pid") {
		t.Fatalf("second lock: %v, want ErrLocked with the owner", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestZeroLeavesAFileOfTheAskedSize(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Zero(f, 300<<10); err != nil {
		t.Fatal(err)
	}
	if err := Datasync(f); err != nil {
		t.Fatal(err)
	}
	st, err := f.Stat()
	if err != nil || st.Size() != 300<<10 {
		t.Fatalf("size %d, %v", st.Size(), err)
	}
}

func TestDeviceAndFreeSpaceOfARealDirectory(t *testing.T) {
	dir := t.TempDir()
	if _, err := DeviceOf(dir); err != nil {
		t.Fatal(err)
	}
	free, err := FreeBytes(dir)
	if err != nil || free <= 0 {
		t.Fatalf("free %d, %v", free, err)
	}
	if !(Device{Name: "mmcblk0p2"}).IsCard() || (Device{Name: "sda1"}).IsCard() {
		t.Fatal("cards are told by their kernel name")
	}
	if !IsFull(&os.PathError{Err: unix.ENOSPC}) || IsFull(os.ErrNotExist) {
		t.Fatal("full disks are told by ENOSPC and EDQUOT")
	}
}
