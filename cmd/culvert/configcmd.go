package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node/config"
)

func newConfigCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, explain and show the configuration",
		Example: `  culvert config default > culvert.toml
  culvert config check --config culvert.toml
  culvert config show --config culvert.toml`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheckCmd(), newConfigDefaultCmd(), newConfigShowCmd())
	return cmd
}

func newConfigCheckCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration, and tell everything that is wrong with it",
		Long: `Check the configuration that culvert run would start with: the file, the environment and the flags, each value and the
values against each other. Nothing is started. The exit code is 2 when something is wrong.`,
		Example: "  culvert config check /etc/culvert/culvert.toml",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
	}
	s := addSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			if err := cmd.Flags().Set("config", args[0]); err != nil {
				return err
			}
		}
		c, err := s.load()
		if err != nil {
			return err
		}
		name := s.path()
		if name == "" {
			name = "the default configuration (no file)"
		}
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "%s is good\n", name)
		for _, l := range []struct{ what, address string }{
			{"mqtt", c.MQTT.Listen}, {"native", c.Kafka.Listen}, {"http", c.HTTP.Listen}, {"data", c.Node.DataDir},
		} {
			if l.address == "" {
				l.address = "off"
			}
			fmt.Fprintf(w, "  %-6s  %s\n", l.what, l.address)
		}
		return nil
	}
	return cmd
}

func newConfigDefaultCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "default",
		Short:   "Print every key with its default and an explanation, as a file to begin with",
		Example: "  culvert config default > culvert.toml",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return config.WriteDefault(cmd.OutOrStdout()) },
	}
}

func newConfigShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the configuration that would be used, and where each value comes from",
		Long: `Print the configuration that culvert run would start with. Values that are no defaults tell where they come from: a
line of the file, a variable, or a flag.`,
		Example: `  culvert config show --config culvert.toml
  CULVERT_LOG_RETENTION=2d culvert config show --output json | jq '.[] | select(.origin != "default")'`,
		Args: usageArgs(cobra.NoArgs),
	}
	s := addSettings(cmd)
	out := addOutput(cmd, "toml", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := s.load()
		if err != nil {
			return err
		}
		if out.kind == "json" {
			return printJSON(cmd.OutOrStdout(), c.Settings())
		}
		return c.Write(cmd.OutOrStdout())
	}
	return cmd
}
