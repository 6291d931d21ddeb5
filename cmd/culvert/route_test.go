package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestRoutesAreTriedWithoutANode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "culvert.toml")
	err := os.WriteFile(file, []byte(`[[mqtt.route]]
filter = "city/{district}/{device}/temp"
topic = "telemetry"
key = "{device}"
headers = { unit = "Cel", district = "{district}" }

[[mqtt.route]]
filter = "by/{name}"
topic = "{name}"
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := cli(t, "", "route", "test", "-c", file, "city/north/lamp-17/temp", "elsewhere")
	want := `MQTT TOPIC               ROUTE          FILTER                         TOPIC      KEY        HEADERS                  REFUSED
city/north/lamp-17/temp  mqtt.route[0]  city/{district}/{device}/temp  telemetry  lamp-17    district=north,unit=Cel  -
elsewhere                mqtt.defaults  -                              mqtt       elsewhere  -                        -
`
	if code != exitOK || stdout != want || stderr != "" {
		t.Errorf("exit code %d, %q\n%s\nwant\n%s", code, stderr, stdout, want)
	}

	code, stdout, stderr = cli(t, "", "route", "test", "-c", file, "-o", "json", "--set", "mqtt.defaults.topic=", "city/north/lamp-17/temp", "by/a b", "by/", "elsewhere", "a/#")
	var rows []routeRow
	if err := json.Unmarshal([]byte(stdout), &rows); err != nil || len(rows) != 5 {
		t.Fatal(err, stdout)
	}
	first := routeRow{MQTTTopic: "city/north/lamp-17/temp", Route: "mqtt.route[0]", Filter: "city/{district}/{device}/temp", Origin: file + ":2",
		Topic: "telemetry", Key: "lamp-17", Headers: []routeHeader{{"district", "north"}, {"unit", "Cel"}}}
	if !reflect.DeepEqual(rows[0], first) {
		t.Errorf("%+v, want %+v", rows[0], first)
	}
	for i, want := range []struct{ route, refused string }{
		{"mqtt.route[0]", ""}, {"mqtt.route[1]", "' ' cannot be in a log topic's name"}, {"mqtt.route[1]", "is empty"},
		{"", "no route matches and there is no default topic"}, {"", "no wildcards"},
	} {
		if rows[i].Route != want.route || !strings.Contains(rows[i].Refused, want.refused) || (want.refused == "") != (rows[i].Refused == "") {
			t.Errorf("%+v, want %+v", rows[i], want)
		}
	}
	if code != exitFailure || stderr != "culvert: refused: 4 of 5 topics\n" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
