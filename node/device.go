package node

import (
	"context"
	"errors"
	"time"
)

// deviceInterval is how often the node looks whether the device has failed.
const deviceInterval = 200 * time.Millisecond

// watchDevice returns an ErrDevice when the device fails, and nil when ctx ends. The log takes nothing after such a failure,
// and never will: a kernel that could not write a page may have dropped it, so that only what is read back after a restart
// is known to be there.
func (n *Node) watchDevice(ctx context.Context) error {
	t := time.NewTicker(deviceInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := n.failed(); err != nil {
				return err
			}
		}
	}
}

// failed returns an ErrDevice once the device has failed.
func (n *Node) failed() error {
	if err := n.store.Refused(); errors.Is(err, ErrDevice) {
		return err
	}
	return nil
}

// logFailure says why the node stops of its own accord.
func (n *Node) logFailure(err error) {
	if errors.Is(err, ErrDevice) {
		n.log.Error("the device that holds the log failed: the node stops, and a restart tells what the device holds",
			"data", n.cfg.Load().Node.DataDir, "err", err)
		return
	}
	n.log.Error("stopping because a part failed", "err", err)
}

// Unhealthy implements admin.HealthSource.
func (n *Node) Unhealthy() []string {
	if err := n.failed(); err != nil {
		return []string{"log: " + err.Error()}
	}
	return nil
}
