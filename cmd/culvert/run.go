package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node"
	"github.com/culvert-mq/culvert/node/config"
)

// server is what `culvert run` runs: a node.
type server interface {
	// Run serves until ctx is done, then stops in order and returns.
	Run(ctx context.Context) error
	// Reload takes over the reloadable part of a configuration, all of it or none, and logs what changed and what waits
	// for a restart.
	Reload(*config.Config) error
}

// build makes a server that serves nothing yet. The level is the logger's, for reloads.
type build func(*config.Config, *slog.Logger, *slog.LevelVar) (server, error)

func newRunCmd(b build) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a node",
		Long: `Run a node in the foreground. Without any configuration it listens on loopback only (MQTT 1883, native 9092, HTTP 8080).
The command line wins over the environment (CULVERT_SECTION_KEY), which wins over the file.

  SIGTERM, SIGINT  stop in order: no new connections, open commits and positions stored; a second one ends at once
  SIGHUP           read the configuration again and take over what may change; the rest is named in the log

When the device refuses a write or a sync, the node stops with exit code 7: only a restart tells what the device holds.

Logs go to standard error.`,
		Example: `  culvert run
  culvert run --config /etc/culvert/culvert.toml
  culvert run --data-dir /srv/culvert --mqtt-listen 127.0.0.1:0 --set log.retention=2d`,
		Args: usageArgs(cobra.NoArgs),
	}
	s := addSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		signals := make(chan os.Signal, 4)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer signal.Stop(signals)
		return runNode(s, b, signals, cmd.ErrOrStderr())
	}
	return cmd
}

// stopGrace is how much longer than its own limit the node may take to stop before it is given up.
const stopGrace = 2 * time.Second

// errStopped ends a node that was told a second time to stop, or took too long to.
var errStopped = errors.New("stopped before everything was closed; what was acknowledged is on the disk")

// runNode runs a node until a signal ends it. The context of the command is not used: it ends with the first signal, for
// client commands, and here signals mean more.
func runNode(s *settings, b build, signals <-chan os.Signal, stderr io.Writer) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	log, level := newLogger(cfg, stderr, os.Getenv("JOURNAL_STREAM"))
	n, err := b(cfg, log, level)
	if err != nil {
		return err
	}
	checkMemory(cfg, log)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()

	var late <-chan time.Time // set once the node has been told to stop
	for {
		select {
		case err := <-done:
			if err != nil && late != nil && !errors.Is(err, node.ErrDevice) {
				err = &exitError{code: exitFailure, err: err}
			}
			return err
		case <-late:
			log.Error("stopping takes too long", "limit", cfg.Node.StopTimeout.String())
			return errStopped
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP && late == nil:
				reload(s, n, log)
			case sig == syscall.SIGHUP:
			case late != nil:
				return fmt.Errorf("%v: %w", sig, errStopped)
			default:
				log.Info("stopping", "signal", sig.String())
				late = time.After(cfg.Node.StopTimeout.Std() + stopGrace)
				cancel()
			}
		}
	}
}

// reload reads the configuration again and has the node take over what may change.
func reload(s *settings, n server, log *slog.Logger) {
	next, err := s.load()
	if err == nil {
		err = n.Reload(next)
	}
	if err != nil {
		log.Error("configuration not reloaded, the old one stays", "err", err)
		return
	}
	log.Info("configuration reloaded")
}

// checkMemory warns when the limits of the configuration allow more than the memory limit that is set.
func checkMemory(cfg *config.Config, log *slog.Logger) {
	limit := debug.SetMemoryLimit(-1)
	if promised := cfg.PromisedBytes(); int64(promised) > limit {
		log.Warn("the limits of the configuration allow more memory than there is for the process",
			"limit", config.Size(limit>>20<<20).String(), "promised", promised.String())
	}
}
