package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/culvert-mq/culvert/log/store"
)

// startWatchdog tells systemd twice in every interval that the node is alive, where systemd wants to know (WatchdogSec=),
// until the node closes its parts: a node that hangs while it stops is ended, too.
func (n *Node) startWatchdog() {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("systemd's watchdog cannot be fed", "err", err)
		return
	}
	if limit <= 0 {
		return
	}
	n.log.Info("systemd's watchdog is fed while the log can be written", "limit", limit)
	ctx, cancel := context.WithCancel(context.Background())
	var feeding sync.WaitGroup
	feeding.Go(func() { n.feedWatchdog(ctx, limit/2) })
	n.onClose(func(context.Context) error {
		cancel()
		feeding.Wait()
		return nil
	})
}

// feedWatchdog feeds the watchdog until ctx ends, and only while the log can write and sync. A log that refuses because the
// device is full is alive: a restart would not make room.
func (n *Node) feedWatchdog(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for fed := true; ; {
		probe, cancel := context.WithTimeout(ctx, 2*every)
		err := n.store.Probe(probe)
		cancel()
		switch alive := err == nil || errors.Is(err, store.ErrFull); {
		case ctx.Err() != nil:
			return
		case alive:
			n.notify(daemon.SdNotifyWatchdog)
			fed = true
		case fed:
			n.log.Error("the log cannot be written: systemd's watchdog is not fed", "err", err)
			fed = false
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
