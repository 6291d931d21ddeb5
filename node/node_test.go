package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/culvert-mq/culvert/node/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a node of a test.
type running struct {
	*Node
	t    *testing.T
	stop func()
}

func testConfig(dir string) *config.Config {
	c := config.Default()
	c.Node.DataDir = dir
	c.Node.Name = "test"
	c.Log.MinFreeBytes, c.Log.ReserveBytes = 0, 0
	c.Kafka.Listen, c.MQTT.Listen, c.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.Resolve(nil)
	return c
}

func start(t *testing.T, c *config.Config) *running {
	t.Helper()
	n, err := New(Options{Config: c, Logger: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // stop ends it
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	r := &running{Node: n, t: t}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

func (r *running) publish(messages ...[2]string) {
	r.t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + r.Addr("mqtt")).SetClientID("publisher").SetAutoReconnect(false))
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		r.t.Fatal("connect:", tok.Error())
	}
	defer c.Disconnect(100)
	for _, m := range messages {
		if tok := c.Publish(m[0], 1, false, m[1]); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
			r.t.Fatal("publish:", tok.Error())
		}
	}
}

func (r *running) client(opts ...kgo.Opt) *kgo.Client {
	r.t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(r.Addr("kafka")))...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	return cl
}

// consume reads n records of a topic from the start, as "key value".
func (r *running) consume(topic string, n int) []string {
	r.t.Helper()
	cl := r.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	for len(got) < n {
		fs := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			r.t.Fatalf("%d of %d records of %s: %v", len(got), n, topic, err)
		}
		fs.EachRecord(func(rec *kgo.Record) { got = append(got, fmt.Sprintf("%s %s", rec.Key, rec.Value)) })
	}
	return got
}

func (r *running) get(path string) (int, string) {
	r.t.Helper()
	resp, err := http.Get("http://" + r.Addr("http") + path) //nolint:noctx // a test's own server
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return resp.StatusCode, string(body)
}

func TestReadingsOverMQTTAreReadByKafkaClientsAlsoAfterARestart(t *testing.T) {
	c := testConfig(t.TempDir())
	c.MQTT.Routes = []config.Route{{Filter: "city/{district}/{device}/temp", Topic: "telemetry", Key: "{device}", Headers: map[string]string{"district": "{district}"}}}
	r := start(t, c)
	r.publish([2]string{"city/north/lamp-17/temp", "21.5"}, [2]string{"city/south/lamp-9/temp", "19"}, [2]string{"elsewhere", "x"})
	want := []string{"lamp-17 21.5", "lamp-9 19"}
	if got := r.consume("telemetry", 2); !slices.Equal(got, want) {
		t.Fatalf("got %q", got)
	}
	if got := r.consume("mqtt", 1); got[0] != "elsewhere x" {
		t.Fatalf("got %q", got)
	}
	r.stop()
	r = start(t, c)
	if got := r.consume("telemetry", 2); !slices.Equal(got, want) {
		t.Fatalf("after a restart: %q", got)
	}
	r.publish([2]string{"city/north/lamp-17/temp", "22"})
	if got := r.consume("telemetry", 3); got[2] != "lamp-17 22" {
		t.Fatalf("after a restart: %q", got)
	}
	if code, _ := r.get("/readyz"); code != http.StatusOK {
		t.Fatal("not ready:", code)
	}
	if _, body := r.get("/metrics"); !strings.Contains(body, "culvert_log_commits_total") {
		t.Fatal("no metrics of the log")
	}
	s := r.Status()
	if !s.Ready || len(s.Topics) != 2 || s.Topics[1].Name != "telemetry" || s.Topics[1].Partitions[0].End != 3 || s.Log.Commits == 0 {
		t.Fatalf("status %+v", s)
	}
}

func TestLiveSubscribersAndRetainedMessagesAreServedFromTheLog(t *testing.T) {
	c := testConfig(t.TempDir())
	r := start(t, c)
	seen := make(chan string, 10)
	connect := func(id string) paho.Client {
		cl := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + r.Addr("mqtt")).SetClientID(id).SetAutoReconnect(false))
		if tok := cl.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		tok := cl.Subscribe("city/+/temp", 1, func(_ paho.Client, m paho.Message) {
			seen <- fmt.Sprintf("%s %s %v", m.Topic(), m.Payload(), m.Retained())
		})
		if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		return cl
	}
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-seen:
			if got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("waited in vain for %q", want)
		}
	}
	sub := connect("live")
	if tok := sub.Publish("city/a/temp", 1, true, "1"); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	expect("city/a/temp 1 false")
	sub.Disconnect(100)
	r.stop()
	r = start(t, c)
	defer connect("late").Disconnect(100)
	expect("city/a/temp 1 true")
}

func TestForwardingResumesWhereItStopped(t *testing.T) {
	centre := start(t, testConfig(t.TempDir()))
	c := testConfig(t.TempDir())
	c.Upstream.Brokers = []string{centre.Addr("kafka")}
	c.Upstream.Site = "cabinet-1"
	r := start(t, c)
	r.publish([2]string{"a", "1"}, [2]string{"a", "2"})
	if got := centre.consume("cabinet-1.mqtt", 2); !slices.Equal(got, []string{"a 1", "a 2"}) {
		t.Fatalf("at the centre: %q", got)
	}
	waitFor(t, "the confirmation", func() bool { s := r.Status(); return s.Upstream.Lag == 0 && s.Upstream.Confirmed == 2 })
	r.stop()
	r = start(t, c)
	r.publish([2]string{"a", "3"})
	if got := centre.consume("cabinet-1.mqtt", 3); !slices.Equal(got, []string{"a 1", "a 2", "a 3"}) {
		t.Fatalf("at the centre: %q", got)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestTopicsComeBackWhenTheMetadataIsLost(t *testing.T) {
	c := testConfig(t.TempDir())
	r := start(t, c)
	if _, err := kadm.NewClient(r.client()).CreateTopic(t.Context(), 3, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	if err := r.client().ProduceSync(t.Context(), &kgo.Record{Topic: "t", Key: []byte("k"), Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	id := r.Status().Topics[0].ID
	r.stop()
	if err := os.RemoveAll(filepath.Join(c.Node.DataDir, "meta")); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	if got := r.consume("t", 1); got[0] != "k v" {
		t.Fatalf("got %q", got)
	}
	if s := r.Status(); s.Topics[0].ID != id || len(s.Topics[0].Partitions) != 3 {
		t.Fatalf("topics %+v", s.Topics)
	}
}

func TestDeletedTopicsStayDeleted(t *testing.T) {
	c := testConfig(t.TempDir())
	r := start(t, c)
	r.publish([2]string{"a", "1"})
	if _, err := kadm.NewClient(r.client()).DeleteTopic(t.Context(), "mqtt"); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r = start(t, c)
	if s := r.Status(); len(s.Topics) != 0 {
		t.Fatalf("topics %+v", s.Topics)
	}
	r.publish([2]string{"a", "2"}) // the route's topic is created again
	if got := r.consume("mqtt", 1); got[0] != "a 2" {
		t.Fatalf("got %q", got)
	}
}

func TestSecondNodeInADirectoryAndAPortInUseAreNamed(t *testing.T) {
	c := testConfig(t.TempDir())
	r := start(t, c)
	opt := Options{Config: c, Logger: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)}
	if _, err := New(opt); !errors.Is(err, ErrLocked) {
		t.Fatalf("second node: %v", err)
	}
	other := testConfig(t.TempDir())
	other.MQTT.Listen = r.Addr("mqtt")
	opt.Config = other
	_, err := New(opt)
	if le, ok := errors.AsType[*ListenError](err); !ok || le.Protocol != "mqtt" || !strings.Contains(err.Error(), r.Addr("mqtt")+" is in use") {
		t.Fatalf("port in use: %v", err)
	}
}

func TestReloadChangesRoutesAndRetention(t *testing.T) {
	c := testConfig(t.TempDir())
	r := start(t, c)
	next := *c
	next.MQTT.Routes = []config.Route{{Filter: "a", Topic: "alarms"}}
	next.Log.Retention = config.Duration(time.Hour)
	next.HTTP.Listen = "127.0.0.1:1" // needs a restart, and must not be taken over
	if err := r.Reload(&next); err != nil {
		t.Fatal(err)
	}
	r.publish([2]string{"a", "1"})
	if got := r.consume("alarms", 1); got[0] != "a 1" {
		t.Fatalf("got %q", got)
	}
	p, err := r.replicas.Partition("alarms", 0)
	if err != nil || p.Config().RetentionMs != time.Hour.Milliseconds() {
		t.Fatalf("retention %v, %v", p.Config().RetentionMs, err)
	}
	cs, err := kadm.NewClient(r.client()).DescribeTopicConfigs(t.Context(), "alarms")
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range cs[0].Configs {
		if kv.Key == "retention.ms" && kv.MaybeValue() != "3600000" {
			t.Fatalf("described retention %s", kv.MaybeValue())
		}
	}
}
