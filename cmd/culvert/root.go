package main

import (
	"github.com/spf13/cobra"
)

// Groups of commands, in the order of the help.
const (
	groupNode   = "node"
	groupClient = "client"
	groupTool   = "tool"
)

// newRoot makes the command line. Every command stands in the list, with the group it is shown in.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "culvert",
		Short: "Carry streams under the city",
		Long: `culvert is a small broker for gateways. Sensors publish to it over MQTT, every message lands in a durable,
partitioned log, Kafka clients read the log, and what is chosen is forwarded to a Kafka cluster at the centre.

Start a node (no configuration needed), publish a reading, read it back, look at the node:

  culvert run
  mosquitto_pub -t city/north/lamp-17/temp -q 1 -m 21.5
  culvert consume mqtt --format '%k %s\n'
  culvert status`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddGroup(
		&cobra.Group{ID: groupNode, Title: "The node:"},
		&cobra.Group{ID: groupClient, Title: "Clients of a running node:"},
		&cobra.Group{ID: groupTool, Title: "Tools:"},
	)
	for group, commands := range map[string][]*cobra.Command{
		groupNode:   {newRunCmd(newNode), newConfigCmd(), newRouteCmd()},
		groupClient: {newTopicCmd(), newProduceCmd(), newConsumeCmd(), newStatusCmd()},
		groupTool:   {newDoctorCmd(), newLogCmd(), newReplayCmd(), newSimulateCmd(), newBenchCmd(), newDemoCmd(), newVersionCmd()},
	} {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	root.SetHelpCommandGroupID(groupTool)
	root.SetCompletionCommandGroupID(groupTool)
	root.AddCommand(exitCodesTopic())
	return root
}
