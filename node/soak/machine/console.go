package machine

import (
	"bytes"
	"os"
	"strings"
	"sync"
)

// A console takes what a machine prints, writes it to a file that has all of its lives, and keeps that of the last. It
// is safe for concurrent use.
type console struct {
	file *os.File

	mu   sync.Mutex
	text bytes.Buffer // since the last boot; guarded by mu
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(p)
	return c.file.Write(p)
}

func (c *console) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Reset()
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.ReplaceAll(c.text.String(), "\r\n", "\n")
}
