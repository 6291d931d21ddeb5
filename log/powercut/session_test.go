//go:build powercut

package powercut

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// roleVar tells the test's binary, executed again, what to be.
const roleVar = "CULVERT_POWERCUT_ROLE"

// lifeTimeout is how long a driver may take, which is far less when nothing hangs.
const lifeTimeout = 2 * time.Minute

// process is the test's binary in a role.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

// startRole starts a role with its configuration as the first line of its input.
func startRole(ctx context.Context, role string, cfg any) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self)}
	p.cmd.Env = append(os.Environ(), roleVar+"="+role)
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = 5 * time.Second
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := json.Marshal(cfg)
	if err == nil {
		_, err = p.in.Write(append(line, '\n'))
	}
	return p, err
}

// ask writes a line and returns the answer's.
func (p *process) ask(line string) (string, error) {
	if line != "" {
		if _, err := io.WriteString(p.in, line+"\n"); err != nil {
			return "", fmt.Errorf("%w: %s", err, p.stderr.String())
		}
	}
	answer, err := p.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, p.stderr.String())
	}
	return strings.TrimSpace(answer), nil
}

// recorderMain is the recorder's process.
func recorderMain(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	var cfg recorderConfig
	if err := readLine(lines, &cfg); err != nil {
		return err
	}
	r, _, err := newRecorder(cfg)
	if err != nil {
		_, err = fmt.Fprintln(out, "cannot mount:", err)
		return err
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	for {
		line, err := lines.ReadString('\n')
		var pid, n int
		if _, e := fmt.Sscanf(line, "arm %d %d", &pid, &n); e == nil {
			r.arm(pid, n)
			if _, err := fmt.Fprintln(out, "armed"); err != nil {
				return err
			}
			continue
		}
		_ = syscall.Unmount(cfg.Mount, syscall.MNT_DETACH) // it goes with this process in any case
		if e := r.close(); e != nil || err != nil {        // the end of the input is that of the test, or of its patience
			return e
		}
		_, err = fmt.Fprintln(out, "closed")
		return err
	}
}

// driverMain is the driver's process.
func driverMain(in io.Reader) error {
	lines := bufio.NewReader(in)
	var cfg driverConfig
	if err := readLine(lines, &cfg); err != nil {
		return err
	}
	if _, err := lines.ReadString('\n'); err != nil { // until the recorder knows whom to kill
		return err
	}
	return drive(cfg)
}

func readLine(r *bufio.Reader, v any) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

// life is one run of a driver.
type life struct {
	role string // "" for the driver's
	cfg  driverConfig
	kill int // entries of the journal after which it is killed, 0 for never
}

// errUnmountable says that this machine lets nobody mount a FUSE file system.
var errUnmountable = errors.New("no FUSE file system can be mounted")

// recordLives runs drivers one after the other on one mount and returns the journal's path.
func recordLives(ctx context.Context, dir string, cfg recorderConfig, lives []life) (_ string, err error) {
	cfg.Mount = filepath.Join(dir, "mnt")
	cfg.Journal = filepath.Join(dir, "session")
	if err := os.Mkdir(cfg.Mount, 0o700); err != nil {
		return "", err
	}
	rec, err := startRole(ctx, "recorder", cfg)
	if err != nil {
		return "", err
	}
	defer func() {
		_ = rec.in.Close() // which ends it, if it has not
		if e := rec.cmd.Wait(); e != nil {
			err = errors.Join(err, fmt.Errorf("recorder: %w: %s", e, rec.stderr.String()))
		}
		_ = syscall.Unmount(cfg.Mount, syscall.MNT_DETACH) // where it died
	}()
	answer, err := rec.ask("")
	if err != nil {
		return "", err
	}
	if answer != "ready" {
		return "", fmt.Errorf("%w: %s", errUnmountable, answer)
	}
	for i, l := range lives {
		l.cfg.Mount = cfg.Mount
		if err := live(ctx, rec, l); err != nil {
			return cfg.Journal, fmt.Errorf("life %d: %w", i, err)
		}
	}
	seen, err := readTree(cfg.Mount)
	if err != nil {
		return "", err
	}
	if _, err := rec.ask("quit"); err != nil {
		return "", err
	}
	return cfg.Journal, sameTree(cfg.Journal, seen)
}

// live runs one driver to its end.
func live(ctx context.Context, rec *process, l life) error {
	ctx, cancel := context.WithTimeout(ctx, lifeTimeout)
	defer cancel()
	drv, err := startRole(ctx, cmp.Or(l.role, "driver"), l.cfg)
	if err != nil {
		return err
	}
	drv.cmd.Cancel = func() error { return drv.cmd.Process.Signal(syscall.SIGQUIT) } // which tells what hangs
	_, err = rec.ask(fmt.Sprintf("arm %d %d", drv.cmd.Process.Pid, l.kill))
	if err == nil {
		_, err = io.WriteString(drv.in, "go\n")
	}
	ended := drv.cmd.Wait()
	_, disarmed := rec.ask("arm 0 0")
	if err := errors.Join(err, disarmed); err != nil {
		return err
	}
	if exit, ok := errors.AsType[*exec.ExitError](ended); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL && l.kill > 0 {
			return nil
		}
	}
	if ended != nil {
		return fmt.Errorf("driver: %w: %s", ended, drv.stderr.String())
	}
	return nil
}

// readTree reads all files below a directory.
func readTree(root string) (map[string][]byte, error) {
	all := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == marksName {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err == nil {
			all[name], err = os.ReadFile(path)
		}
		return err
	})
	return all, err
}

// sameTree tells whether the model, fed with the whole journal, has the files that the machine saw: that no call went
// unnoticed.
func sameTree(journal string, seen map[string][]byte) error {
	events, err := readEvents(journal)
	if err != nil {
		return err
	}
	d := newDisk()
	for i := range events {
		if err := d.apply(&events[i]); err != nil {
			return err
		}
	}
	img := d.cut(variant{mode: whole})
	if len(img.files) != len(seen) {
		return fmt.Errorf("the mount had %d files, the model has %d", len(seen), len(img.files))
	}
	for name, data := range seen {
		c, ok := img.files[name]
		if !ok || !bytes.Equal(c.appendTo(nil), data) {
			return fmt.Errorf("the mount had %d bytes in %s, the model has others (%d)", len(data), name, c.size)
		}
	}
	return nil
}

// needMount skips the test, or fails it where CULVERT_POWERCUT=require is set.
func needMount(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CULVERT_POWERCUT") == "require" {
		t.Fatal(err)
	}
	t.Skip(err)
}
