//go:build interop

package interop

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// mosquitto is a run of mosquitto_pub or mosquitto_sub against the shared node.
func mosquitto(t *testing.T, program string, args ...string) tool {
	t.Helper()
	onlyCulvert(t)
	host, port, err := net.SplitHostPort(sharedNode(t).MQTT)
	if err != nil {
		t.Fatal(err)
	}
	return tool{path: need(t, program), args: append([]string{"-h", host, "-p", port}, args...)}
}

func pub(t *testing.T, args ...string) { t.Helper(); mosquitto(t, "mosquitto_pub", args...).run(t) }

// sub starts a subscriber that prints retain flag, QoS, topic and payload, and waits until it is subscribed.
func sub(t *testing.T, args ...string) *process {
	t.Helper()
	c := mosquitto(t, "mosquitto_sub", append([]string{"-d", "-F", "> %r %q %t %p"}, args...)...)
	c.path, c.args = need(t, "stdbuf"), append([]string{"-oL", c.path}, c.args...) // which becomes it
	p := c.begin(t)
	wait(t, 20*time.Second, func() error {
		if !strings.Contains(p.out.String(), "received SUBACK") {
			return fmt.Errorf("not subscribed: %s", p.out)
		}
		return nil
	})
	return p
}

// messages waits for n messages of a subscriber and returns what sub prints of them.
func messages(t *testing.T, p *process, n int) []string {
	t.Helper()
	var got []string
	wait(t, 20*time.Second, func() error {
		got = nil
		for line := range strings.Lines(p.out.String()) {
			if m, ok := strings.CutPrefix(line, "> "); ok {
				got = append(got, strings.TrimSuffix(m, "\n"))
			}
		}
		if len(got) < n {
			return fmt.Errorf("%d messages of %d: %s", len(got), n, p.out)
		}
		return nil
	})
	return got
}

func expect(t *testing.T, p *process, want ...string) {
	t.Helper()
	if got := messages(t, p, len(want)); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The example of the README.
func TestWhatMosquittoPublishesKcatReads(t *testing.T) {
	at := "interop/" + topic(t) + "/lamp-17/temp"
	pub(t, "-t", at, "-q", "1", "-m", "21.5")
	pub(t, "-t", at, "-q", "0", "-m", "21.6")
	pub(t, "-t", at, "-q", "1", "-n")
	want := at + " 21.5\n" + at + " 21.6\n" + at + " \n"
	wait(t, 20*time.Second, func() error { // QoS 0 has no acknowledgement to wait for
		var got strings.Builder
		for line := range strings.Lines(kcat(t, "-C", "-t", "mqtt", "-o", "beginning", "-e", "-q", "-f", `%k %s\n`).run(t)) {
			if strings.HasPrefix(line, at) {
				got.WriteString(line)
			}
		}
		if got.String() != want {
			return fmt.Errorf("got %q", got.String())
		}
		return nil
	})
}

func TestMosquittoSubscribersGetWhatIsPublished(t *testing.T) {
	at := "interop/" + topic(t)
	exact, plus, hash, atMostOnce := sub(t, "-t", at+"/a/temp", "-q", "1"), sub(t, "-t", at+"/+/temp", "-q", "1"), sub(t, "-t", at+"/#", "-q", "1"),
		sub(t, "-t", at+"/a/temp", "-q", "0")
	pub(t, "-t", at+"/a/temp", "-q", "1", "-m", "1")
	pub(t, "-t", at+"/b/temp", "-q", "1", "-m", "2")
	pub(t, "-t", at+"/a/hum", "-q", "0", "-m", "3")
	pub(t, "-t", at+"/a/temp", "-q", "0", "-m", "4")
	expect(t, exact, "0 1 "+at+"/a/temp 1", "0 0 "+at+"/a/temp 4")
	expect(t, plus, "0 1 "+at+"/a/temp 1", "0 1 "+at+"/b/temp 2", "0 0 "+at+"/a/temp 4")
	expect(t, hash, "0 1 "+at+"/a/temp 1", "0 1 "+at+"/b/temp 2", "0 0 "+at+"/a/hum 3", "0 0 "+at+"/a/temp 4")
	expect(t, atMostOnce, "0 0 "+at+"/a/temp 1", "0 0 "+at+"/a/temp 4")
}

func TestMosquittoRetainedMessages(t *testing.T) {
	at := "interop/" + topic(t)
	live := sub(t, "-t", at+"/#", "-q", "1")
	pub(t, "-t", at+"/x", "-q", "1", "-r", "-m", "old")
	pub(t, "-t", at+"/x", "-q", "1", "-r", "-m", "new")
	pub(t, "-t", at+"/y", "-q", "1", "-r", "-m", "gone")
	pub(t, "-t", at+"/y", "-q", "1", "-r", "-n")
	pub(t, "-t", at+"/z", "-q", "1", "-m", "not retained")
	expect(t, live, "0 1 "+at+"/x old", "0 1 "+at+"/x new", "0 1 "+at+"/y gone", "0 1 "+at+"/y ", "0 1 "+at+"/z not retained")
	late := sub(t, "-t", at+"/#", "-q", "1")
	pub(t, "-t", at+"/end", "-q", "1", "-m", ".")
	expect(t, late, "1 1 "+at+"/x new", "0 1 "+at+"/end .")
}

func TestMosquittoWillIsPublishedWhenTheClientDies(t *testing.T) {
	at := "interop/" + topic(t)
	watcher := sub(t, "-t", at+"/status/#", "-q", "1")
	will := func(name string) *process {
		return sub(t, "-t", at+"/nothing", "-i", topic(t), "--will-topic", at+"/status/"+name, "--will-payload", "lost", "--will-qos", "1", "--will-retain")
	}
	polite := will("polite")
	if err := polite.stop(10 * time.Second); err != nil { // ends with a DISCONNECT
		t.Fatal(err)
	}
	will("dead").kill()
	expect(t, watcher, "0 1 "+at+"/status/dead lost")
	expect(t, sub(t, "-t", at+"/status/#", "-q", "1"), "1 1 "+at+"/status/dead lost")
}

func TestMosquittoPublishesManyLinesInOrder(t *testing.T) {
	at := "interop/" + topic(t)
	reader := sub(t, "-t", at, "-q", "1")
	p := mosquitto(t, "mosquitto_pub", "-t", at, "-q", "1", "-l")
	p.stdin = lines(3000, "%d")
	p.run(t)
	for i, got := range messages(t, reader, 3000) {
		if want := fmt.Sprintf("0 1 %s %d", at, i); got != want {
			t.Fatalf("message %d: %q, want %q", i, got, want)
		}
	}
	n := 0
	for line := range strings.Lines(kcat(t, "-C", "-t", "mqtt", "-o", "beginning", "-e", "-q", "-K", " ").run(t)) {
		if line == fmt.Sprintf("%s %d\n", at, n) {
			n++
		}
	}
	if n != 3000 {
		t.Errorf("%d of 3000 in the log, in order", n)
	}
}
