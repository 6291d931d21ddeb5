// Culvert is a broker for gateways: sensors publish over MQTT, clients read over the native protocol, which is Kafka's,
// and what is stored is forwarded to a Kafka cluster at the centre. This program is the node, its clients and its tools.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set when the binary is built.
var version = "dev"

func main() {
	// What reads our output may go away (`| head`): that is no reason to be killed, least of all for the node.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := untilSignal(context.Background())
	code := execute(ctx, newRoot(), os.Stderr)
	stop()
	os.Exit(code)
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM, for its cause. The second has its usual
// effect.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(signals)
		select {
		case s := <-signals:
			cancel(interrupted{s.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// execute runs the command line and returns the exit code, having written on stderr what went wrong.
func execute(ctx context.Context, root *cobra.Command, stderr io.Writer) int {
	root.SetOut(standardOutput{root.OutOrStdout()})
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	code, message := judge(ctx, cmd, err)
	if message != "" {
		fmt.Fprintln(stderr, message)
	}
	return code
}
