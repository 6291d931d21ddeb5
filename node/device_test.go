package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/node/config"
)

// deviceFaults makes steps of the log fail, while it is told to.
type deviceFaults struct {
	mu    sync.Mutex
	steps map[string]error // guarded by mu
}

func (f *deviceFaults) set(step string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.steps == nil {
		f.steps = map[string]error{}
	}
	f.steps[step] = err
}

// Before implements fsx.Faults.
func (f *deviceFaults) Before(step, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.steps[step]; err != nil {
		return &os.PathError{Op: step, Path: path, Err: err}
	}
	return nil
}

// logged is what a node logs.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines returns the lines that hold text.
func (l *logged) lines(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// startFaulty runs a node whose device can fail, and returns what Run returns.
func startFaulty(t *testing.T, c *config.Config, f fsx.Faults) (r *running, log *logged, ended <-chan error, cancel func()) {
	t.Helper()
	log = &logged{}
	n, err := New(Options{Config: c, Logger: slog.New(slog.NewTextHandler(log, nil)), Level: new(slog.LevelVar), Version: "test", Faults: f})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return &running{Node: n, t: t}, log, done, cancel
}

func await(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the node goes on")
		return nil
	}
}

func TestAFailedDeviceStopsTheNodeSoThatItIsRestarted(t *testing.T) {
	f := &deviceFaults{}
	r, log, ended, cancel := startFaulty(t, testConfig(t.TempDir()), f)
	defer cancel()
	r.publish([2]string{"a", "1"})
	if code, body := r.get("/healthz"); code != http.StatusOK {
		t.Fatal(code, body)
	}
	f.set("journal.sync", syscall.EIO)
	cl := r.client(kgo.RecordRetries(0))
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "mqtt", Value: []byte("2")}).FirstErr(); err == nil {
		t.Fatal("acknowledged by a device that failed")
	}
	err := await(t, ended)
	if !errors.Is(err, ErrDevice) || !errors.Is(err, syscall.EIO) || strings.Count(err.Error(), "\n") > 0 {
		t.Fatalf("run ended with %v", err)
	}
	said := log.lines("a restart tells what the device holds")
	if len(said) != 1 || !strings.Contains(said[0], "level=ERROR") || !strings.Contains(said[0], "input/output error") {
		t.Errorf("said of the failure: %q", said)
	}
}

func TestHealthTellsOfAFailedDeviceAndNotOfAFullOne(t *testing.T) {
	f := &deviceFaults{}
	r, _, ended, cancel := startFaulty(t, testConfig(t.TempDir()), f)
	f.set("segment.commit", syscall.ENOSPC)
	r.publish([2]string{"a", "1"})
	waitFor(t, "the full device", func() bool { return r.store.Refused() != nil })
	if code, body := r.get("/healthz"); code != http.StatusOK {
		t.Errorf("full: %d %s", code, body)
	}
	if code, _ := r.get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("full, but ready: %d", code)
	}
	f.set("segment.commit", syscall.EIO)
	waitFor(t, "the failure", func() bool { return r.failed() != nil })
	w := httptest.NewRecorder()
	r.admin.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", http.NoBody)) // the listener may be gone
	code, body := w.Code, w.Body.String()
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "log device failed") || !strings.Contains(body, "input/output error") {
		t.Errorf("failed: %d %s", code, body)
	}
	cancel()
	if err := await(t, ended); !errors.Is(err, ErrDevice) {
		t.Errorf("run ended with %v", err)
	}
}
