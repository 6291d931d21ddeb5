package main

import (
	"errors"
	"log/slog"
	"syscall"

	"github.com/culvert-mq/culvert/node"
	"github.com/culvert-mq/culvert/node/config"
)

// newNode makes the real node, and tells what is in its way.
func newNode(cfg *config.Config, log *slog.Logger, level *slog.LevelVar) (server, error) {
	n, err := node.New(node.Options{Config: cfg, Logger: log, Level: level, Version: version})
	var listen *node.ListenError
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, node.ErrLocked):
		return nil, &exitError{code: exitInUse, err: err, hint: "is another node running? Give this one a directory of its own with --data-dir"}
	case errors.Is(err, node.ErrForeign):
		return nil, &exitError{code: exitUsage, err: err, hint: "set node.id to the node whose data this is, or give this node a directory of its own with --data-dir"}
	case errors.As(err, &listen) && errors.Is(err, syscall.EADDRINUSE):
		return nil, &exitError{code: exitInUse, err: err, hint: "is another node running? Choose another port with --" + listen.Protocol + "-listen"}
	case errors.As(err, &listen) && errors.Is(err, syscall.EACCES):
		return nil, &exitError{code: exitFailure, err: err, hint: "ports below 1024 need the capability CAP_NET_BIND_SERVICE"}
	case errors.Is(err, syscall.EACCES):
		return nil, &exitError{code: exitFailure, err: err, hint: "the user needs to own the data directory, or another one: --data-dir"}
	}
	return nil, err
}
