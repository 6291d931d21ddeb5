package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Node is one data directory, one configuration and, between Start and Kill or Stop, one process. Its
// methods are not safe for concurrent use; its addresses never change.
type Node struct {
	Binary string
	Runner []string // what goes before the binary on the command line: an emulator
	Dir    string   // holds culvert.toml, the log of all runs, and unless Data was moved, the data
	Data   string
	MQTT   string
	Kafka  string
	HTTP   string

	cmd     *exec.Cmd
	started time.Time
	exited  chan struct{}
	exit    error
	log     *os.File
	from    int64 // where the log of this run begins
}

// NewNode takes three free ports and the directory dir, which must exist.
func NewNode(ctx context.Context, binary, dir string) (*Node, error) {
	ports, err := freePorts(ctx, 3)
	if err != nil {
		return nil, err
	}
	return &Node{
		Binary: binary, Dir: dir, Data: filepath.Join(dir, "data"),
		MQTT:  fmt.Sprintf("127.0.0.1:%d", ports[0]),
		Kafka: fmt.Sprintf("127.0.0.1:%d", ports[1]),
		HTTP:  fmt.Sprintf("127.0.0.1:%d", ports[2]),
	}, nil
}

// A Config is TOML text per section, without the keys that the rig sets itself.
type Config map[string]string

// Write writes culvert.toml for the next Start.
func (n *Node) Write(c Config) error {
	own := Config{
		"node":  fmt.Sprintf("data_dir = %q\nlog_format = \"text\"\n", n.Data),
		"mqtt":  fmt.Sprintf("listen = %q\n", n.MQTT),
		"kafka": fmt.Sprintf("listen = %q\n", n.Kafka),
		"http":  fmt.Sprintf("listen = %q\n", n.HTTP),
	}
	var b strings.Builder
	for _, section := range []string{"node", "log", "commit", "kafka", "mqtt", "http"} {
		fmt.Fprintf(&b, "[%s]\n%s%s\n\n", section, own[section], strings.TrimSpace(c[section]))
	}
	return os.WriteFile(n.path("culvert.toml"), []byte(b.String()), 0o600)
}

func (n *Node) path(name string) string { return filepath.Join(n.Dir, name) }

// Start starts the process and returns at once.
func (n *Node) Start(ctx context.Context) error {
	log, err := os.OpenFile(n.path("node.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := log.Stat()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	args := append(append([]string{}, n.Runner...), n.Binary, "run", "--config", n.path("culvert.toml"))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	// What steers the tests, or is set around them, is no setting of this node's.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CULVERT_") })
	n.started = time.Now()
	if err := cmd.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	n.cmd, n.log, n.from, n.exited = cmd, log, info.Size(), make(chan struct{})
	go func(done chan struct{}) {
		n.exit = cmd.Wait()
		close(done)
	}(n.exited)
	return nil
}

// Ready waits until the node answers on all three listeners and says itself that it is ready, and returns
// how long that took from Start. It fails at once when the process ends, with what the process said.
func (n *Node) Ready(ctx context.Context, timeout time.Duration) (time.Duration, error) {
	return n.answers(ctx, timeout, n.probeReady, n.probeMQTT, n.probeKafka)
}

// Serves waits until the node answers on all three listeners, ready or not: a node whose disk is full is
// not ready, and serves what it has.
func (n *Node) Serves(ctx context.Context, timeout time.Duration) (time.Duration, error) {
	return n.answers(ctx, timeout, n.probeAlive, n.probeMQTT, n.probeKafka)
}

func (n *Node) answers(ctx context.Context, timeout time.Duration, checks ...func(context.Context) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for len(checks) > 0 {
		err := checks[0](ctx)
		if err == nil {
			checks = checks[1:]
			continue
		}
		select {
		case <-n.exited:
			return 0, fmt.Errorf("the node ended before it served: %w\n%s", n.exit, n.Log())
		case <-ctx.Done():
			return 0, fmt.Errorf("the node does not serve after %v: %w\n%s", timeout, err, n.Log())
		case <-time.After(2 * time.Millisecond):
		}
	}
	return time.Since(n.started), nil
}

func (n *Node) probeReady(ctx context.Context) error { return n.probeHTTP(ctx, "/readyz") }
func (n *Node) probeAlive(ctx context.Context) error { return n.probeHTTP(ctx, "/healthz") }

func (n *Node) probeHTTP(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+path, http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s says %s: %s", path, resp.Status, text)
	}
	return err
}

func (n *Node) probeMQTT(ctx context.Context) error {
	c, err := dialMQTT(ctx, n.MQTT, "rig-probe")
	if err != nil {
		return err
	}
	return c.close()
}

// probeKafka asks for the versions the node serves, as every client does first (key 18, version 0).
func (n *Node) probeKafka(ctx context.Context) error {
	conn, err := dial(ctx, n.Kafka)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x00\x00\x00\x0d\x00\x12\x00\x00\x00\x00\x00\x07\x00\x03rig")); err != nil {
		return err
	}
	var head [10]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	if !bytes.Equal(head[4:], []byte{0, 0, 0, 7, 0, 0}) {
		return fmt.Errorf("ApiVersions answered % x", head)
	}
	return nil
}

// Kill kills the process with SIGKILL and waits until it is gone.
func (n *Node) Kill() error {
	if n.cmd == nil {
		return nil
	}
	if err := n.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-n.exited
	n.cmd = nil
	return errors.Join(n.log.Close(), n.faults())
}

// Signal sends a signal to the process.
func (n *Node) Signal(sig syscall.Signal) error { return n.cmd.Process.Signal(sig) }

// Wait waits for the process to end by itself and returns its exit code and the time since Start. After
// the timeout it is killed, which is an error.
func (n *Node) Wait(timeout time.Duration) (code int, took time.Duration, err error) {
	select {
	case <-n.exited:
	case <-time.After(timeout):
		err = fmt.Errorf("the node still runs after %v\n%s", timeout, n.Log())
		return -1, time.Since(n.started), errors.Join(err, n.Kill())
	}
	took = time.Since(n.started)
	code = n.cmd.ProcessState.ExitCode()
	n.cmd = nil
	return code, took, errors.Join(n.log.Close(), n.faults())
}

// Stop ends the process with SIGTERM and returns how long it took; another exit code than 0 is an error.
func (n *Node) Stop(timeout time.Duration) (time.Duration, error) {
	from := time.Now()
	if err := n.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	code, _, err := n.Wait(timeout)
	if err == nil && code != 0 {
		err = fmt.Errorf("the node exits with %d after SIGTERM\n%s", code, n.Log())
	}
	return time.Since(from), err
}

// Running says whether the process was started and has not been waited for.
func (n *Node) Running() bool { return n.cmd != nil }

// PID is the process id, of the emulator where there is one.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Log returns what the current or last run wrote, at most its last 64 KiB.
func (n *Node) Log() string {
	text, err := os.ReadFile(n.path("node.log"))
	if err != nil {
		return err.Error()
	}
	text = text[min(n.from, int64(len(text))):]
	return string(text[max(0, len(text)-64<<10):])
}

// faults returns an error when the last run's log tells of a bug: no fault of a disk, a peer or a kill may
// lead there.
func (n *Node) faults() error {
	log := n.Log()
	for _, sign := range []string{"panic:", "fatal error:", "DATA RACE", "goroutine 1 [", "panic="} {
		if at := strings.Index(log, sign); at >= 0 {
			return fmt.Errorf("the node's log has %q:\n%s", sign, log[max(0, at-500):min(len(log), at+8000)])
		}
	}
	return nil
}
