package store

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/fsx"
)

const reserveName = "reserve"

// reserve is a file that holds space on the device for urgent sources, whoever fills it: it is given up when they need it
// and made again when there is room.
type reserve struct {
	path string
	size int64
	log  *slog.Logger

	mu   sync.Mutex
	held int64 // guarded by mu: bytes of the file
}

// openReserve finds what is held of a reserve of size bytes; 0 gives up one that is there.
func openReserve(dir string, size int64, log *slog.Logger) (*reserve, error) {
	r := &reserve{path: filepath.Join(dir, reserveName), size: size, log: log}
	st, err := os.Stat(r.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return r, nil
	case err != nil:
		return nil, err
	case st.Size() != size:
		return r, os.Remove(r.path)
	}
	r.held = size
	return r, nil
}

// fill makes the reserve if it is not held, and the device has twice as much beside what is to be kept free. It is no
// failure if it cannot.
func (r *reserve) fill(free int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size == 0 || r.held == r.size {
		return
	}
	if have, err := fsx.FreeBytes(filepath.Dir(r.path)); err != nil || have < free+2*r.size {
		return
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		if err = unix.Fallocate(int(f.Fd()), 0, 0, r.size); errors.Is(err, unix.EOPNOTSUPP) {
			err = fsx.Zero(f, r.size)
		}
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = fsx.SyncDir(filepath.Dir(r.path))
	}
	if err != nil {
		r.log.Warn("space cannot be held in reserve", "bytes", r.size, "err", errors.Join(err, removeIfThere(r.path)))
		return
	}
	r.held = r.size
}

// give gives the reserve up, and reports whether there was one.
func (r *reserve) give() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == 0 {
		return false
	}
	r.held = 0
	if err := os.Remove(r.path); err != nil {
		r.log.Error("the reserve cannot be given up", "err", err)
		return false
	}
	return true
}

func (r *reserve) bytes() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// spend gives the reserve up for an urgent group, and reports whether it is worth trying again.
func (s *Store) spend() bool {
	if !s.reserve.give() {
		return false
	}
	s.log.Warn("the device is full: the reserve is given up for urgent records", "bytes", s.opt.ReserveBytes)
	return true
}
