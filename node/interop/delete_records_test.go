//go:build interop

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const deleteRecordsCommand = "org.apache.kafka.tools.DeleteRecordsCommand"

func TestJavaDeleteRecordsCommand(t *testing.T) {
	j, name, kept := needJava(t), topic(t), topic(t)
	createTopic(t, name, 2)
	for partition, n := range []int{25, 10} {
		p := kcat(t, "-P", "-t", name, "-p", fmt.Sprint(partition))
		p.stdin = lines(n, "%d")
		p.run(t)
	}
	j.tool(t, topicCommand, "--create", "--topic", kept, "--config", "cleanup.policy=compact").run(t)
	purge := func(partitions string) string {
		file := filepath.Join(t.TempDir(), "offsets.json")
		if err := os.WriteFile(file, []byte(`{"version": 1, "partitions": [`+partitions+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		return j.tool(t, deleteRecordsCommand, "--offset-json-file", file).run(t)
	}
	at := func(topic string, partition int, offset int) string {
		return fmt.Sprintf(`{"topic": %q, "partition": %d, "offset": %d}`, topic, partition, offset)
	}
	out := purge(at(name, 0, 20) + "," + at(name, 1, -1))
	for _, want := range []string{"partition: " + name + "-0\tlow_watermark: 20", "partition: " + name + "-1\tlow_watermark: 10"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if out := purge(at(name, 0, 26)); !strings.Contains(out, "OffsetOutOfRange") && !strings.Contains(out, "not within the range") {
		t.Errorf("behind the end: %s", out)
	}
	if out := purge(at(kept, 0, 0)); !strings.Contains(out, "PolicyViolation") && !strings.Contains(out, "policy") {
		t.Errorf("a compacted topic: %s", out)
	}
	for partition, want := range []string{"20", "10"} {
		if out := j.tool(t, offsetShell, "--topic-partitions", fmt.Sprintf("%s:%d", name, partition), "--time", "-2").run(t); out != fmt.Sprintf("%s:%d:%s\n", name, partition, want) {
			t.Errorf("start of partition %d: %q, want %s", partition, out, want)
		}
	}
}
