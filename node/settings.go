package node

import (
	"maps"
	"slices"

	"github.com/culvert-mq/culvert/ingest/mqtt"
	"github.com/culvert-mq/culvert/ingest/route"
	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/sync/upstream"
)

// mqttConfig is the MQTT server's part of a configuration.
func mqttConfig(c *config.Config) mqtt.Config {
	m := mqtt.DefaultConfig()
	m.MaxPacketBytes = int(c.MQTT.MaxPacketBytes)
	m.MaxConnections = int(c.MQTT.MaxConnections)
	m.ConnectTimeout = c.MQTT.ConnectTimeout.Std()
	m.MaxKeepAlive = c.MQTT.MaxKeepalive.Std()
	m.WriteTimeout = c.MQTT.WriteTimeout.Std()
	m.MaxOutboundInflight = int(c.MQTT.MaxOutboundInflight)
	m.MaxOutboundBytes = int(c.MQTT.MaxOutboundBytes)
	m.MaxTotalOutboundBytes = int64(c.MQTT.MaxTotalOutboundBytes)
	m.MaxSubscriptions = int(c.MQTT.MaxSubscriptions)
	m.MaxHeldBytes = int64(c.MQTT.MaxHeldBytes)
	m.MaxInflight = int(c.MQTT.MaxInflight)
	m.MaxInflightBytes = int(c.MQTT.MaxInflightBytes)
	m.MaxTotalInflightBytes = int64(c.MQTT.MaxTotalInflightBytes)
	m.MaxRetained = int(c.MQTT.MaxRetained)
	m.MaxRetainedBytes = int64(c.MQTT.MaxRetainedBytes)
	return m
}

// headerTemplates puts a route's headers into an order: that of their names.
func headerTemplates(headers map[string]string) []route.HeaderTemplate {
	all := make([]route.HeaderTemplate, 0, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		all = append(all, route.HeaderTemplate{Name: name, Value: headers[name]})
	}
	return all
}

// upstreamConfig is the forwarder's part of a configuration.
func upstreamConfig(c *config.Config) upstream.Config {
	u := upstream.Default()
	u.Brokers = c.Upstream.Brokers
	u.ClientID = "culvert-" + c.Node.Name
	u.Site = c.Upstream.Site
	u.Topic = c.Upstream.Topic
	u.Topics = c.Upstream.Topics
	u.Exclude = c.Upstream.Exclude
	u.Compression = c.Upstream.Compression
	u.Linger = c.Upstream.Linger.Std()
	u.MaxBatchBytes = int32(c.Upstream.MaxBatchBytes)
	u.MaxInflightBytes = int64(c.Upstream.MaxInflightBytes)
	u.MaxBackoff = c.Upstream.MaxBackoff.Std()
	u.DrainTimeout = min(u.DrainTimeout, c.Node.StopTimeout.Std()/10) // what is not confirmed then is sent again
	u.Refused = c.Upstream.Refused
	u.Create = upstream.Create{
		Enabled:     c.Upstream.Create.Enabled,
		Partitions:  c.Upstream.Create.Partitions,
		Replication: int16(c.Upstream.Create.Replication),
	}
	u.TLS = upstream.TLS(c.Upstream.TLS)
	u.SASL = upstream.SASL(c.Upstream.SASL)
	return u
}
