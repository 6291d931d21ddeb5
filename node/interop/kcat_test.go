//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// kcat is a run of kcat against the broker under test.
func kcat(t *testing.T, args ...string) tool {
	t.Helper()
	return tool{path: need(t, "kcat"), args: append([]string{"-b", native(t)}, args...)}
}

// createTopic creates a topic with kgo and waits until the broker knows it.
func createTopic(t *testing.T, name string, partitions int32) {
	t.Helper()
	adm := adminOf(t, native(t))
	if _, err := adm.CreateTopic(t.Context(), partitions, 1, nil, name); err != nil {
		t.Fatal(err)
	}
	wait(t, 20*time.Second, func() error {
		topics, err := adm.ListTopics(t.Context(), name)
		if err != nil {
			return err
		}
		if td := topics[name]; td.Err != nil || len(td.Partitions) != int(partitions) {
			return fmt.Errorf("%s has %d partitions, %w", name, len(td.Partitions), td.Err)
		}
		return nil
	})
}

func lines(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i)
	}
	return b.String()
}

func TestKcatListsMetadata(t *testing.T) {
	name := topic(t)
	createTopic(t, name, 3)
	var got struct {
		Brokers []struct {
			ID   int    `json:"id"`
			Name string `json:"name"`
		} `json:"brokers"`
		Topics []struct {
			Topic      string `json:"topic"`
			Partitions []struct {
				Partition int `json:"partition"`
				Leader    int `json:"leader"`
				Replicas  []struct {
					ID int `json:"id"`
				} `json:"replicas"`
				ISRs []struct {
					ID int `json:"id"`
				} `json:"isrs"`
			} `json:"partitions"`
		} `json:"topics"`
	}
	if err := json.Unmarshal([]byte(kcat(t, "-L", "-J").run(t)), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Brokers) != 1 || got.Brokers[0].Name != native(t) {
		t.Fatalf("brokers %+v", got.Brokers)
	}
	id := got.Brokers[0].ID
	for _, tp := range got.Topics {
		if tp.Topic != name {
			continue
		}
		if len(tp.Partitions) != 3 {
			t.Errorf("%d partitions", len(tp.Partitions))
		}
		for _, p := range tp.Partitions {
			if p.Leader != id || len(p.Replicas) != 1 || p.Replicas[0].ID != id || len(p.ISRs) != 1 {
				t.Errorf("%+v", p)
			}
		}
		return
	}
	t.Errorf("%s is not listed", name)
}

func TestKcatKeepsKeysHeadersAndNulls(t *testing.T) {
	name := topic(t)
	createTopic(t, name, 1)
	p := kcat(t, "-P", "-t", name, "-k", "lamp-17", "-H", "unit=Cel", "-H", "empty=", "-H", "null")
	p.stdin = "21.5\n"
	p.run(t)
	p = kcat(t, "-P", "-t", name, "-K", ":", "-Z")
	p.stdin = "a:1\n:no key\nb:\n"
	p.run(t)
	out := kcat(t, "-C", "-t", name, "-o", "beginning", "-e", "-q", "-f", `%o %p <%k> <%s> %K %S <%h>\n`).run(t)
	want := "0 0 <lamp-17> <21.5> 7 4 <unit=Cel,empty=,null=NULL>\n1 0 <a> <1> 1 1 <>\n2 0 <> <no key> -1 6 <>\n3 0 <b> <> 1 -1 <>\n"
	if out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}

func TestKcatReadsEveryCompression(t *testing.T) {
	values := lines(1000, "a reading that is worth compressing, number %d")
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"all", "1"} {
			t.Run(codec+" acks "+acks, func(t *testing.T) {
				name := topic(t)
				createTopic(t, name, 1)
				p := kcat(t, "-P", "-t", name, "-z", codec, "-X", "acks="+acks, "-X", "linger.ms=20")
				p.stdin = values
				p.run(t)
				if out := kcat(t, "-C", "-t", name, "-o", "beginning", "-e", "-q").run(t); out != values {
					t.Errorf("%d bytes came back of %d", len(out), len(values))
				}
			})
		}
	}
}

func TestKcatReadsFromOffsetsAndTimes(t *testing.T) {
	name := topic(t)
	createTopic(t, name, 1)
	p := kcat(t, "-P", "-t", name)
	p.stdin = lines(50, "%d")
	p.run(t)
	waitForTheClock() // what is told apart by its time
	between := time.Now().UnixMilli()
	waitForTheClock()
	p.stdin = lines(50, "late %d")
	p.run(t)
	for _, c := range []struct {
		from, first string
		n           int
	}{
		{"beginning", "0", 100},
		{"7", "7", 93},
		{"-5", "late 45", 5},
		{fmt.Sprintf("s@%d", between), "late 0", 50},
		{"99", "late 49", 1},
	} {
		out := kcat(t, "-C", "-t", name, "-p", "0", "-o", c.from, "-e", "-q").run(t)
		got := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if len(got) != c.n || got[0] != c.first {
			t.Errorf("from %s: %d records, the first %q; want %d, %q", c.from, len(got), got[0], c.n, c.first)
		}
	}
	out := kcat(t, "-C", "-t", name, "-p", "0", "-o", "beginning", "-o", fmt.Sprintf("e@%d", between), "-e", "-q").run(t)
	if n := strings.Count(out, "\n"); n != 50 {
		t.Errorf("%d records before the time", n)
	}
	out = kcat(t, "-Q", "-t", fmt.Sprintf("%s:0:%d", name, between)).run(t)
	if want := name + " [0] offset 50\n"; out != want {
		t.Errorf("offset for the time: %q, want %q", out, want)
	}
	if out := kcat(t, "-C", "-t", name, "-p", "0", "-o", "end", "-e", "-q").run(t); out != "" {
		t.Errorf("at the end: %q", out)
	}
}

func TestKcatProducesIdempotentlyAndToAllPartitions(t *testing.T) {
	name := topic(t)
	createTopic(t, name, 4)
	p := kcat(t, "-P", "-t", name, "-K", ":", "-X", "enable.idempotence=true", "-X", "linger.ms=1", "-X", "batch.num.messages=50")
	var b strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&b, "key-%d:%d\n", i%16, i/16)
	}
	p.stdin = b.String()
	p.run(t)
	next := map[string]int{}
	for line := range strings.Lines(kcat(t, "-C", "-t", name, "-o", "beginning", "-e", "-q", "-K", ":").run(t)) {
		var key string
		var v int
		if _, err := fmt.Sscanf(strings.Replace(line, ":", " ", 1), "%s %d", &key, &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if v != next[key] {
			t.Fatalf("%s: %d after %d", key, v, next[key]-1)
		}
		next[key]++
	}
	if len(next) != 16 || next["key-3"] != 250 {
		t.Errorf("%d keys, %d of key-3", len(next), next["key-3"])
	}
}

func TestKcatSendsWhatIsAlmostTooLargeAndLearnsOfWhatIs(t *testing.T) {
	name := topic(t)
	createTopic(t, name, 1)
	p := kcat(t, "-P", "-t", name, "-D", "|", "-X", "message.max.bytes=10000000")
	p.stdin = strings.Repeat("x", 1_000_000)
	p.run(t)
	p.stdin = strings.Repeat("x", 2_000_000)
	_, errOut, err := p.try(t)
	if err == nil || !strings.Contains(errOut, "too large") {
		t.Errorf("2 MB: %v, %s", err, errOut)
	}
	out := kcat(t, "-C", "-t", name, "-o", "beginning", "-e", "-q", "-f", `%o %S\n`).run(t)
	if out != "0 1000000\n" {
		t.Errorf("got %q", out)
	}
}

func TestKcatFollowsTheLog(t *testing.T) {
	name := topic(t)
	createTopic(t, name, 1)
	reader := kcat(t, "-C", "-t", name, "-o", "beginning", "-u", "-q").begin(t)
	p := kcat(t, "-P", "-t", name)
	for i := range 3 {
		p.stdin = fmt.Sprintf("%d\n", i)
		p.run(t)
		if got := reader.lines(t, i+1); got[i] != fmt.Sprint(i) {
			t.Fatalf("got %q", got)
		}
	}
}

func TestKcatCreatesTopicsByProducing(t *testing.T) {
	onlyCulvert(t)
	name := topic(t)
	p := kcat(t, "-P", "-t", name)
	p.stdin = "first\n"
	p.run(t)
	if out := kcat(t, "-C", "-t", name, "-o", "beginning", "-e", "-q").run(t); out != "first\n" {
		t.Errorf("got %q", out)
	}
}

func TestKcatIsToldOfTopicsAndPartitionsThatAreNot(t *testing.T) {
	name := topic(t)
	createTopic(t, name, 1)
	_, errOut, err := kcat(t, "-C", "-t", name, "-p", "5", "-o", "beginning", "-e", "-q").try(t)
	if err == nil || !strings.Contains(errOut, "partition 5 does not exist") {
		t.Errorf("partition 5: %v, %s", err, errOut)
	}
	p := kcat(t, "-P", "-t", "no/such name", "-X", "message.timeout.ms=3000")
	p.stdin = "lost\n"
	_, errOut, err = p.try(t)
	if err == nil || !strings.Contains(errOut, "nvalid topic") && !strings.Contains(errOut, "timed out") {
		t.Errorf("a name that is none: %v, %s", err, errOut)
	}
}

// waitForTheClock lets the time of day move on.
func waitForTheClock() { time.Sleep(50 * time.Millisecond) }
