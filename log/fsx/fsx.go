package fsx

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Faults is asked before a step that writes. An error stands for the step's own failure. Implementations are called
// from several goroutines.
type Faults interface {
	// Before is called with the step's name, such as "journal.write", and the file it concerns.
	Before(step, path string) error
}

// Check asks f, which may be nil.
func Check(f Faults, step, path string) error {
	if f == nil {
		return nil
	}
	return f.Before(step, path)
}

// SyncDir makes renames, creations and removals in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// MkdirAll makes a directory and those above it that are missing, durably.
func MkdirAll(dir string, mode os.FileMode) error {
	dir = filepath.Clean(dir)
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent, mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// WriteFile writes data to path so that after a crash the file holds either what it held before or data, never a part:
// written beside, synced, renamed over, the directory synced.
func WriteFile(path string, data []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// ReadFile reads a whole file of at most limit bytes; a larger one is an error, not memory.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return data, nil
}

// Zero writes n zero bytes to f from its start and syncs them, so that a later overwrite of these blocks needs neither
// allocation nor a change of the file's metadata. Reserving with fallocate would not do: its blocks are converted when
// first written, which costs a journal commit of the file system.
func Zero(f *os.File, n int64) error {
	buf := make([]byte, 256<<10)
	for off := int64(0); off < n; {
		c := min(int64(len(buf)), n-off)
		if _, err := f.WriteAt(buf[:c], off); err != nil {
			return err
		}
		off += c
	}
	return f.Sync()
}

// Datasync flushes f's data, and of its metadata what is needed to read the data back.
func Datasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
			}
			return nil
		}
	}
}

// FreeBytes returns the space that an unprivileged process may still use on the file system of path, in bytes.
func FreeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // free blocks of a real device; the field types differ between architectures
}

// IsFull reports whether err says that the device or a quota has no space left.
func IsFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
