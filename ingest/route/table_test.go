package route

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// city is the table of the documentation.
func city(t testing.TB) *Table {
	t.Helper()
	table, err := New([]Route{
		{
			Filter: "city/{district}/{device}/{measurement}",
			Topic:  "telemetry",
			Key:    "{device}",
			Headers: []HeaderTemplate{
				{Name: "district", Value: "{district}"},
				{Name: "measurement", Value: "{measurement}"},
				{Name: "unit", Value: "u-{measurement}-{topic}"},
			},
		},
		{Filter: "zigbee2mqtt/{device}/#", Topic: "zigbee", Key: "{device}"},
		{Filter: "per/{site}/+", Topic: "site.{site}", Key: ""},
		{Filter: "+/status", Topic: "status", Key: "all"},
		{Filter: "$SYS/#", Topic: "sys"},
	}, Route{Topic: "mqtt", Key: "{topic}"})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestResolve(t *testing.T) {
	table := city(t)
	for _, c := range []struct {
		topic string
		route int
		log   string
		key   string
		heads string
	}{
		{"city/north/lamp-17/temp", 0, "telemetry", "lamp-17", "district=north measurement=temp unit=u-temp-city/north/lamp-17/temp"},
		{"city/north//temp", 0, "telemetry", "", "district=north measurement=temp unit=u-temp-city/north//temp"},
		{"city//lamp/temp", 0, "telemetry", "lamp", "measurement=temp unit=u-temp-city//lamp/temp"},
		{"city/north/lamp-17/temp/raw", Default, "mqtt", "city/north/lamp-17/temp/raw", ""},
		{"city/north/lamp-17", Default, "mqtt", "city/north/lamp-17", ""},
		{"City/north/lamp-17/temp", Default, "mqtt", "City/north/lamp-17/temp", ""},
		{"zigbee2mqtt/door", 1, "zigbee", "door", ""},
		{"zigbee2mqtt/door/", 1, "zigbee", "door", ""},
		{"zigbee2mqtt/door/set/x/y", 1, "zigbee", "door", ""},
		{"zigbee2mqtt", Default, "mqtt", "zigbee2mqtt", ""},
		{"per/a.b_c-D9/x", 2, "site.a.b_c-D9", "per/a.b_c-D9/x", ""},
		{"/status", 3, "status", "all", ""},
		{"x/status", 3, "status", "all", ""},
		{"$x/status", Default, "mqtt", "$x/status", ""},
		{"$SYS/a", 4, "sys", "$SYS/a", ""},
		{"$SYS", 4, "sys", "$SYS", ""},
		{"/", Default, "mqtt", "/", ""},
		{"ü", Default, "mqtt", "ü", ""},
	} {
		got, err := table.Resolve([]byte(c.topic))
		if err != nil {
			t.Errorf("%s: %v", c.topic, err)
			continue
		}
		var heads []string
		for _, h := range got.Headers {
			heads = append(heads, h.Key+"="+string(h.Value))
		}
		if got.Route != c.route || got.Topic != c.log || string(got.Key) != c.key || strings.Join(heads, " ") != c.heads {
			t.Errorf("%s: route %d topic %s key %s headers %s", c.topic, got.Route, got.Topic, got.Key, heads)
		}
		if got.Key == nil {
			t.Errorf("%s: the key is null", c.topic)
		}
		if !table.MayYield(got.Topic) {
			t.Errorf("%s: MayYield(%s) is false", c.topic, got.Topic)
		}
	}
}

func TestResultSharesNothingWithTheTopic(t *testing.T) {
	topic := []byte("city/north/lamp-17/temp")
	got, err := city(t).Resolve(topic)
	if err != nil {
		t.Fatal(err)
	}
	for i := range topic {
		topic[i] = 'x'
	}
	if string(got.Key) != "lamp-17" || string(got.Headers[0].Value) != "north" {
		t.Fatalf("the target changed with the buffer: %s %s", got.Key, got.Headers[0].Value)
	}
}

func TestLevelThatFitsNoLogTopicIsRefused(t *testing.T) {
	table, err := New([]Route{
		{Filter: "{site}/#", Topic: "{site}"},
	}, Route{})
	if err != nil {
		t.Fatal(err)
	}
	for _, site := range []string{"", ".", "..", "a b", "ü", "__consumer_offsets", strings.Repeat("x", 250), "a:b"} {
		_, err := table.Resolve([]byte(site + "/x"))
		var name *NameError
		if !errors.As(err, &name) || name.Route != 0 || name.Name != site || !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", site, err)
		}
	}
	if _, err := table.Resolve([]byte("$x/y")); !errors.Is(err, ErrNoRoute) {
		t.Errorf("$x/y: %v", err)
	}
}

func TestWithoutDefaultUnmatchedIsRefused(t *testing.T) {
	table, err := New([]Route{{Filter: "a", Topic: "b"}}, Route{Key: "{topic}"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Resolve([]byte("b")); !errors.Is(err, ErrNoRoute) {
		t.Fatalf("%v", err)
	}
	if table.MayYield("mqtt") {
		t.Fatal("a table without default yields mqtt")
	}
}

func TestMistakesAreNamed(t *testing.T) {
	good := Route{Filter: "ok", Topic: "ok"}
	for _, c := range []struct {
		route Route
		want  string
	}{
		{Route{Filter: "", Topic: "t"}, "mqtt route 1: filter is empty"},
		{Route{Filter: "a/#/b", Topic: "t"}, "mqtt route 1 (a/#/b): filter \"a/#/b\": # may only be the last level"},
		{Route{Filter: "a/b#", Topic: "t"}, "must fill a whole level"},
		{Route{Filter: "a/b+/c", Topic: "t"}, "must fill a whole level"},
		{Route{Filter: "a/x{b}", Topic: "t"}, "a {name} must fill a whole level"},
		{Route{Filter: "a/{b}{c}", Topic: "t"}, "a {name} must fill a whole level"},
		{Route{Filter: "a/{{b}", Topic: "t"}, "a {name} must fill a whole level"},
		{Route{Filter: "a/}b{", Topic: "t"}, "a {name} must fill a whole level"},
		{Route{Filter: "a/{}", Topic: "t"}, "{} has no name"},
		{Route{Filter: "a/{b c}", Topic: "t"}, "a name is made of"},
		{Route{Filter: "a/{topic}", Topic: "t"}, "cannot name a level"},
		{Route{Filter: "{a}/{a}", Topic: "t"}, "{a} stands twice"},
		{Route{Filter: "a\x00b", Topic: "t"}, "not a valid MQTT string"},
		{Route{Filter: "a\xff", Topic: "t"}, "not a valid MQTT string"},
		{Route{Filter: strings.Repeat("a/", 200), Topic: "t"}, "more than 128 levels"},
		{Route{Filter: "a", Topic: ""}, "topic is empty"},
		{Route{Filter: "a", Topic: "a/b"}, "'/' cannot be in a log topic's name"},
		{Route{Filter: "a", Topic: ".."}, "cannot be named . or .."},
		{Route{Filter: "a", Topic: "__mqtt_retained"}, "are internal"},
		{Route{Filter: "{a}", Topic: "__x-{a}"}, "are internal"},
		{Route{Filter: "{a}", Topic: "x {a}"}, "' ' cannot be in"},
		{Route{Filter: "{a}", Topic: "{b}"}, "topic \"{b}\": {b} is not a name of the filter"},
		{Route{Filter: "{a}", Topic: "{topic}"}, "may hold a slash"},
		{Route{Filter: "{a}", Topic: "{a"}, "{ without }"},
		{Route{Filter: "{a}", Topic: "a}"}, "} without {"},
		{Route{Filter: "{a}", Topic: "t", Key: "{device}"}, "mqtt route 1 ({a}): key \"{device}\": {device} is not a name of the filter"},
		{Route{Filter: "{a}", Topic: "t", Headers: []HeaderTemplate{{Name: "h", Value: "{b}"}}}, "headers.h \"{b}\": {b} is not a name"},
		{Route{Filter: "{a}", Topic: "t", Headers: []HeaderTemplate{{Name: "", Value: "{a}"}}}, "a header has no name"},
		{Route{Filter: "{a}", Topic: "t", Headers: []HeaderTemplate{{Name: "mqtt.topic", Value: "{a}"}}}, "are set by the server"},
		{Route{Filter: "{a}", Topic: "t", Headers: []HeaderTemplate{{Name: "h"}, {Name: "h"}}}, "stands twice"},
	} {
		_, err := New([]Route{good, c.route}, Route{Topic: "mqtt"})
		var e *Error
		if !errors.As(err, &e) || e.Route != 1 {
			t.Errorf("%+v: %v", c.route, err)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %q does not say %q", c.route, err, c.want)
		}
	}
	_, err := New(nil, Route{Topic: "{device}"})
	if err == nil || !strings.Contains(err.Error(), "mqtt default route: topic \"{device}\": {device} is not a name") {
		t.Errorf("default: %v", err)
	}
	_, err = New([]Route{{Filter: "a", Topic: "a b"}, {Filter: "b/#/c", Topic: "c"}}, Route{})
	if err == nil || strings.Count(err.Error(), "mqtt route") != 2 {
		t.Errorf("both mistakes are not named: %v", err)
	}
}

func TestMayYieldIsANameAndFollowsTheTemplates(t *testing.T) {
	table := city(t)
	for name, want := range map[string]bool{
		"telemetry": true, "zigbee": true, "mqtt": true, "site.x": true, "site.": true, "site": false, "other": false,
		"__mqtt_retained": false, "": false, "a b": false,
	} {
		if table.MayYield(name) != want {
			t.Errorf("MayYield(%q) = %v", name, !want)
		}
	}
	many, err := New([]Route{{Filter: "{a}", Topic: strings.Repeat("{a}", 200) + "b"}}, Route{})
	if err != nil {
		t.Fatal(err)
	}
	if many.MayYield(strings.Repeat("a", 249)) || !many.MayYield(strings.Repeat("a", 200)+"b") {
		t.Error("many references")
	}
}

func TestKeyLeftOutIsTheDefaults(t *testing.T) {
	table, err := New([]Route{{Filter: "a/#", Topic: "b"}, {Filter: "c", Topic: "d", Key: "{topic}"}}, Route{Topic: "mqtt", Key: "one"})
	if err != nil {
		t.Fatal(err)
	}
	for topic, key := range map[string]string{"a/x": "one", "c": "c", "z": "one"} {
		if got, err := table.Resolve([]byte(topic)); err != nil || string(got.Key) != key {
			t.Errorf("%s: %s %v", topic, got.Key, err)
		}
	}
}

func TestLevelsOfALongTopic(t *testing.T) {
	topic := []byte(strings.Repeat("x/", 300) + "end")
	var l levels
	l.split(topic)
	if l.count() != 301 || string(l.at(topic, 300)) != "end" || string(l.at(topic, 0)) != "x" {
		t.Fatalf("%d levels", l.count())
	}
}

func FuzzTable(f *testing.F) {
	f.Add("city/{a}/{b}/#", "t-{a}", "{b}{topic}", "v{a}", "city/x/y/z")
	f.Add("{a}", "{a}", "", "{topic}", "$SYS")
	f.Add("#", "t", "{", "}", "/")
	f.Add("+/{x}/+", "a.{x}", "k", "", "a//b")
	f.Fuzz(func(t *testing.T, filter, topic, key, header, mqttTopic string) {
		routes := []Route{{Filter: filter, Topic: topic, Key: key, Headers: []HeaderTemplate{{Name: "h", Value: header}}}}
		table, err := New(routes, Route{})
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("not an *Error: %v", err)
			}
			return
		}
		got, err := table.Resolve([]byte(mqttTopic))
		switch {
		case errors.Is(err, ErrNoRoute), errors.Is(err, ErrName):
			return
		case err != nil:
			t.Fatal(err)
		}
		if why := checkTopic(got.Topic); why != "" {
			t.Fatalf("topic %q %s", got.Topic, why)
		}
		if !table.MayYield(got.Topic) {
			t.Fatalf("MayYield(%q) is false", got.Topic)
		}
		again, err := table.Resolve([]byte(mqttTopic))
		if err != nil || again.Topic != got.Topic || !slices.Equal(again.Key, got.Key) {
			t.Fatal("resolving twice differs")
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	table := city(b)
	topic := []byte("city/north/lamp-17/temp")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := table.Resolve(topic); err != nil {
			b.Fatal(err)
		}
	}
}
