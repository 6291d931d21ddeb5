package config

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// TestWhatIsTaggedReloadableIsReloaded changes every key and sees that exactly the tagged ones are taken over.
func TestWhatIsTaggedReloadableIsReloaded(t *testing.T) {
	running, next := Default(), Default()
	next.walk(func(key string, f field, v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Slice:
			v.Set(reflect.MakeSlice(f.typ, v.Len()+1, v.Len()+1))
		default:
			v.SetInt(v.Int() + 60e9)
			if f.typ.Kind() == reflect.Int32 {
				v.SetInt(99)
			}
		}
	})
	var tagged []string
	for _, c := range running.Changes(next) {
		if c.Reload {
			tagged = append(tagged, c.Key)
		}
	}
	if all := len(running.Changes(next)); all != len(keys())-4+1 { // the four keys of a route are one change
		t.Errorf("%d changes for %d keys", all, len(keys()))
	}
	merged := running.WithReloadable(next)
	var taken []string
	for _, c := range running.Changes(merged) {
		taken = append(taken, c.Key)
	}
	if !slices.Equal(tagged, taken) {
		t.Errorf("tagged as reloadable: %v\ntaken over: %v", tagged, taken)
	}
	if !reflect.DeepEqual(merged.Reloadable(), next.Reloadable()) {
		t.Error("the merged configuration does not have the reloadable part of the next")
	}
	for _, c := range merged.Changes(next) {
		if c.Reload {
			t.Errorf("%s is reloadable and was not taken over", c.Key)
		}
	}
}

func TestChangesAreNamedWithBothValues(t *testing.T) {
	next := Default()
	next.Log.Retention = Duration(48 * time.Hour)
	next.MQTT.Listen = "127.0.0.1:1884"
	next.MQTT.Routes = []Route{{Filter: "a", Topic: "b"}}
	next.Upstream.Brokers = []string{}
	want := []Change{
		{Key: "log.retention", Old: `"7d"`, New: `"2d"`, Reload: true},
		{Key: "mqtt.listen", Old: `"127.0.0.1:1883"`, New: `"127.0.0.1:1884"`},
		{Key: "mqtt.route", Old: `[]`, New: `[{ filter = "a", topic = "b" }]`, Reload: true},
	}
	if got := Default().Changes(next); !slices.Equal(got, want) {
		t.Errorf("changes:\n got %+v\nwant %+v", got, want)
	}
}
