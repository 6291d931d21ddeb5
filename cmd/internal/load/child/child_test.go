package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"go.uber.org/goleak"

	"github.com/culvert-mq/culvert/node/admin"
)

// The test binary plays the children: a node, one that fails, one that does not stop.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "run":
			playNode(os.Args[3])
		case "fail":
			fmt.Fprintln(os.Stderr, "the disk is on fire")
			os.Exit(7)
		}
	}
	goleak.VerifyTestMain(m)
}

func playNode(file string) {
	var c struct {
		Node struct{ Name string }
		HTTP struct{ Listen string }
	}
	if _, err := toml.DecodeFile(file, &c); err != nil {
		panic(err)
	}
	began := time.Now()
	err := http.ListenAndServe(c.HTTP.Listen, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s := admin.Status{Ready: time.Since(began) > 50*time.Millisecond, NotReady: []string{"waking up"},
			Listeners: []admin.Listener{{Protocol: "mqtt", Address: "127.0.0.1:11"}, {Protocol: "kafka", Address: "127.0.0.1:22"}}}
		s.Node.Name = c.Node.Name
		_ = json.NewEncoder(w).Encode(s)
	}))
	panic(err)
}

func TestStartNodeWaitsUntilTheNodeIsReadyAndKnowsItsAddresses(t *testing.T) {
	t.Setenv("CULVERT_HTTP_LISTEN", "nonsense")
	n, err := StartNode(t.Context(), NodeOptions{Binary: os.Args[0], Dir: filepath.Join(t.TempDir(), "new"), Name: "edge",
		Settings: map[string]string{"commit": `linger = "50ms"`, "": "[[mqtt.route]]\nfilter = \"a/#\"\ntopic = \"a\"\n"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.Status(t.Context())
	if err != nil || s.Node.Name != "edge" || n.MQTT != "127.0.0.1:11" || n.Kafka != "127.0.0.1:22" {
		t.Errorf("%+v %+v %v", n, s, err)
	}
	if err := n.Stop(5 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestStartNodeTellsWhyTheNodeEnded(t *testing.T) {
	p, err := Start("it", os.Args[0], "fail")
	if err != nil {
		t.Fatal(err)
	}
	never := func(context.Context) error { return errNotReady }
	if err := p.WaitFor(t.Context(), never); !errors.Is(err, ErrExited) || !strings.Contains(err.Error(), "on fire") || !strings.Contains(err.Error(), "7") {
		t.Error(err)
	}
	if _, err := Start("it", filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestStopKillsWhatDoesNotStop(t *testing.T) {
	p, err := Start("it", "sh", "-c", "trap '' TERM; echo armed; while :; do sleep 1; done")
	if err != nil {
		t.Skip("no shell:", err)
	}
	armed := func(context.Context) error {
		if p.out.String() == "" {
			return errNotReady
		}
		return nil
	}
	if err := p.WaitFor(t.Context(), armed); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(50 * time.Millisecond); err == nil {
		t.Error("it stopped")
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(p.PID())); err == nil {
		t.Error("it lives")
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var out tail
	for range 10_000 {
		fmt.Fprintln(&out, "line")
	}
	fmt.Fprint(&out, "last\xff")
	if s := out.String(); len(s) > tailSize || !strings.HasSuffix(s, "line\nlast?") {
		t.Errorf("%d bytes, %q", len(s), s[len(s)-20:])
	}
}
