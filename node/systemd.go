package node

import (
	"errors"
	"net"
	"os"
	"time"
)

// notifyTimeout bounds telling systemd anything: a socket that nobody reads from fills up.
const notifyTimeout = time.Second

// notify tells systemd about the node, where systemd started it (sd_notify(3)).
func (n *Node) notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if err := send(path, state); err != nil {
		n.log.Warn("systemd cannot be told", "state", state, "err", err)
	}
}

// send writes one datagram to a socket, whose path begins with @ where it is an abstract one.
func send(path, text string) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	if err = c.SetWriteDeadline(time.Now().Add(notifyTimeout)); err == nil {
		_, err = c.Write([]byte(text))
	}
	return errors.Join(err, c.Close())
}
