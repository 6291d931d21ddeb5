package node

import (
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// systemd stands for the service manager: it hears what a node tells.
type systemd struct {
	heard chan string
}

// newSystemd has the nodes of the test tell it, and expect a sign of life in every limit.
func newSystemd(t *testing.T, limit time.Duration) *systemd {
	t.Helper()
	path := "@culvert/" + strconv.Itoa(os.Getpid()) + "/" + t.Name() // abstract, as systemd's own: no path to be too long
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &systemd{heard: make(chan string, 1000)}
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			s.heard <- string(buf[:n])
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		reading.Wait()
	})
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(limit.Microseconds(), 10))
	return s
}

// hears waits for a message, and reports whether it came within d.
func (s *systemd) hears(message string, d time.Duration) bool {
	timeout := time.After(d)
	for {
		select {
		case got := <-s.heard:
			if got == message {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// hanging is a device that takes a sync and does not come back while it is held.
type hanging struct{ sync.RWMutex }

// Before implements fsx.Faults.
func (h *hanging) Before(step, _ string) error {
	if step == "journal.sync" {
		h.RLock()
		defer h.RUnlock()
	}
	return nil
}

const patience = 20 * time.Second

func TestTheWatchdogIsFedWhileTheLogCanBeWritten(t *testing.T) {
	const limit = 100 * time.Millisecond
	manager := newSystemd(t, limit)
	disk := &hanging{}
	r, log, ended, cancel := startFaulty(t, testConfig(t.TempDir()), disk)
	if !manager.hears("READY=1", patience) {
		t.Fatal("not ready")
	}
	for range 3 {
		if !manager.hears("WATCHDOG=1", patience) {
			t.Fatal("the watchdog of an idle node is not fed")
		}
	}
	disk.Lock()
	manager.hears("", 2*limit) // takes what was on its way
	if manager.hears("WATCHDOG=1", 3*limit) {
		t.Error("the watchdog is fed while the device hangs")
	}
	disk.Unlock()
	if !manager.hears("WATCHDOG=1", patience) {
		t.Error("the watchdog is not fed after the device hung")
	}
	if said := log.lines("watchdog is not fed"); len(said) != 1 {
		t.Errorf("said %q", said)
	}
	r.publish([2]string{"a", "1"})
	cancel()
	if !manager.hears("STOPPING=1", patience) {
		t.Error("stopping is not told")
	}
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
}

func TestAFullDeviceDoesNotStarveTheWatchdog(t *testing.T) {
	manager := newSystemd(t, 100*time.Millisecond)
	f := &deviceFaults{}
	r, _, ended, cancel := startFaulty(t, testConfig(t.TempDir()), f)
	f.set("segment.commit", syscall.ENOSPC)
	r.publish([2]string{"a", "1"})
	waitFor(t, "the full device", func() bool { return r.store.Refused() != nil })
	f.set("journal.write", syscall.ENOSPC)  // not even the journal takes anything
	manager.hears("", 100*time.Millisecond) // takes what was told before
	for range 3 {
		if !manager.hears("WATCHDOG=1", patience) {
			t.Fatal("the watchdog is not fed")
		}
	}
	cancel()
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
}

func TestWithoutAWatchdogNothingIsWritten(t *testing.T) {
	manager := newSystemd(t, 0)
	t.Setenv("WATCHDOG_USEC", "")
	r := start(t, testConfig(t.TempDir()))
	if !manager.hears("READY=1", patience) {
		t.Fatal("not ready")
	}
	if manager.hears("WATCHDOG=1", 300*time.Millisecond) {
		t.Error("a watchdog that nobody has is fed")
	}
	r.stop()
}

func TestAServiceManagerThatHangsHoldsNothingUp(t *testing.T) {
	path := "@culvert/" + strconv.Itoa(os.Getpid()) + "/" + t.Name()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	filled := 0
	for send(path, "x") == nil { // nobody reads
		filled++
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", "100000")
	_, log, ended, cancel := startFaulty(t, testConfig(t.TempDir()), nil)
	waitFor(t, "the watchdog's turn", func() bool { return len(log.lines(`state="WATCHDOG=1"`)) > 0 })
	began := time.Now()
	cancel()
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("stopping took %v; the socket took %d messages", d, filled)
	}
}
