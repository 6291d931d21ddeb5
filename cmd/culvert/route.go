package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node"
	"github.com/culvert-mq/culvert/node/config"
)

func newRouteCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "route",
		Short:   "Try the routes that lead MQTT messages into the log",
		Example: "  culvert route test city/north/lamp-17/temp",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRouteTestCmd())
	return cmd
}

// routeRow is one topic in `route test`.
type routeRow struct {
	MQTTTopic string        `json:"mqtt_topic"`
	Route     string        `json:"route"`            // mqtt.route[0], mqtt.defaults; empty when none matches
	Filter    string        `json:"filter,omitempty"` // of the route
	Origin    string        `json:"origin,omitempty"` // where the route stands
	Topic     string        `json:"topic"`
	Key       string        `json:"key"`
	Headers   []routeHeader `json:"headers"`
	Refused   string        `json:"refused,omitempty"` // why
}

type routeHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func newRouteTestCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test TOPIC...",
		Short: "Tell where messages of MQTT topics would go",
		Long: `Tell for each MQTT topic which route of the configuration matches, and the topic of the log, the key and the headers that
it leads to. Nothing is published, and no node is asked: a running node has taken the configuration over when it was
started or got SIGHUP.

Beside the headers of the route, each record has mqtt.topic and mqtt.client, and mqtt.qos and mqtt.retain when they are
set. The exit code is 1 when one of the topics is refused.`,
		Example: `  culvert route test city/north/lamp-17/temp zigbee2mqtt/plug-3/state
  culvert route test --config culvert.toml --output json city/north/lamp-17/temp | jq -r '.[].topic'`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
	}
	s := addSettings(cmd)
	out := addOutput(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, topics []string) error {
		c, err := s.load()
		if err != nil {
			return err
		}
		r, err := node.NewRouter(c)
		if err != nil {
			return err
		}
		rows, refused := routeTopics(c, r, topics)
		if err := printRoutes(cmd.OutOrStdout(), out.kind, rows); err != nil {
			return err
		}
		if refused > 0 {
			return fmt.Errorf("refused: %d of %d topics", refused, len(rows))
		}
		return nil
	}
	return cmd
}

func routeTopics(c *config.Config, r *node.Router, topics []string) (rows []routeRow, refused int) {
	for _, topic := range topics {
		row := routeRow{MQTTTopic: topic, Headers: []routeHeader{}}
		to, err := r.Route(topic)
		row.Topic, row.Key = to.Topic, to.Key
		switch {
		case to.Route != node.DefaultRoute:
			row.Route = fmt.Sprintf("mqtt.route[%d]", to.Route)
			row.Filter = c.MQTT.Routes[to.Route].Filter
			row.Origin = c.Origin(row.Route + ".filter").String()
		case err == nil:
			row.Route = "mqtt.defaults"
			row.Origin = c.Origin("mqtt.defaults.topic").String()
		}
		for _, h := range to.Headers {
			row.Headers = append(row.Headers, routeHeader(h))
		}
		if err != nil {
			row.Refused = err.Error()
			refused++
		}
		rows = append(rows, row)
	}
	return rows, refused
}

func printRoutes(w io.Writer, kind string, rows []routeRow) error {
	if kind == "json" {
		return printJSON(w, rows)
	}
	t := table{header: []string{"MQTT TOPIC", "ROUTE", "FILTER", "TOPIC", "KEY", "HEADERS", "REFUSED"}}
	for _, r := range rows {
		headers := make([]string, len(r.Headers))
		for i, h := range r.Headers {
			headers[i] = h.Name + "=" + h.Value
		}
		t.add(r.MQTTTopic, r.Route, r.Filter, r.Topic, r.Key, strings.Join(headers, ","), r.Refused)
	}
	return t.print(w)
}
