//go:build !unix

package mqtt

import (
	"errors"
	"net"
)

// rawConn has nothing to offer here: connections are read and written by net.Conn's methods.
type rawConn struct{}

func newRawConn(*conn, net.Conn) *rawConn { return nil }

func (*rawConn) read() error { return errors.ErrUnsupported }

func (*rawConn) write([]byte) (int, error) { return 0, errors.ErrUnsupported }
