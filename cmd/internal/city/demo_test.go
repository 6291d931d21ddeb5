package city

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/cmd/internal/load/ledger"
)

func TestDemoHoldsOnlyWhenAllCountsAgree(t *testing.T) {
	good := func() DemoReport {
		return DemoReport{Totals: Totals{Published: 10, Acked: 10}, Stored: 10, Forwarded: 10,
			Verdict: Verdict{Devices: 2, Tally: ledger.Tally{Expected: 10, Received: 10}}}
	}
	again := good()
	again.Resent, again.Stored, again.Forwarded, again.Verdict.Received, again.Verdict.Duplicates = 3, 12, 12, 12, 2
	if whole := good(); !whole.Ok() || !again.Ok() {
		t.Errorf("%+v, %+v", whole, again)
	}
	for name, harm := range map[string]func(*DemoReport){
		"unacknowledged":           func(r *DemoReport) { r.Acked = 9 },
		"stored less":              func(r *DemoReport) { r.Stored = 9 },
		"stored more":              func(r *DemoReport) { r.Stored, r.Forwarded = 11, 11 },
		"forwarded more":           func(r *DemoReport) { r.Forwarded = 11 },
		"lost upstream":            func(r *DemoReport) { r.LostUpstream = 1 },
		"missing":                  func(r *DemoReport) { r.Verdict.Missing = 1 },
		"out of order":             func(r *DemoReport) { r.Verdict.OutOfOrder = 1 },
		"doubled without a reason": func(r *DemoReport) { r.Verdict.Duplicates, r.Stored, r.Forwarded = 1, 11, 11 },
		"altered":                  func(r *DemoReport) { r.Verdict.Altered = 1 },
		"foreign":                  func(r *DemoReport) { r.Verdict.Foreign = 1 },
		"nothing at all":           func(r *DemoReport) { *r = DemoReport{} },
	} {
		r := good()
		if harm(&r); r.Ok() {
			t.Errorf("%s: the demonstration holds", name)
		}
	}
}

func TestDemoNoticesARecordUnderTheWrongKey(t *testing.T) {
	d := &demo{proof: NewProof()}
	payload := []byte(`{"n":"x","v":1,"t":1,"seq":0}`)
	d.proof.Sent([]byte("a"), 0, payload)
	d.arrived(&kgo.Record{Key: []byte("a"), Value: payload, Headers: []kgo.RecordHeader{{Key: "mqtt.topic", Value: []byte("city/b/x")}}})
	if v := d.proof.Verdict(); v.Foreign != 1 || v.Missing != 1 {
		t.Errorf("%+v", v)
	}
	d.arrived(&kgo.Record{Key: []byte("a"), Value: payload, Headers: []kgo.RecordHeader{{Key: "mqtt.topic", Value: []byte("x/a/x")}}})
	if v := d.proof.Verdict(); v.Received != 1 {
		t.Errorf("%+v", v)
	}
}

func TestDemoRouteKeysByTheSensor(t *testing.T) {
	if f := routeFilter("city/traffic/{id}/{measure}"); f != "city/traffic/{sensor}/{measure}" {
		t.Error(f)
	}
}
