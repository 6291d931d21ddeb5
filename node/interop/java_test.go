//go:build interop

package interop

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	consoleProducer = "org.apache.kafka.tools.ConsoleProducer"
	consoleConsumer = "org.apache.kafka.tools.consumer.ConsoleConsumer"
	topicCommand    = "org.apache.kafka.tools.TopicCommand"
	configCommand   = "kafka.admin.ConfigCommand"
	offsetShell     = "org.apache.kafka.tools.GetOffsetShell"
	versionsCommand = "org.apache.kafka.tools.BrokerApiVersionsCommand"
	clusterTool     = "org.apache.kafka.tools.ClusterTool"
)

// tool is a run of one of Kafka's command line tools against the broker under test.
func (j java) tool(t *testing.T, name string, args ...string) tool {
	t.Helper()
	return j.class(name, append([]string{"--bootstrap-server", native(t)}, args...)...)
}

func TestJavaConsoleProducerAndConsumer(t *testing.T) {
	j, name := needJava(t), topic(t)
	createTopic(t, name, 2)
	var in strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&in, "unit:Cel,n:%d\tkey-%d\treading %d\n", i, i%8, i)
	}
	p := j.tool(t, consoleProducer, "--topic", name, "--compression-codec", "zstd", "--reader-property", "parse.key=true",
		"--reader-property", "parse.headers=true")
	p.stdin = in.String()
	p.run(t)

	// Partition by partition: Java's consumer without a group. Both have exactly what the others read.
	n, last := 0, map[string]int{}
	for partition, records := range readAll(t, native(t), name) {
		out := j.tool(t, consoleConsumer, "--topic", name, "--partition", fmt.Sprint(partition), "--offset", "earliest",
			"--max-messages", fmt.Sprint(len(records)), "--timeout-ms", "20000", "--formatter-property", "print.key=true",
			"--formatter-property", "print.headers=true", "--formatter-property", "print.offset=true").run(t)
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if len(lines) != len(records) {
			t.Fatalf("partition %d: %d lines for %d records", partition, len(lines), len(records))
		}
		for i, line := range lines {
			r := records[i]
			want := fmt.Sprintf("Offset:%d\tunit:%s,n:%s\t%s\t%s", i, r.Headers[0].Value, r.Headers[1].Value, r.Key, r.Value)
			if line != want {
				t.Fatalf("partition %d: %q, want %q", partition, line, want)
			}
			var v int
			if _, err := fmt.Sscanf(string(r.Value), "reading %d", &v); err != nil || v < last[string(r.Key)] {
				t.Fatalf("%s: %q after %d", r.Key, r.Value, last[string(r.Key)])
			}
			last[string(r.Key)] = v
			n++
		}
	}
	if n != 1000 {
		t.Errorf("%d records", n)
	}
	out := j.tool(t, consoleConsumer, "--topic", name, "--partition", "0", "--offset", "3", "--max-messages", "1", "--timeout-ms", "20000",
		"--formatter-property", "print.offset=true").run(t)
	if !strings.HasPrefix(out, "Offset:3\t") {
		t.Errorf("from offset 3: %q", out)
	}
}

func TestJavaTopicCommand(t *testing.T) {
	j, name := needJava(t), topic(t)
	run := func(args ...string) string { return j.tool(t, topicCommand, args...).run(t) }
	if out := run("--create", "--topic", name, "--partitions", "3", "--replication-factor", "1", "--config", "retention.ms=7200000"); !strings.Contains(out, "Created topic") {
		t.Errorf("create: %s", out)
	}
	_, errOut, err := j.tool(t, topicCommand, "--create", "--topic", name, "--partitions", "3").try(t)
	if err == nil || !strings.Contains(errOut, "TopicExistsException") {
		t.Errorf("created twice: %v, %s", err, errOut)
	}
	if out := run("--list"); !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `$`).MatchString(out) {
		t.Errorf("list: %s", out)
	}
	out := run("--describe", "--topic", name)
	for _, want := range []string{"PartitionCount: 3", "ReplicationFactor: 1", "retention.ms=7200000", "Partition: 2"} {
		if !strings.Contains(out, want) {
			t.Errorf("describe has no %q: %s", want, out)
		}
	}
	run("--alter", "--topic", name, "--partitions", "5")
	wait(t, 20*time.Second, func() error {
		if out := run("--describe", "--topic", name); !strings.Contains(out, "PartitionCount: 5") {
			return fmt.Errorf("after alter: %s", out)
		}
		return nil
	})
	run("--delete", "--topic", name)
	wait(t, 20*time.Second, func() error {
		if out := run("--list"); strings.Contains(out, name) {
			return fmt.Errorf("after delete: %s", out)
		}
		return nil
	})
}

func TestJavaConfigCommand(t *testing.T) {
	j, name := needJava(t), topic(t)
	createTopic(t, name, 1)
	run := func(args ...string) string {
		return j.tool(t, configCommand, append([]string{"--entity-type", "topics", "--entity-name", name}, args...)...).run(t)
	}
	run("--alter", "--add-config", "retention.ms=3600000,max.message.bytes=50000")
	wait(t, 20*time.Second, func() error {
		if out := run("--describe"); !strings.Contains(out, "retention.ms=3600000") || !strings.Contains(out, "max.message.bytes=50000") {
			return fmt.Errorf("describe: %s", out)
		}
		return nil
	})
	run("--alter", "--delete-config", "retention.ms")
	wait(t, 20*time.Second, func() error {
		out := run("--describe")
		if strings.Contains(out, "retention.ms") || !strings.Contains(out, "max.message.bytes") {
			return fmt.Errorf("describe: %s", out)
		}
		return nil
	})
	if out := run("--describe", "--all"); !strings.Contains(out, "retention.ms=604800000") || !strings.Contains(out, "cleanup.policy=delete") {
		t.Errorf("describe all: %s", out)
	}
	_, errOut, err := j.tool(t, configCommand, "--entity-type", "topics", "--entity-name", name, "--alter", "--add-config", "no.such.key=1").try(t)
	if err == nil || !strings.Contains(errOut, "InvalidConfigurationException") {
		t.Errorf("an unknown key: %v, %s", err, errOut)
	}
}

func TestJavaOffsetShellAndClusterTools(t *testing.T) {
	j, name := needJava(t), topic(t)
	createTopic(t, name, 1)
	p := kcat(t, "-P", "-t", name)
	p.stdin = lines(25, "%d")
	p.run(t)
	for at, want := range map[string]string{"-1": "25", "-2": "0", "-3": "24", "1000": "0"} {
		if out := j.tool(t, offsetShell, "--topic-partitions", name+":0", "--time", at).run(t); out != name+":0:"+want+"\n" {
			// The latest of records in the same millisecond is the first of them.
			if at == "-3" && strings.HasPrefix(out, name+":0:") {
				continue
			}
			t.Errorf("time %s: %q, want %s", at, out, want)
		}
	}
	if out := j.tool(t, versionsCommand).run(t); !strings.Contains(out, "Produce(0)") || strings.Contains(out, "ERROR") {
		t.Errorf("versions: %s", out)
	}
	if out := j.class(clusterTool, "cluster-id", "--bootstrap-server", native(t)).run(t); !strings.HasPrefix(out, "Cluster ID: ") {
		t.Errorf("cluster id: %s", out)
	}
}
