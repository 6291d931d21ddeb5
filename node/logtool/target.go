package logtool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/store"
)

// ErrNoLog says that a path leads to no log.
var ErrNoLog = errors.New("no log")

// Owners of a log that have no process id.
const (
	Nobody   = 0
	Somebody = -1
)

// Target is a log, or one file of it.
type Target struct {
	Dir      string // of the log
	File     string // path of the one file that is meant; "" for all
	Segments []File // ascending; of File those beside it
	Journal  string // path; "" where there is none
	SetAside []File // damaged files of before
	Owner    int    // process id of the node that runs on it; Nobody, Somebody
}

// File is a file of a log.
type File struct {
	Path   string
	Number uint64 // of a segment
	Bytes  int64
}

// Find finds a log: in the directory log below path, or in path, or the one that the file at path belongs to. Errors:
// ErrNoLog, and those of the file system.
func Find(path string) (*Target, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Mode().IsRegular() {
		t := &Target{Dir: filepath.Dir(path)}
		t.File = filepath.Join(t.Dir, filepath.Base(path))
		return t, t.list()
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%w: %s is neither a directory nor a file", ErrNoLog, path)
	}
	for _, dir := range []string{filepath.Join(path, "log"), path} {
		t := &Target{Dir: dir}
		err := t.list()
		if err == nil && (len(t.Segments) > 0 || t.Journal != "" || len(t.SetAside) > 0) {
			return t, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %s holds neither segments (*.seg) nor a journal, and no directory log that does", ErrNoLog, path)
}

// list reads the directory.
func (t *Target) list() error {
	entries, err := os.ReadDir(t.Dir)
	if err != nil {
		return err
	}
	t.Segments, t.SetAside, t.Journal = nil, nil, ""
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // it was removed meanwhile, or is none of the log's
		}
		f := File{Path: filepath.Join(t.Dir, e.Name()), Bytes: info.Size()}
		number, segment := store.SegmentNumber(e.Name())
		f.Number = number
		switch {
		case strings.Contains(e.Name(), ".damaged"):
			t.SetAside = append(t.SetAside, f)
		case e.Name() == store.JournalFile:
			t.Journal = f.Path
		case segment && strings.HasSuffix(e.Name(), ".seg"):
			t.Segments = append(t.Segments, f)
		}
	}
	slices.SortFunc(t.Segments, func(a, b File) int { return cmp.Compare(a.Number, b.Number) })
	t.Owner = owner(filepath.Join(t.Dir, "LOCK"))
	return nil
}

// owner returns the process that holds a lock file. The lock is tried for a moment, shared, and given back.
func owner(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return Nobody
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return Nobody // closing gives it back
	}
	var buf [20]byte
	n, _ := f.ReadAt(buf[:], 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n]))); err == nil && pid > 0 {
		return pid
	}
	return Somebody
}

// isJournal tells whether a file is a journal, by its name or what it begins with.
func isJournal(path string) bool {
	name := filepath.Base(path)
	if name == store.JournalFile || strings.HasPrefix(name, store.JournalFile+".") {
		return true
	}
	if _, ok := store.SegmentNumber(name); ok {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [4]byte
	_, err = f.ReadAt(head[:], 0)
	return err == nil && string(head[:]) == store.JournalMagic
}
