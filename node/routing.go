package node

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/culvert-mq/culvert/ingest/route"
	"github.com/culvert-mq/culvert/node/config"
)

// DefaultRoute is Routed.Route where no route matches and the default applies.
const DefaultRoute = route.Default

// Routed is where a message of an MQTT topic goes.
type Routed struct {
	Route   int    // index of the route that matches, or DefaultRoute
	Topic   string // of the log
	Key     string
	Headers []RoutedHeader // that the route adds; the server's own, mqtt.*, come before them
}

// RoutedHeader is a header that a route adds.
type RoutedHeader struct {
	Name, Value string
}

// A Router tells where the routes of a configuration lead, without a node.
type Router struct{ table *route.Table }

// NewRouter compiles the routes of a configuration.
func NewRouter(c *config.Config) (*Router, error) {
	t, err := routeTable(c)
	if err != nil {
		return nil, err
	}
	return &Router{t}, nil
}

// Route tells where a message of an MQTT topic would go. An error says why it would be refused; Route is then the index of
// the route that refuses it, DefaultRoute if none matches.
func (r *Router) Route(topic string) (Routed, error) {
	if err := checkMQTTTopic(topic); err != nil {
		return Routed{Route: DefaultRoute}, err
	}
	to, err := r.table.Resolve([]byte(topic))
	if name, ok := errors.AsType[*route.NameError](err); ok {
		return Routed{Route: name.Route, Topic: name.Name}, err
	}
	if err != nil {
		return Routed{Route: DefaultRoute}, err
	}
	out := Routed{Route: to.Route, Topic: to.Topic, Key: string(to.Key)}
	for _, h := range to.Headers {
		out.Headers = append(out.Headers, RoutedHeader{h.Key, string(h.Value)})
	}
	return out, nil
}

// maxMQTTTopic is the length of the longest topic name in bytes: it has 16 bits (MQTT 3.1.1, section 1.5.3).
const maxMQTTTopic = 1<<16 - 1

// checkMQTTTopic says why nothing can be published to a topic (MQTT 3.1.1, sections 1.5.3 and 4.7).
func checkMQTTTopic(topic string) error {
	switch {
	case topic == "":
		return errors.New("a topic name is not empty")
	case len(topic) > maxMQTTTopic:
		return fmt.Errorf("a topic name has %d bytes at most", maxMQTTTopic)
	case !utf8.ValidString(topic) || strings.Contains(topic, "\x00"):
		return errors.New("a topic name is UTF-8 without U+0000")
	case strings.ContainsAny(topic, "+#"):
		return errors.New("a topic name holds no wildcards, which are for subscribers")
	}
	return nil
}
