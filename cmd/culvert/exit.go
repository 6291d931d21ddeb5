package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/culvert-mq/culvert/node"
	"github.com/culvert-mq/culvert/node/config"
)

// Exit codes. They are documented in [exitCodesTopic] and do not change.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitNotFound    = 4
	exitExists      = 5
	exitInUse       = 6
	exitDevice      = 7
	exitWarning     = 8
	exitSignal      = 128 // plus the signal's number
)

// exitCodesTopic is what `culvert help exit-codes` prints.
func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What scripts can tell from the exit code",
		Long: `Exit codes:

  0    done; also when whatever read the output stopped reading (culvert consume ... | head)
  1    failed; of status: the node is not ready; of doctor: something must be mended; of log verify, dump and repair:
       something is damaged
  2    the command line or the configuration is wrong; nothing was done
  3    the node cannot be reached
  4    there is no such topic or partition
  5    the topic exists already
  6    a port is in use, or the data directory is in use by another process
  7    of run: the device refused a write or a sync; a restart tells what it holds
  8    of doctor: nothing worse than warnings
  130  interrupted (Ctrl-C), what had been done is kept; 143 the same after SIGTERM

  culvert topic describe telemetry >/dev/null 2>&1
  case $? in 4) culvert topic create telemetry --partitions 4 ;; 3) echo "node is down" ;; esac`,
	}
}

// An exitError ends the program with a code of its own, and tells what to do next.
type exitError struct {
	code int
	err  error
	hint string // what to do next, or empty
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usage makes an error of a wrong command line.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// usageArgs makes errors of a wrong command line out of a check of its arguments.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage("%w", err)
		}
		return nil
	}
}

// interrupted is the cause of a context that a signal has ended.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return i.signal.String() }

// judge turns what a command ended with into an exit code and a message, which may be empty.
func judge(ctx context.Context, cmd *cobra.Command, err error) (code int, message string) {
	if out, ok := errors.AsType[*outputError](err); ok && errors.Is(out, syscall.EPIPE) {
		return exitOK, ""
	}
	text := err.Error()
	code, hint := exitFailure, ""
	var special *exitError
	signalled, bySignal := errors.AsType[interrupted](context.Cause(ctx))
	switch {
	case errors.As(err, &special):
		code, hint = special.code, special.hint
	case errors.Is(err, node.ErrDevice):
		code, hint = exitDevice, "start it again: it reads back what the device holds, and tells what is missing"
	case bySignal && errors.Is(err, context.Canceled):
		return exitSignal + int(signalled.signal), ""
	case bySignal:
		code = exitSignal + int(signalled.signal)
	case strings.HasPrefix(text, "unknown command"): // cobra's, which has no type
		code = exitUsage
	case errors.Is(err, config.ErrInvalid):
		code, hint = exitUsage, "`culvert config default` prints every key with its explanation"
	case isKafka(err, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID):
		code, hint = exitNotFound, "`culvert topic list` shows what there is"
	case isKafka(err, kerr.TopicAlreadyExists):
		code = exitExists
	case isKafka(err, kerr.InvalidTopicException, kerr.InvalidPartitions, kerr.InvalidConfig, kerr.InvalidReplicationFactor):
		code = exitUsage
	}
	if code == exitUsage && hint == "" && cmd != nil {
		hint = "`" + cmd.CommandPath() + " --help` shows how"
	}
	message = "culvert: " + strings.ReplaceAll(text, "\n", "\nculvert: ")
	if hint != "" {
		message += "\n  " + hint
	}
	return code, message
}

func isKafka(err error, codes ...*kerr.Error) bool {
	for _, c := range codes {
		if errors.Is(err, c) {
			return true
		}
	}
	return false
}
