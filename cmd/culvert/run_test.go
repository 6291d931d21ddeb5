package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node"
	"github.com/culvert-mq/culvert/node/config"
)

// fakeServer is a node that does nothing but what the test says.
type fakeServer struct {
	cfg     *config.Config
	reloads chan *config.Config
	refuse  error
	stop    func(ctx context.Context) error
}

func (s *fakeServer) Run(ctx context.Context) error {
	<-ctx.Done()
	return s.stop(ctx)
}

func (s *fakeServer) Reload(c *config.Config) error {
	s.reloads <- c
	return s.refuse
}

// buffer is what is logged; the node and the command write into it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startRun runs `culvert run` on a fake node.
func startRun(t *testing.T, s *fakeServer, args ...string) (signals chan<- os.Signal, log *buffer, done <-chan error) {
	t.Helper()
	s.reloads = make(chan *config.Config, 10)
	cmd := &cobra.Command{}
	set := addSettings(cmd)
	if err := cmd.ParseFlags(append([]string{"--data-dir", "/nowhere"}, args...)); err != nil {
		t.Fatal(err)
	}
	in, out, log := make(chan os.Signal, 4), make(chan error, 1), &buffer{}
	go func() {
		out <- runNode(set, func(c *config.Config, _ *slog.Logger, _ *slog.LevelVar) (server, error) {
			s.cfg = c
			return s, nil
		}, in, log)
	}()
	return in, log, out
}

func TestTheNodeStopsInOrderOnASignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		synctest.Test(t, func(t *testing.T) {
			drained := false
			s := &fakeServer{stop: func(context.Context) error {
				time.Sleep(3 * time.Second)
				drained = true
				return nil
			}}
			signals, _, done := startRun(t, s)
			signals <- sig
			if err := <-done; err != nil || !drained {
				t.Errorf("%v: %v, drained %v", sig, err, drained)
			}
		})
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &fakeServer{stop: func(context.Context) error { <-release; return nil }}
		signals, _, done := startRun(t, s)
		signals <- syscall.SIGTERM
		signals <- syscall.SIGHUP
		signals <- syscall.SIGTERM
		if err := <-done; !errors.Is(err, errStopped) || len(s.reloads) > 0 {
			t.Errorf("error %v, %d reloads", err, len(s.reloads))
		}
		close(release)
	})
}

func TestStoppingTakesNoLongerThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &fakeServer{stop: func(context.Context) error { <-release; return nil }}
		signals, _, done := startRun(t, s, "--set", "node.stop_timeout=7s")
		began := time.Now()
		signals <- syscall.SIGTERM
		if err := <-done; !errors.Is(err, errStopped) || time.Since(began) != 7*time.Second+stopGrace {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		close(release)
	})
}

func TestAFailingNodeEndsTheCommand(t *testing.T) {
	broken := errors.New("disk on fire")
	cmd := &cobra.Command{}
	set := addSettings(cmd)
	err := runNode(set, func(*config.Config, *slog.Logger, *slog.LevelVar) (server, error) { return nil, broken }, nil, &buffer{})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestADeviceThatFailsEndsTheCommandAlsoWhileItStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{stop: func(context.Context) error { return fmt.Errorf("%w: %w", node.ErrDevice, syscall.EIO) }}
		signals, _, done := startRun(t, s)
		signals <- syscall.SIGTERM
		code, text := judge(t.Context(), nil, <-done)
		if code != exitDevice || !strings.Contains(text, "input/output error") {
			t.Errorf("exit code %d, %q", code, text)
		}
	})
}

func TestSIGHUPHandsTheNewConfigurationToTheNode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "culvert.toml")
	put := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("[log]\nretention = \"2d\"\n")
	s := &fakeServer{stop: func(context.Context) error { return nil }}
	signals, log, done := startRun(t, s, "--config", file, "--log-level", "error")
	put("[node]\nlog_level = \"debug\"\n[log]\nretention = \"3d\"\n")
	signals <- syscall.SIGHUP
	got := <-s.reloads
	if got.Log.Retention.Std() != 72*time.Hour || got.Node.LogLevel != "error" || got.Node.DataDir != "/nowhere" {
		t.Errorf("reloaded with %+v", got)
	}
	put("[log]\nretention = 3\n")
	signals <- syscall.SIGHUP
	waitFor(t, log, `level=ERROR msg="configuration not reloaded, the old one stays" err="`+file+`:2: log.retention is wrong`)
	put("")
	s.refuse = errors.New("not now")
	signals <- syscall.SIGHUP
	<-s.reloads
	waitFor(t, log, `err="not now"`)
	signals <- syscall.SIGTERM
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// waitFor waits until text is in the log.
func waitFor(t *testing.T, log *buffer, text string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not in the log:\n%s", text, log.String())
		}
	}
}

func TestLoggersFollowTheConfiguration(t *testing.T) {
	pipe, err := os.CreateTemp(t.TempDir(), "journal")
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	info, err := pipe.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	stream := decimal(int64(st.Dev)) + ":" + decimal(int64(st.Ino))
	for _, c := range []struct {
		format, level, journal string
		want, not              string
	}{
		{"auto", "info", "", "time=", "{"},
		{"auto", "info", stream, "level=INFO msg=hello", "time="},
		{"auto", "info", "1:2", "time=", "{"},
		{"text", "info", stream, "time=", "{"},
		{"json", "info", stream, `"msg":"hello"`, "level="},
		{"text", "error", "", "", "hello"},
	} {
		cfg := config.Default()
		cfg.Node.LogFormat, cfg.Node.LogLevel = c.format, c.level
		if err := pipe.Truncate(0); err != nil {
			t.Fatal(err)
		}
		log, level := newLogger(cfg, pipe, c.journal)
		log.Info("hello")
		level.Set(slog.LevelError + 1)
		log.Error("silenced")
		text, err := os.ReadFile(pipe.Name())
		if err != nil {
			t.Fatal(err)
		}
		got := strings.TrimLeft(string(text), "\x00")
		if !strings.Contains(got, c.want) || strings.Contains(got, c.not) || strings.Contains(got, "silenced") {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestAnEmptyDataDirectoryIsNotTakenForTheUsualOne(t *testing.T) {
	for _, args := range [][]string{{"--data-dir", ""}, {"--set", "node.data_dir="}} {
		for _, command := range [][]string{{"run"}, {"config", "check"}} {
			code, _, stderr := cli(t, "", append(command, args...)...)
			if code != exitUsage || !strings.Contains(stderr, "flag "+args[0]+": the data directory is empty; name one, or leave the flag out") {
				t.Errorf("%v %q: exit code %d, %q", command, args, code, stderr)
			}
		}
	}
}
