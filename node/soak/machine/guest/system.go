package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func systemMounts() error {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return nil
}

// loadModules loads the files of dir in the order of their names.
func loadModules(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("module %s: %w", path, err)
		}
	}
	return nil
}

// network gives an interface its address and brings it up.
func network(name string, address [4]byte, bits int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	set := func(request uint, change func(*unix.Ifreq) error) error {
		r, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := change(r); err != nil {
			return err
		}
		return unix.IoctlIfreq(fd, request, r)
	}
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-bits))
	err = set(unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address[:]) })
	if err == nil {
		err = set(unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask[:]) })
	}
	if err == nil {
		err = set(unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil })
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}

// mountDisk mounts the disk, of which the kernel must know that it may lose what is not flushed.
func mountDisk(device, at string, o options) error {
	mode, err := os.ReadFile("/sys/block/" + filepath.Base(device) + "/queue/write_cache")
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(mode)); got != "write back" {
		return fmt.Errorf("%s has the cache mode %q: the kernel would not flush it", device, got)
	}
	if o.dirty != "" {
		for _, name := range []string{"dirty_writeback_centisecs", "dirty_expire_centisecs"} {
			if err := os.WriteFile("/proc/sys/vm/"+name, []byte(o.dirty), 0o600); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(device, at, "ext4", unix.MS_NOATIME, o.mount); err != nil {
		return fmt.Errorf("mount %s with %q: %w", device, o.mount, err)
	}
	say("mounted")
	return nil
}

func unmountDisk(at string) error {
	if err := unix.Unmount(at, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", at, err)
	}
	return nil
}

// startNode starts culvert with its log on the console.
func startNode(o options) (*exec.Cmd, error) {
	const config = "/culvert.toml"
	if err := os.WriteFile(config, o.config, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("/culvert", "run", "--config", config) //nolint:noctx // ends with the machine
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = []string{"HOME=/", "PATH=/"}
	return cmd, cmd.Start()
}
