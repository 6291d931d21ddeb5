package machine

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Ports on which culvert listens inside the machine.
const (
	PortMQTT  = 1883
	PortKafka = 9092
	PortHTTP  = 8080
)

// ErrPort means that another process took a port between the machine's choice and its boot. The next boot chooses again.
var ErrPort = errors.New("a port was taken")

// DataDir is where the disk's file system has culvert's data.
const DataDir = "/data/culvert"

// A Machine is an emulated computer with one disk. Between Boot and Cut or Stop it is one process. Its methods are not
// safe for concurrent use.
type Machine struct {
	Emulator string // qemu-system-x86_64
	Kernel   Kernel
	Dir      string // holds the initramfs, the console's log and the disk's socket
	Disk     *Disk

	cmd     *exec.Cmd
	input   io.WriteCloser
	console *console
	exited  chan struct{}
	served  chan error // of the disk's server
	socket  net.Listener
	ports   map[int]string // inside -> address outside
}

// A Boot is what may differ from one boot to the next.
type Boot struct {
	Config string // culvert.toml
	Mount  string // options of the disk's mount, "" for ext4's own defaults
	// Dirty is after how many hundredths of a second the machine writes back what nobody synced, 0 for the kernel's 3000.
	Dirty int
}

// The kernel is spared what takes time and serves nobody here: it is booted a thousand times.
const kernelLine = "console=ttyS0 panic=-1 loglevel=4 nokaslr mitigations=off no_timer_check ipv6.disable=1 apparmor=0 audit=0" +
	" cryptomgr.notests initcall_blacklist=crypto_kdf108_init,init_kprobe_trace"

// kernelLineBytes is how much of its command line an x86 kernel reads.
const kernelLineBytes = 2048

const initramfs = "initramfs.cpio"

// New makes a machine in dir, which must exist, that runs the given programs on the disk.
func New(dir, emulator string, k Kernel, init, culvert string, disk *Disk) (*Machine, error) {
	m := &Machine{Emulator: emulator, Kernel: k, Dir: dir, Disk: disk}
	if err := WriteInitramfs(m.path(initramfs), k, init, culvert); err != nil {
		return nil, err
	}
	file, err := os.Create(m.path("console.log"))
	m.console = &console{file: file}
	return m, err
}

func (m *Machine) path(name string) string { return filepath.Join(m.Dir, name) }

// Boot switches the machine on and returns at once. What goes wrong then is an error of Await and Ready.
func (m *Machine) Boot(ctx context.Context, b Boot) error {
	line := kernelLine + " machine.config=" + base64.StdEncoding.EncodeToString([]byte(b.Config))
	if b.Mount != "" {
		line += " machine.mount=" + b.Mount
	}
	if b.Dirty > 0 {
		line += fmt.Sprintf(" machine.dirty=%d", b.Dirty)
	}
	if len(line) >= kernelLineBytes {
		return fmt.Errorf("the kernel's command line has %d bytes, %d are read", len(line), kernelLineBytes)
	}
	if err := m.serveDisk(ctx); err != nil {
		return err
	}
	forward, err := m.forward(ctx)
	if err != nil {
		return errors.Join(err, m.joinDisk())
	}
	cmd := exec.CommandContext(ctx, m.Emulator, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg", "-machine", "pc,i8042=off,hpet=off", "-cpu", "max", "-m", "256",
		"-kernel", m.Kernel.Image, "-initrd", m.path(initramfs), "-append", line, "-serial", "stdio",
		"-drive", "if=none,id=disk,format=raw,cache=writeback,discard=unmap,file.driver=nbd,file.server.type=unix,file.server.path="+m.socket.Addr().String(),
		"-device", "virtio-blk-pci,drive=disk,write-cache=on",
		"-netdev", "user,id=net,restrict=on,ipv6=off"+forward, "-device", "virtio-net-pci,netdev=net,romfile=")
	m.console.begin()
	cmd.Stdout, cmd.Stderr = m.console, m.console
	if m.input, err = cmd.StdinPipe(); err != nil {
		return errors.Join(err, m.joinDisk())
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, m.joinDisk())
	}
	m.cmd, m.exited = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait() // what it ended with is in its state
		close(done)
	}(m.exited)
	return nil
}

func (m *Machine) serveDisk(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", m.path("disk.sock"))
	if err != nil {
		return err
	}
	m.socket, m.served = l, make(chan error, 1)
	go func() { m.served <- m.Disk.Serve(l) }()
	return nil
}

// joinDisk waits until nothing that the machine asked for still reaches the disk. The machine must be off.
func (m *Machine) joinDisk() error {
	m.socket.Close()
	return <-m.served
}

// forward finds a free loopback port for each of the ports inside.
func (m *Machine) forward(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	var rules strings.Builder
	m.ports = map[int]string{}
	for _, port := range []int{PortMQTT, PortKafka, PortHTTP} {
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		defer l.Close()
		m.ports[port] = l.Addr().String()
		fmt.Fprintf(&rules, ",hostfwd=tcp:%s-:%d", m.ports[port], port)
	}
	return rules.String(), nil
}

// Addr is where a port of the running machine is reached from outside. A connection is accepted as soon as the
// emulator runs, whatever the machine does.
func (m *Machine) Addr(port int) string { return m.ports[port] }

// Ready waits until culvert says on its HTTP port that it is ready. It fails at once when the machine powers itself off.
func (m *Machine) Ready(ctx context.Context, timeout time.Duration) error {
	// Not asked before: what is sent to a machine without a network is sent again after ever longer times.
	if err := m.Await(ctx, "culvert is ready", timeout); err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	ask := func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Addr(PortHTTP)+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz says %s", resp.Status)
		}
		return nil
	}
	return m.until(ctx, timeout, "is ready", ask)
}

// Await waits until the console has the text.
func (m *Machine) Await(ctx context.Context, text string, timeout time.Duration) error {
	return m.until(ctx, timeout, "says "+text, func() error {
		if !strings.Contains(m.Log(), text) {
			return errors.New("it does not")
		}
		return nil
	})
}

func (m *Machine) until(ctx context.Context, timeout time.Duration, what string, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-m.exited:
			err := fmt.Errorf("the machine ended before it %s: %v\n%s", what, m.cmd.ProcessState, m.Log())
			if strings.Contains(m.Log(), "Could not set up host forwarding") {
				err = errors.Join(ErrPort, err)
			}
			return err
		case <-ctx.Done():
			return fmt.Errorf("no machine that %s after %v: %w\n%s", what, timeout, err, m.Log())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Kill ends the emulator with SIGKILL and returns when it is gone and nothing of it reaches the disk any more. The
// disk still has its cache: call Cut on it before the next boot.
func (m *Machine) Kill() error {
	if m.cmd == nil {
		return nil
	}
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return m.end()
}

func (m *Machine) end() error {
	<-m.exited
	m.cmd = nil
	m.input.Close()
	return m.joinDisk()
}

// Stop asks for an orderly end: culvert is told to stop, the file system is unmounted, the machine powers itself off.
func (m *Machine) Stop(ctx context.Context, timeout time.Duration) error {
	if _, err := io.WriteString(m.input, "stop\n"); err != nil {
		return errors.Join(err, m.Kill())
	}
	if err := m.Await(ctx, "machine: stopped", timeout); err != nil {
		return errors.Join(err, m.Kill())
	}
	select {
	case <-m.exited:
		return m.end()
	case <-time.After(timeout):
		return errors.Join(fmt.Errorf("the machine does not power off\n%s", m.Log()), m.Kill())
	}
}

// Running says whether the machine was switched on and neither killed nor stopped.
func (m *Machine) Running() bool { return m.cmd != nil }

// Log returns what the machine has printed since it was switched on.
func (m *Machine) Log() string { return m.console.String() }

// Close closes the disk and the console's log. The machine must be off.
func (m *Machine) Close() error { return errors.Join(m.Disk.Close(), m.console.file.Close()) }
