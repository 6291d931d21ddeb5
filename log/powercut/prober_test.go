//go:build powercut

package powercut

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// proberMain makes one call of every kind on the mount and looks whether a map shows what was written.
func proberMain(in io.Reader) error {
	lines := bufio.NewReader(in)
	var cfg driverConfig
	if err := readLine(lines, &cfg); err != nil {
		return err
	}
	if _, err := lines.ReadString('\n'); err != nil {
		return err
	}
	w, err := os.OpenFile(filepath.Join(cfg.Mount, marksName), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := (marks{w}).write(mark{Kind: markLife, Options: &cfg.Options}); err != nil {
		return err
	}
	return probe(filepath.Join(cfg.Mount, homePath))
}

func probe(home string) error {
	dir := filepath.Join(home, "sub")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, "a")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	seen, err := unix.Mmap(int(f.Fd()), 0, 64<<10, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(seen) }()
	fd := int(f.Fd())
	for i := range 3 { // the second and third time the page is mapped already
		want := bytes.Repeat([]byte{byte('x' + i)}, 8192)
		if _, err := f.WriteAt(want, int64(i)*100); err != nil {
			return err
		}
		if !bytes.Equal(seen[i*100:][:8192], want) {
			return errors.New("the map does not show what was written")
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return errors.Join(
		unix.Fdatasync(fd),
		os.Rename(path, filepath.Join(dir, "b")),
		d.Sync(),
		f.Truncate(5000),
		unix.Fallocate(fd, 0, 0, 20000),
		os.Link(filepath.Join(dir, "b"), filepath.Join(dir, "c")),
		os.Remove(filepath.Join(dir, "b")),
		f.Sync(),
	)
}

func TestRecorderWritesDownEveryCall(t *testing.T) {
	dir := ram(t)
	from := base(t, homePath)
	path, err := recordLives(t.Context(), dir, recorderConfig{Base: from}, []life{{role: "prober"}})
	if errors.Is(err, errUnmountable) {
		needMount(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := readSession(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := s.first; i < len(s.events); i++ {
		e := &s.events[i]
		line := e.Kind.String()
		switch e.Kind {
		case evWrite:
			line += fmt.Sprintf(" %d at %d", len(e.Data), e.Off)
		case evSize:
			line += fmt.Sprintf(" %d", e.Size)
		case evSync:
			if e.Begin != i {
				t.Errorf("entry %d: a sync that began at %d, with nobody else there", i, e.Begin)
			}
		case evRename:
			line += " " + e.Name + " " + e.NewName
		default:
			line += " " + e.Name
		}
		got = append(got, line)
	}
	want := []string{"mkdir sub", "create a", "write 8192 at 0", "write 8192 at 100", "write 8192 at 200", "sync", "rename a b", "sync",
		"size 5000", "size 20000", "link c", "unlink b", "sync"}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("the journal has\n%q, want\n%q", got, want)
	}
}
