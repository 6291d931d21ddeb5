package machine

import (
	"fmt"
	"io"
)

// Modes of a file in an archive: its type and its permissions, as stat(2) has them.
const (
	modeDir    = 0o40755
	modeFile   = 0o100755
	modeDevice = 0o20600 // a character device
)

// A cpio writes an archive of the "newc" kind, which the kernel unpacks into its first file system
// (https://docs.kernel.org/driver-api/early-userspace/buffer-format.html).
type cpio struct {
	w     io.Writer
	inode int
	err   error // the first failure
}

// add appends a file; only devices have a number.
func (c *cpio) add(name string, mode uint32, data []byte, major, minor int) {
	c.inode++
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", c.inode, mode, 0, 0, 1, 0,
		len(data), 0, 0, major, minor, len(name)+1, 0)
	c.write([]byte(header + name + "\x00"))
	c.write(data)
}

// write pads what it writes to a multiple of four bytes. A header with its name begins at such a multiple, too.
func (c *cpio) write(p []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(p)
	}
	if pad := -len(p) & 3; c.err == nil && pad > 0 {
		_, c.err = c.w.Write(make([]byte, pad))
	}
}

// close ends the archive and returns the first failure.
func (c *cpio) close() error {
	c.add("TRAILER!!!", 0, nil, 0, 0)
	return c.err
}
