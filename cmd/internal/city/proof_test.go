package city

import (
	"fmt"
	"testing"
	"time"
)

func TestProofNoticesEveryKindOfHarm(t *testing.T) {
	type message struct{ device, payload string }
	var sent []message
	for i := range 5 {
		for _, d := range []string{"a", "b"} {
			e := &Event{Measure: freeMeasure, Number: float64(i), Time: time.Unix(int64(i), 0)}
			sent = append(sent, message{d, string(appendPayload(nil, e, int64(i)))})
		}
	}
	for name, tc := range map[string]struct {
		change func([]message) []message
		check  func(Verdict) bool
	}{
		"nothing": {func(m []message) []message { return m }, func(v Verdict) bool { return v.Ok() && v.Received == 10 }},
		"the devices interleave another way": {func(m []message) []message { m[0], m[1] = m[1], m[0]; return m },
			func(v Verdict) bool { return v.Ok() }},
		"one is missing": {func(m []message) []message { return append(m[:3], m[4:]...) },
			func(v Verdict) bool { return v.Missing == 1 && fmt.Sprint(v.Worst) == "[b]" }},
		"one is doubled":     {func(m []message) []message { return append(m, m[9]) }, func(v Verdict) bool { return v.Duplicates == 1 }},
		"two changed places": {func(m []message) []message { m[2], m[4] = m[4], m[2]; return m }, func(v Verdict) bool { return v.OutOfOrder == 1 }},
		"one was altered": {func(m []message) []message {
			m[4].payload = `{"n":"free","v":99,"t":2` + m[4].payload[len(m[4].payload)-9:]
			return m
		}, func(v Verdict) bool { return v.Altered == 1 && v.Exact() }},
		"a stranger":              {func(m []message) []message { return append(m, message{"c", m[0].payload}) }, func(v Verdict) bool { return v.Foreign == 1 }},
		"another's payload":       {func(m []message) []message { return append(m, message{"a", "hello"}) }, func(v Verdict) bool { return v.Foreign == 1 }},
		"more than there was":     {func(m []message) []message { return append(m, message{"a", `{"n":1,"seq":5}`}) }, func(v Verdict) bool { return v.Unexpected == 1 }},
		"nothing arrived at all":  {func([]message) []message { return nil }, func(v Verdict) bool { return v.Missing == 10 }},
		"one device is not there": {func(m []message) []message { return []message{m[0], m[2], m[4], m[6], m[8]} }, func(v Verdict) bool { return v.Missing == 5 && len(v.Worst) == 1 }},
	} {
		p := NewProof()
		for i, m := range sent {
			p.Sent([]byte(m.device), int64(i/2), []byte(m.payload))
		}
		for _, m := range tc.change(append([]message{}, sent...)) {
			p.Arrived([]byte(m.device), []byte(m.payload))
		}
		v := p.Verdict()
		if !tc.check(v) || v.Ok() != (name == "nothing" || name == "the devices interleave another way") || p.Expected() != 10 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if v := NewProof().Verdict(); v.Ok() {
		t.Error("a proof of nothing holds")
	}
}
