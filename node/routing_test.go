package node

import (
	"reflect"
	"strings"
	"testing"

	"github.com/culvert-mq/culvert/node/config"
)

func TestTheRouterTellsWhereMessagesGo(t *testing.T) {
	c := config.Default()
	c.MQTT.Routes = []config.Route{
		{Filter: "city/{district}/{device}/temp", Topic: "telemetry", Key: "{device}", Headers: map[string]string{"unit": "Cel", "district": "{district}"}},
		{Filter: "by/{name}", Topic: "of-{name}"},
	}
	r, err := NewRouter(c)
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]Routed{
		"city/north/lamp-17/temp": {Route: 0, Topic: "telemetry", Key: "lamp-17", Headers: []RoutedHeader{{"district", "north"}, {"unit", "Cel"}}},
		"by/me":                   {Route: 1, Topic: "of-me", Key: "by/me"},
		"elsewhere":               {Route: DefaultRoute, Topic: "mqtt", Key: "elsewhere"},
	} {
		if got, err := r.Route(topic); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s goes to %+v, %v", topic, got, err)
		}
	}
	for topic, want := range map[string]string{
		"":                         "not empty",
		"a/+/b":                    "no wildcards",
		"\xff":                     "UTF-8",
		"a\x00b":                   "UTF-8",
		strings.Repeat("x", 65536): "65535 bytes",
		"by/me and you":            `' ' cannot be in a log topic's name`,
	} {
		if _, err := r.Route(topic); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", topic, err)
		}
	}
	c.MQTT.Defaults.Topic = ""
	if r, err = NewRouter(c); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Route("elsewhere"); err == nil || !strings.Contains(err.Error(), "no route matches") {
		t.Errorf("without a default: %v", err)
	}
}
