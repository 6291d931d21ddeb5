package fsx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process owns the directory.
var ErrLocked = errors.New("directory is in use by another process")

// Lock owns a directory until it is closed or its process ends.
type Lock struct{ f *os.File }

// LockDir takes dir for this process with flock on the file LOCK, which afterwards holds the process id. It returns
// ErrLocked, with the owner's id where that is known.
func LockDir(dir string) (*Lock, error) {
	path := filepath.Join(dir, "LOCK")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
		var buf [20]byte
		n, _ := f.ReadAt(buf[:], 0)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n]))); err == nil {
			return nil, fmt.Errorf("%s: %w (pid %d)", dir, ErrLocked, pid)
		}
		return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // information only: the lock is held by flock
	}
	return &Lock{f}, nil
}

// Close gives the directory up.
func (l *Lock) Close() error { return l.f.Close() }
