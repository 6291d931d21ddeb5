package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const checkDir = "data"

// checkDataDir looks at the data directory, and sets e.dir to it, or to the nearest directory above it that exists, and
// e.held to the process that runs on it.
func (e *exam) checkDataDir() []Finding {
	e.dir = nearest(e.opt.DataDir)
	st, err := os.Stat(e.opt.DataDir)
	f := Finding{Check: checkDir, Measured: printable(e.opt.DataDir)}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Measured += ": does not exist yet"
		f.Means = "The node makes it when it first starts. " + printable(e.dir) + " was examined in its place."
		if unix.Access(e.dir, unix.W_OK|unix.X_OK) != nil {
			f.Level = Note
			f.Means = "It can only be made by somebody who may write in " + printable(e.dir) + ", which was examined in its place."
			f.Do = "Make it, and give it to the user that runs the node: install -d -m 0700 -o USER " + printable(e.opt.DataDir)
		}
		return []Finding{f}
	case err != nil:
		f.Level, f.Measured = Warn, printable(err.Error())
		f.Means = "The directory cannot be looked at from here."
		f.Do = "Run this as the user that runs the node, or as root."
		return []Finding{f}
	case !st.IsDir():
		f.Level, f.Means, f.Do = Fail, "It is no directory.", "Move it away, or choose another with node.data_dir."
		e.dir = filepath.Dir(e.dir)
		return []Finding{f}
	}
	for _, part := range []string{"log", "meta"} {
		e.held = cmp.Or(holder(filepath.Join(e.opt.DataDir, part, "LOCK")), e.held)
	}
	f.Measured += fmt.Sprintf(", rights %04o", st.Mode().Perm())
	f.Means = "No node is running on it."
	switch {
	case e.held == unseen:
		f.Means = "Whether a node is running on it cannot be told from here."
	case e.held > 0:
		f.Measured += fmt.Sprintf(", in use by process %d%s", e.held, e.nameOf(e.held))
		f.Means = "A node is running on it. Everything was measured beside it; its files were not touched."
	case e.held == somebody:
		f.Measured += ", in use"
		f.Means = "A node is running on it. Everything was measured beside it; its files were not touched."
	}
	f.Values = map[string]any{"mode": fmt.Sprintf("%04o", st.Mode().Perm()), "held_by": e.held}
	findings := []Finding{f}
	if st.Mode().Perm()&0o077 != 0 {
		level, who := Note, "read"
		if st.Mode().Perm()&0o022 != 0 {
			level, who = Warn, "change"
		}
		findings = append(findings, Finding{Check: checkDir, Level: level, Measured: fmt.Sprintf("rights %04o", st.Mode().Perm()),
			Means: "Users other than its owner may enter it; what they may " + who + " there is up to each file's rights.",
			Do:    "chmod 0700 " + printable(e.opt.DataDir)})
	}
	if unix.Access(e.dir, unix.R_OK|unix.W_OK|unix.X_OK) != nil {
		findings = append(findings, Finding{Check: checkDir, Level: Note, Measured: "no right to write there for user " + strconv.Itoa(e.uid),
			Means: "A node started by this user could not run on it.", Do: "Run this as the user that runs the node, or as root."})
	}
	return findings
}

// nearest returns the directory that exists at or above path, without symbolic links.
func nearest(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil || path == filepath.Dir(path) {
			return real
		}
		path = filepath.Dir(path)
	}
}

// Holders of a lock that have no number.
const (
	nobody   = 0
	somebody = -1
	unseen   = -2 // it cannot be told
)

// holder returns the process that holds a lock file. The lock is tried for a moment, shared, and given back.
func holder(path string) int {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return unseen
	}
	if err != nil {
		return nobody
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return nobody // closing gives it back
	}
	var buf [20]byte
	n, _ := f.ReadAt(buf[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil || pid <= 0 {
		return somebody
	}
	return pid
}

// nameOf returns the name of a process in brackets, with a blank before it; "" if it is unknown.
func (e *exam) nameOf(pid int) string {
	name := e.tree.text(filepath.Join("proc", strconv.Itoa(pid), "comm"))
	if name == "" {
		return ""
	}
	return " (" + name + ")"
}
