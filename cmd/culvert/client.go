package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/node/config"
)

// clientOptions are the flags that every command has that talks to a node over the native protocol.
type clientOptions struct {
	brokers []string
	timeout time.Duration
}

const defaultBroker = "127.0.0.1:9092"

// addClientFlags gives cmd, and the commands below it, the flags of a client.
func addClientFlags(cmd *cobra.Command) *clientOptions {
	o := &clientOptions{}
	brokers := []string{defaultBroker}
	if text := os.Getenv(config.VariableBroker); text != "" {
		brokers = strings.Split(text, ",")
	}
	cmd.PersistentFlags().StringSliceVarP(&o.brokers, "broker", "b", brokers,
		"native address of the node, host:port (variable "+config.VariableBroker+")")
	cmd.PersistentFlags().DurationVar(&o.timeout, "timeout", 10*time.Second, "longest wait for the node")
	return o
}

// connect returns a client of a node that has answered. The caller closes it.
func (o *clientOptions) connect(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	if o.timeout <= 0 {
		return nil, usage("--timeout must be longer than 0")
	}
	for _, b := range o.brokers {
		if _, port, err := net.SplitHostPort(b); err != nil || port == "" {
			return nil, usage("--broker %q is no address; write it like %s", b, defaultBroker)
		}
	}
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(o.brokers...),
		kgo.ClientID("culvert-cli"),
		kgo.SoftwareNameAndVersion("culvert", version),
		kgo.DialTimeout(o.timeout),
		kgo.RetryTimeout(o.timeout),
		kgo.MetadataMinAge(250 * time.Millisecond),
	}, opts...)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, usage("%w", err)
	}
	if err := o.ping(ctx, cl); err != nil {
		cl.Close()
		return nil, err
	}
	return cl, nil
}

// ping tells whether any of the nodes answers.
func (o *clientOptions) ping(ctx context.Context, cl *kgo.Client) error {
	wait, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	err := cl.Ping(wait)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	reason := err.Error()
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		reason = "no answer within " + o.timeout.String()
	case errors.As(err, &op):
		reason = op.Err.Error()
	}
	return &exitError{
		code: exitUnreachable,
		err:  fmt.Errorf("cannot reach a node at %s: %s", strings.Join(o.brokers, ", "), reason),
		hint: "start one with `culvert run`, or name its address with --broker",
	}
}

// admin connects a client for requests about topics.
func (o *clientOptions) admin(ctx context.Context) (*kadm.Client, error) {
	cl, err := o.connect(ctx)
	if err != nil {
		return nil, err
	}
	a := kadm.NewClient(cl)
	a.SetTimeoutMillis(int32(min(o.timeout.Milliseconds(), 1<<30)))
	return a, nil
}

// bounded returns a context for one request.
func (o *clientOptions) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 2*o.timeout)
}

// completeTopics completes names of topics by asking the node, if it answers soon.
func (o *clientOptions) completeTopics(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	quick := &clientOptions{brokers: o.brokers, timeout: time.Second}
	a, err := quick.admin(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer a.Close()
	ctx, cancel := quick.bounded(cmd.Context())
	defer cancel()
	topics, err := a.ListTopics(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return topics.Names(), cobra.ShellCompDirectiveNoFileComp
}
