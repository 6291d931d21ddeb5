//go:build interop

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// missing skips the test, or fails it where every tool must be there.
func missing(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("CULVERT_INTEROP") == "require" {
		t.Fatalf("%s is missing: %v", what, err)
	}
	t.Skipf("%s is missing: %v (CULVERT_INTEROP=require makes this a failure)", what, err)
}

// need returns the path of a program.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(t, program, err)
	}
	return path
}

// toolTimeout bounds one run of one tool: a client that waits for something a broker never does must fail its test.
const toolTimeout = time.Minute

// A tool is a run of a program.
type tool struct {
	path  string
	args  []string
	stdin string
	env   []string
}

func (c tool) String() string { return filepath.Base(c.path) + " " + strings.Join(c.args, " ") }

// run runs a tool to its end and returns what it wrote. An exit code other than 0 fails the test.
func (c tool) run(t *testing.T) string {
	t.Helper()
	out, errOut, err := c.try(t)
	if err != nil {
		t.Fatalf("%s: %v\nstandard error:\n%s\nstandard output:\n%s", c, err, errOut, out)
	}
	return out
}

// try is run for a tool that may fail.
func (c tool) try(t *testing.T) (out, errOut string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Stdin = strings.NewReader(c.stdin)
	cmd.Env = append(os.Environ(), c.env...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("it had not ended after %v: %w", toolTimeout, err)
	}
	return o.String(), e.String(), err
}

// A process is a tool that runs beside the test.
type process struct {
	cmd  *exec.Cmd
	out  *logBuffer
	done chan struct{}
	err  error
}

// begin starts a tool that the end of the test kills.
func (c tool) begin(t *testing.T) *process {
	t.Helper()
	p, err := c.start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// start starts a tool that somebody else kills.
func (c tool) start() (*process, error) {
	p := &process{cmd: exec.CommandContext(context.Background(), c.path, c.args...), out: &logBuffer{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), c.env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// Should this process be killed, it takes the tool along.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.stdin != "" {
		p.cmd.Stdin = strings.NewReader(c.stdin)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// kill ends the process at once, by its id, and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop asks the process to end, and kills it when it does not.
func (p *process) stop(timeout time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(timeout):
		p.kill()
		return fmt.Errorf("%s does not end after SIGTERM", p.cmd.Path)
	}
}

// lines waits until the process has written so many lines, and returns them.
func (p *process) lines(t *testing.T, n int) []string {
	t.Helper()
	var lines []string
	wait(t, 20*time.Second, func() error {
		lines = strings.Split(strings.TrimSuffix(p.out.String(), "\n"), "\n")
		if p.out.String() == "" {
			lines = nil
		}
		if len(lines) < n {
			return fmt.Errorf("%d lines of %d:\n%s", len(lines), n, p.out)
		}
		return nil
	})
	return lines
}

// wait polls until ok returns nil.
func wait(t *testing.T, timeout time.Duration, ok func() error) {
	t.Helper()
	for end := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %v still: %v", timeout, err)
		}
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
}

// cached returns a directory below the cache that make has filled, once and for all: the name must change when what
// belongs into it does. Two test runs wait for each other.
func cached(name string, make func(dir string) error) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base = filepath.Join(base, "culvert-interop")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(base, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	dir := filepath.Join(base, name)
	complete := filepath.Join(dir, ".complete")
	if _, err := os.Stat(complete); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := make(dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(complete, nil, 0o644)
}

// command runs a command that prepares something; it may take minutes.
func command(path string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", path, strings.Join(args, " "), err, out)
	}
	return nil
}
