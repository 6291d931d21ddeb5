package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrMissing means that something the machine is made of is not there.
var ErrMissing = errors.New("missing")

// modules are what Debian's kernel for clouds has not built in and the machine needs, in the order in which they must
// be loaded; ext4 is built in.
var modules = []string{
	"drivers/virtio/virtio_ring",
	"drivers/virtio/virtio",
	"drivers/virtio/virtio_pci_modern_dev",
	"drivers/virtio/virtio_pci_legacy_dev",
	"drivers/virtio/virtio_pci",
	"drivers/block/virtio_blk",
	"net/core/failover",
	"drivers/net/net_failover",
	"drivers/net/virtio_net",
}

// A Kernel is a kernel's image and its modules.
type Kernel struct {
	Image   string
	Modules []string // paths, in the order in which they must be loaded
}

// FindKernel looks for the files of a kernel package that was unpacked into dir. Errors: ErrMissing.
func FindKernel(dir string) (Kernel, error) {
	one := func(pattern string) (string, error) {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		if len(found) != 1 {
			return "", fmt.Errorf("%w: %d files are %s", ErrMissing, len(found), filepath.Join(dir, pattern))
		}
		return found[0], nil
	}
	var k Kernel
	var err error
	if k.Image, err = one("boot/vmlinuz-*"); err != nil {
		return k, err
	}
	for _, m := range modules {
		path, err := one("lib/modules/*/kernel/" + m + ".ko")
		if err != nil {
			return k, err
		}
		k.Modules = append(k.Modules, path)
	}
	return k, nil
}

// WriteInitramfs writes the file system that the kernel starts with to path: the program init, the binary culvert, the
// modules of k.
func WriteInitramfs(path string, k Kernel, init, culvert string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	c := &cpio{w: f}
	for _, dir := range []string{"dev", "modules"} {
		c.add(dir, modeDir, nil, 0, 0)
	}
	c.add("dev/console", modeDevice, nil, 5, 1)
	file := func(name, from string) {
		data, err := os.ReadFile(from)
		if c.err = errors.Join(c.err, err); c.err == nil {
			c.add(name, modeFile, data, 0, 0)
		}
	}
	file("init", init)
	file("culvert", culvert)
	for i, m := range k.Modules {
		file(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(m)), m)
	}
	return c.close()
}
