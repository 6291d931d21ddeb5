package kafka

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sessionRequest asks within a session; parts are partition and offset.
func sessionRequest(id, epoch int32, parts ...[2]int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.SessionID, req.SessionEpoch = 1<<20, id, epoch
	t := kmsg.NewFetchRequestTopic()
	t.Topic = "t"
	for _, p := range parts {
		rp := fetchRequest("t", int32(p[0]), p[1]).Topics[0].Partitions[0]
		t.Partitions = append(t.Partitions, rp)
	}
	if len(parts) > 0 {
		req.Topics = append(req.Topics, t)
	}
	return req
}

// toldParts renders an answer: partition:number of records:error.
func toldParts(t *testing.T, resp *kmsg.FetchResponse) string {
	out := ""
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			out += fmt.Sprintf("%d:%d:%d ", p.Partition, len(offsetsOf(t, p.RecordBatches)), p.ErrorCode)
		}
	}
	return out
}

func TestFetchSessionTellsWhatChanged(t *testing.T) {
	r := newRig(t)
	r.topic("t", 4)
	w := r.wire()
	for version := int16(7); version <= 12; version++ {
		check := func(what string, resp *kmsg.FetchResponse, want string) {
			t.Helper()
			if got := toldParts(t, resp); got != want || resp.ErrorCode != 0 {
				t.Errorf("version %d, %s: %q error %d, want %q", version, what, got, resp.ErrorCode, want)
			}
		}
		fetch := func(req *kmsg.FetchRequest) *kmsg.FetchResponse { return ask[*kmsg.FetchResponse](w, req, version) }
		base := int64(version-7) * 2
		first := fetch(sessionRequest(0, 0, [2]int64{0, base}, [2]int64{1, base}, [2]int64{2, 0}))
		check("full", first, "0:0:0 1:0:0 2:0:0 ")
		id := first.SessionID
		if id == 0 {
			t.Fatal("no session")
		}
		check("nothing new", fetch(sessionRequest(id, 1)), "")
		r.fill(1, batchOf("a"))
		check("one has records", fetch(sessionRequest(id, 2)), "1:1:0 ")
		check("not consumed, told again", fetch(sessionRequest(id, 3)), "1:1:0 ")
		check("consumed", fetch(sessionRequest(id, 4, [2]int64{1, base + 1})), "")
		r.fill(0, batchOf("a"))
		r.fill(1, batchOf("b"))
		check("those served last go behind", fetch(sessionRequest(id, 5)), "0:1:0 1:1:0 ")
		check("another is added", fetch(sessionRequest(id, 6, [2]int64{0, base + 1}, [2]int64{1, base + 2}, [2]int64{3, 0})), "3:0:0 ")
		check("an error is told", fetch(sessionRequest(id, 7, [2]int64{3, 99})), "3:0:1 ")
		check("every time", fetch(sessionRequest(id, 8)), "3:0:1 ")
		check("and its end", fetch(sessionRequest(id, 9, [2]int64{3, 0})), "3:0:0 ")
		forget := sessionRequest(id, 10)
		forget.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: []int32{0, 3}}}
		check("some are forgotten", fetch(forget), "")
		r.fill(0, batchOf("b"))
		check("and stay so", fetch(sessionRequest(id, 11)), "")
		if resp := fetch(sessionRequest(id, 11)); resp.ErrorCode != int16(codeInvalidFetchSessionEpoch) {
			t.Errorf("an epoch twice: %v", errorCode(resp.ErrorCode))
		}
		if resp := fetch(sessionRequest(id+1, 1)); resp.ErrorCode != int16(codeFetchSessionIDNotFound) {
			t.Errorf("unknown session: %v", errorCode(resp.ErrorCode))
		}
		if last := fetch(sessionRequest(id, -1, [2]int64{1, base + 2})); last.SessionID != 0 || toldParts(t, last) != "1:0:0 " {
			t.Errorf("end: %+v", last)
		}
		if resp := fetch(sessionRequest(id, 12)); resp.ErrorCode != int16(codeFetchSessionIDNotFound) {
			t.Errorf("after the end: %v", errorCode(resp.ErrorCode))
		}
	}
}

func TestFetchSessionThatForgetsEverythingEnds(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	w := r.wire()
	id := ask[*kmsg.FetchResponse](w, sessionRequest(0, 0, [2]int64{0, 0}), 12).SessionID
	forget := sessionRequest(id, 1)
	forget.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: []int32{0}}}
	if resp := ask[*kmsg.FetchResponse](w, forget, 12); resp.ErrorCode != 0 || resp.SessionID != 0 {
		t.Errorf("%+v", resp)
	}
	if n := testutil.ToFloat64(r.srv.metrics.fetchSessions); n != 0 {
		t.Errorf("%v sessions", n)
	}
}

func TestFetchSessionDoesNotMixNamesAndIDs(t *testing.T) {
	r := newRig(t)
	topic := r.topic("t", 1)
	w := r.wire()
	id := ask[*kmsg.FetchResponse](w, sessionRequest(0, 0, [2]int64{0, 0}), 12).SessionID
	if resp := ask[*kmsg.FetchResponse](w, sessionRequest(id, 1), 13); resp.ErrorCode != int16(codeFetchSessionTopicIDError) {
		t.Errorf("%v", errorCode(resp.ErrorCode))
	}
	req := sessionRequest(0, 0, [2]int64{0, 0})
	req.Topics[0].TopicID = topic.ID
	id = ask[*kmsg.FetchResponse](w, req, 13).SessionID
	r.fill(0, batchOf("a"))
	if resp := ask[*kmsg.FetchResponse](w, sessionRequest(id, 1), 13); toldParts(t, resp) != "0:1:0 " || resp.Topics[0].TopicID != topic.ID {
		t.Errorf("%+v", resp)
	}
}

func newTestSessions(limit int) *sessions {
	return newSessions(limit, prometheus.NewGauge(prometheus.GaugeOpts{Name: "n"}))
}

func partsOf(n int) []fetchPart {
	parts := make([]fetchPart, n)
	for i := range parts {
		parts[i].fetchKey = fetchKey{topic: "t", index: int32(i)}
	}
	return parts
}

func TestFetchSessionsAreBounded(t *testing.T) {
	r := newRig(t)
	live, gone := newConn(r.srv, pipeTo(t)), newConn(r.srv, pipeTo(t))
	gone.abort()
	defer live.abort()
	ss := newTestSessions(3)
	if id := ss.create(live, false, partsOf(maxSessionPartitions+1)); id != 0 {
		t.Error("a session of too many partitions")
	}
	if id := ss.create(live, false, nil); id != 0 {
		t.Error("a session of nothing")
	}
	a, b := ss.create(live, false, partsOf(2)), ss.create(gone, false, partsOf(2))
	c := ss.create(live, false, partsOf(2))
	d := ss.create(live, false, partsOf(2))
	if a == 0 || b == 0 || c == 0 || d == 0 || ss.byID[b] != nil || len(ss.byID) != 3 {
		t.Errorf("the one whose connection is gone does not give way: %v", ss.byID)
	}
	if id := ss.create(live, false, partsOf(2)); id != 0 {
		t.Error("one that is in use gives way")
	}
	ss.byID[a].used = time.Now().Add(-sessionIdle - time.Second)
	if id := ss.create(live, false, partsOf(2)); id == 0 || ss.byID[a] != nil {
		t.Error("one that was idle does not give way")
	}
	if ss.partitions != 6 {
		t.Errorf("%d partitions counted", ss.partitions)
	}
	if _, _, code := ss.begin(nil, d, 1, false, asksOf(maxSessionPartitions), nil); code != codeFetchSessionIDNotFound || ss.byID[d] != nil {
		t.Errorf("a session grows beyond the bound: %v", code)
	}
	if ss.partitions != 4 {
		t.Errorf("%d partitions counted", ss.partitions)
	}
}

func asksOf(n int) []fetchAsk {
	asks := make([]fetchAsk, n)
	for i := range asks {
		asks[i].fetchKey = fetchKey{topic: "u", index: int32(i)}
	}
	return asks
}

func TestFetchSessionEpochWraps(t *testing.T) {
	r := newRig(t)
	c := newConn(r.srv, pipeTo(t))
	defer c.abort()
	ss := newTestSessions(1)
	id := ss.create(c, false, partsOf(1))
	ss.byID[id].epoch = math.MaxInt32
	if _, _, code := ss.begin(nil, id, math.MaxInt32, false, nil, nil); code != codeNone {
		t.Error(code)
	}
	if _, _, code := ss.begin(nil, id, 1, false, nil, nil); code != codeNone {
		t.Error(code)
	}
}
