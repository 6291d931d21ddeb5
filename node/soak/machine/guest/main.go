// Guest is the first process of the emulated machine: it makes a Linux kernel without a distribution into a machine
// that runs one culvert. It loads the modules for disk and network, mounts the disk, starts the node, and powers
// the machine off when the node ends. The kernel's command line tells what differs from boot to boot, the console
// what was reached; package machine sends the one and reads the other.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: this is the first process of an emulated machine, nothing else")
		os.Exit(2)
	}
	if err := run(); err != nil {
		say("failed: %v", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	// Only a kernel that cannot power off comes here; a first process that ends makes it panic.
}

// say writes a line to the console that the other side tells from the kernel's and the node's by its start.
func say(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stdout, "machine: "+format+"\n", args...) // there is nobody else to tell
}

func run() error {
	if err := systemMounts(); err != nil {
		return err
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	o, err := parseOptions(string(line))
	if err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	if err := network("lo", [4]byte{127, 0, 0, 1}, 8); err != nil {
		return err
	}
	// What the emulator's network expects its guest to be.
	if err := network("eth0", [4]byte{10, 0, 2, 15}, 24); err != nil {
		return err
	}
	if err := mountDisk("/dev/vda", "/data", o); err != nil {
		return err
	}
	node, err := startNode(o)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Wait() }()
	stop := make(chan struct{})
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			if strings.TrimSpace(in.Text()) == "stop" {
				close(stop)
				return
			}
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("the node ended by itself: %w", errors.Join(err, unmountDisk("/data")))
	case <-stop:
	}
	if err := node.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("the node, told to stop: %w", err)
	}
	if err := unmountDisk("/data"); err != nil {
		return err
	}
	say("stopped")
	return nil
}
