package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// node is a node as this package knows it.
type node struct {
	status Status
	why    []string
	sick   []string
}

func (n *node) Status() Status     { return n.status }
func (n *node) NotReady() []string { return n.why }

func (n *node) Unhealthy() []string { return n.sick }

var example = Status{
	Version: "v1", Node: NodeStatus{ID: 7, Name: "cabinet-7", DataDir: "/srv"}, StartedAt: time.Unix(1e9, 0).UTC(), Uptime: 12.5,
	Ready: true, Listeners: []Listener{{Protocol: "mqtt", Address: "127.0.0.1:41883", Connections: 3}},
	Log: LogStatus{Segments: 2, BatchBytes: 100, WrittenBytes: 150, Amplification: 1.5, Device: Device{ProcessBytes: -1, DeviceBytes: 4096, Name: "sda1"}},
	Topics: []Topic{{Name: "telemetry", ID: "x", Partitions: []Partition{
		{Index: 0, Start: 5, End: 15, Bytes: 1000, Upstream: &PartitionUpstream{State: "streaming", Position: 12, Lag: 3}},
		{Index: 1, Start: 0, End: 7, Bytes: 70},
	}}},
	Upstream: &UpstreamState{State: "streaming", Brokers: []string{"centre:9092"}, Lag: 3},
}

func newServer(n *node, pprof bool) *Server {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_test_total", Help: "A counter."})
	reg.MustRegister(c)
	c.Add(3)
	return New(Options{Logger: slog.New(slog.DiscardHandler), Metrics: reg, Status: n, Readiness: n, Health: n, Pprof: pprof})
}

func get(t *testing.T, h http.Handler, method, path string) (int, string, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
	return w.Code, w.Body.String(), w.Header()
}

func TestEveryPathAnswers(t *testing.T) {
	n := &node{status: example}
	plain, profiled := newServer(n, false).Handler(), newServer(n, true).Handler()
	for _, c := range []struct {
		h            http.Handler
		method, path string
		code         int
		holds        string
	}{
		{plain, "GET", "/healthz", 200, "ok\n"},
		{plain, "HEAD", "/healthz", 200, ""},
		{plain, "GET", "/readyz", 200, "ready\n"},
		{plain, "GET", "/metrics", 200, "culvert_test_total 3\n"},
		{plain, "GET", "/status", 200, `"name": "cabinet-7"`},
		{plain, "GET", "/", 200, "/metrics\n"},
		{plain, "GET", "/nowhere", 404, ""},
		{plain, "GET", "/status/x", 404, ""},
		{plain, "POST", "/healthz", 405, ""},
		{plain, "DELETE", "/status", 405, ""},
		{plain, "PUT", "/metrics", 405, ""},
		{plain, "GET", "/debug/pprof/", 404, ""},
		{plain, "GET", "/debug/pprof/cmdline", 404, ""},
		{profiled, "GET", "/debug/pprof/", 200, "goroutine"},
		{profiled, "GET", "/debug/pprof/heap?debug=1", 200, "heap profile"},
		{profiled, "GET", "/", 200, "/debug/pprof/\n"},
	} {
		code, body, header := get(t, c.h, c.method, c.path)
		if code != c.code || !strings.Contains(body, c.holds) {
			t.Errorf("%s %s: %d %q, want %d with %q", c.method, c.path, code, body, c.code, c.holds)
		}
		if code == 405 && header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: Allow is %q", c.method, c.path, header.Get("Allow"))
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: headers %v", c.method, c.path, header)
		}
	}
}

func TestReadinessTellsEveryReason(t *testing.T) {
	n := &node{why: []string{"log: replaying the journal", "mqtt: not listening yet"}}
	code, body, _ := get(t, newServer(n, false).Handler(), "GET", "/readyz")
	if want := "not ready\nlog: replaying the journal\nmqtt: not listening yet\n"; code != 503 || body != want {
		t.Errorf("%d %q, want 503 %q", code, body, want)
	}
}

func TestHealthTellsWhatOnlyARestartMends(t *testing.T) {
	n := &node{sick: []string{"log: the device failed"}}
	code, body, _ := get(t, newServer(n, false).Handler(), "GET", "/healthz")
	if want := "a restart is needed\nlog: the device failed\n"; code != 503 || body != want {
		t.Errorf("%d %q, want 503 %q", code, body, want)
	}
}

// serve runs a server on a free port and returns its address.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestTheStatusArrivesAsItWasSent(t *testing.T) {
	addr := serve(t, newServer(&node{status: example}, false))
	for _, address := range []string{addr, "http://" + addr, "http://" + addr + "/"} {
		got, err := FetchStatus(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*got, example) {
			t.Errorf("status = %+v, want %+v", *got, example)
		}
	}
}

func TestAStrangerIsNotTakenForANode(t *testing.T) {
	for body, code := range map[string]int{"{}": 404, "<html>": 200, `{"node": 7}`: 200} {
		stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}))
		if _, err := FetchStatus(t.Context(), stranger.URL); !errors.Is(err, ErrAnswer) {
			t.Errorf("%d %s: %v", code, body, err)
		}
		stranger.Close()
	}
}

func TestTopicTotals(t *testing.T) {
	topic := &example.Topics[0]
	lag, forwarded := topic.Lag()
	if topic.Records() != 17 || topic.Bytes() != 1070 || lag != 3 || !forwarded {
		t.Errorf("records %d, bytes %d, lag %d, forwarded %v", topic.Records(), topic.Bytes(), lag, forwarded)
	}
}

func TestTheFieldsOfTheStatusKeepTheirNames(t *testing.T) {
	text, err := json.Marshal(example)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"version", "node", "uptime_seconds", "ready", "listeners", "protocol", "address", "connections", "segments",
		"disk_bytes", "amplification", "commit_p99_seconds", "topics", "partitions", "start_offset", "end_offset", "lag_records", "upstream"} {
		if !strings.Contains(string(text), `"`+name+`":`) {
			t.Errorf("the status has no field %s", name)
		}
	}
}

func TestLargeHeadersAreRefused(t *testing.T) {
	addr := serve(t, newServer(&node{}, false))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/healthz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Large", strings.Repeat("x", 2*maxHeaderBytes))
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("answered with %s", resp.Status)
	}
}
