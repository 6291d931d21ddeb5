package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrExited is returned when a child ended by itself.
var ErrExited = errors.New("ended")

// Process is a running child.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  tail
	done chan struct{}
	err  error // of the process, once done is closed
}

// Start runs a program. Its output is kept for error messages, as far as its last lines go.
func Start(name, path string, args ...string) (*Process, error) {
	p := &Process{name: name, cmd: exec.Command(path, args...), done: make(chan struct{})} //nolint:noctx // Stop ends it, not a context
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Env = environment()
	// The child has a group of its own, so that Ctrl-C reaches the parent alone, which then stops it in order; and it dies
	// with the thread that started it, which therefore lives as long as the child.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		defer close(p.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = p.cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// environment is ours without the variables that configure a node.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CULVERT_") {
			env = append(env, e)
		}
	}
	return env
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Name is what the process is called in messages.
func (p *Process) Name() string { return p.name }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exited is the error of a process that ended, with its last lines.
func (p *Process) Exited() error {
	state := "without an error"
	if p.err != nil {
		state = p.err.Error()
	}
	return fmt.Errorf("%s %w (%s); its last lines:\n%s", p.name, ErrExited, state, p.out.String())
}

// Kill ends the process with SIGKILL and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the process to end with SIGTERM, and kills it when it does not within the time.
func (p *Process) Stop(within time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(within):
		p.Kill()
		return fmt.Errorf("%s did not stop within %s and was killed", p.name, within)
	}
}

// WaitFor calls ready until it returns nil, the process ends, or ctx does.
func (p *Process) WaitFor(ctx context.Context, ready func(context.Context) error) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.Exited()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%w): %w; its last lines:\n%s", p.name, ctx.Err(), err, p.out.String())
		case <-poll.C:
		}
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b[max(0, len(b)-tailSize):]...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(string(t.buf)), "?")
}
