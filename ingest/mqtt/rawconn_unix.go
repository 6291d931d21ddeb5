//go:build unix

package mqtt

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// rawConn reads and writes a TCP connection without a buffer to wait with: the poller waits for readability, and a buffer
// is taken when a read finds something. Writing takes what the socket takes and does not wait.
type rawConn struct {
	c  *conn
	rc syscall.RawConn

	readFunc, writeFunc func(fd uintptr) bool // made once: a closure for each call would be garbage

	n   int // of readFunc
	err error

	out      []byte // of writeFunc, which one writer at a time uses
	wrote    int
	writeErr error
}

// newRawConn returns nil if nc is not a connection that can be read this way.
func newRawConn(c *conn, nc net.Conn) *rawConn {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	rc, err := tc.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawConn{c: c, rc: rc}
	r.readFunc, r.writeFunc = r.tryRead, r.tryWrite
	return r
}

// read waits for bytes and reads them.
func (r *rawConn) read() error {
	if err := r.rc.Read(r.readFunc); err != nil {
		return err
	}
	switch {
	case r.err != nil:
		return r.err
	case r.n == 0:
		return io.EOF
	}
	r.c.took(r.n)
	return nil
}

// tryRead returns false to wait until the socket is readable.
func (r *rawConn) tryRead(fd uintptr) bool {
	b := r.c.space()
	for {
		r.n, r.err = syscall.Read(int(fd), b)
		if !errors.Is(r.err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(r.err, syscall.EAGAIN) {
		r.c.idle()
		return false
	}
	return true
}

// write writes what the socket takes. n < len(b) without an error means that it is full.
func (r *rawConn) write(b []byte) (n int, err error) {
	r.out, r.wrote, r.writeErr = b, 0, nil
	err = r.rc.Write(r.writeFunc)
	r.out = nil
	if err == nil {
		err = r.writeErr
	}
	return r.wrote, err
}

func (r *rawConn) tryWrite(fd uintptr) bool {
	for r.wrote < len(r.out) {
		n, err := syscall.Write(int(fd), r.out[r.wrote:])
		switch {
		case n > 0:
			r.wrote += n
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return true
		case err != nil:
			r.writeErr = err
			return true
		default:
			r.writeErr = io.ErrUnexpectedEOF
			return true
		}
	}
	return true
}
