package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-mq/culvert/log/fsx"
)

func TestTheDataDirectoryIsLookedAtWithoutMakingIt(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "culvert", "data")
	e := newExam(Options{DataDir: dir})
	all := e.checkDataDir()
	if all[0].Level != OK || !strings.Contains(all[0].Measured, "does not exist yet") || e.dir != nearest(parent) || e.held != 0 {
		t.Errorf("%+v, examined in %s", all, e.dir)
	}
	if names := left(t, parent); len(names) > 0 {
		t.Errorf("made: %v", names)
	}
	if err := os.WriteFile(filepath.Join(parent, "culvert"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e = newExam(Options{DataDir: filepath.Join(parent, "culvert")})
	all = e.checkDataDir()
	if all[0].Level != Fail || all[0].Means != "It is no directory." || e.dir != nearest(parent) {
		t.Errorf("a file in its place: %+v in %s", all, e.dir)
	}
}

func TestRightsOfTheDataDirectoryAreJudged(t *testing.T) {
	dir := t.TempDir()
	for mode, want := range map[os.FileMode]Level{0o700: OK, 0o750: Note, 0o755: Note, 0o770: Warn, 0o777: Warn} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		all := newExam(Options{DataDir: dir}).checkDataDir()
		worst := (&Report{Findings: all}).Worst()[0]
		if worst.Level != want {
			t.Errorf("%o: %+v, want %v", mode, all, want)
		}
		explained(t, all)
	}
}

func TestALockThatCannotBeReadIsNoLockThatNobodyHolds(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o000); err != nil {
		t.Fatal(err)
	}
	e := newExam(Options{DataDir: dir})
	if f := find(t, e.checkDataDir(), "data", dir); e.held != unseen || !strings.Contains(f.Means, "cannot be told") {
		t.Errorf("held by %d: %+v", e.held, f)
	}
}

func TestARunningNodeIsToldByItsLock(t *testing.T) {
	for _, part := range []string{"log", "meta"} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, part), 0o700); err != nil {
			t.Fatal(err)
		}
		lock, err := fsx.LockDir(filepath.Join(dir, part))
		if err != nil {
			t.Fatal(err)
		}
		e := newExam(Options{DataDir: dir})
		f := find(t, e.checkDataDir(), "data", "in use by process")
		if e.held != os.Getpid() || f.Level != OK {
			t.Errorf("held by %d: %+v", e.held, f)
		}
		if err := os.Truncate(filepath.Join(dir, part, "LOCK"), 0); err != nil {
			t.Fatal(err)
		}
		e = newExam(Options{DataDir: dir})
		if f := find(t, e.checkDataDir(), "data", "in use"); e.held != somebody || !strings.Contains(f.Means, "A node is running") {
			t.Errorf("held by somebody: %d, %+v", e.held, f)
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
		e = newExam(Options{DataDir: dir})
		if find(t, e.checkDataDir(), "data", dir); e.held != 0 {
			t.Errorf("held by %d after the lock was given up", e.held)
		}
		if lock, err = fsx.LockDir(filepath.Join(dir, part)); err != nil {
			t.Fatal("the examination keeps the lock:", err)
		}
		lock.Close()
	}
}
