package meta

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what comes out into the scenarios of testdata")

// TestScenarios runs every script of testdata. A script is a row of blocks: commands, one a line, then
// "----", then what they came to, up to an empty line. A block starts with the state the one before
// ended with. What a block prints is the outcome of each command, then the changes a watcher would be
// told, then, where asked by "show", the state.
//
//	set-cluster | broker 1 [rack=r] | create NAME [id=7] [p=2] [rf=1] [on=1,2/2,1] [key=value...]
//	delete NAME | delete id=7 | grow NAME 4 [on=...] | config NAME key=v key- key+=v key-=v [replace]
//	dynamic all|1 key=v ... | pids 1000 | show | value NAME key [static broker key=value...]
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScenario(t, file) })
	}
}

func runScenario(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	state := Empty()
	for i, block := range strings.Split(strings.TrimSpace(string(raw)), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		script, want, isBlock := strings.Cut(block+"\n", "----\n")
		if !isBlock { // a comment that stands alone
			out.WriteString(block + "\n")
			continue
		}
		var got string
		state, got = runBlock(t, state, script)
		out.WriteString(script + "----\n" + got)
		if !*update && got != want {
			t.Errorf("%s: after\n%s\ngot:\n%s\nwant:\n%s", file, script, got, want)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func runBlock(t *testing.T, s *State, script string) (*State, string) {
	t.Helper()
	var out strings.Builder
	before, show := s, false
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		switch words[0] {
		case "show":
			show = true
			continue
		case "value":
			out.WriteString(value(t, s, words[1:]) + "\n")
			continue
		}
		c := parseCommand(t, words)
		frozen := mustEncode(t, s)
		n, r, err := s.Apply(c)
		if again := mustEncode(t, s); again != frozen {
			t.Fatalf("%s changed its receiver:\n%s\n%s", line, frozen, again)
		}
		switch {
		case err != nil:
			fmt.Fprintf(&out, "refused: %v\n", err)
		case !r.Changed:
			out.WriteString("nothing to do\n")
		default:
			out.WriteString("ok" + outcome(c, r) + "\n")
		}
		s = n
	}
	for _, c := range Diff(before, s) {
		if c.Topic != "" {
			fmt.Fprintf(&out, "  %s %s\n", c.Kind, c.Topic)
		} else {
			fmt.Fprintf(&out, "  %s %d\n", c.Kind, c.Broker)
		}
	}
	if show {
		out.WriteString(render(s))
	}
	return s, out.String()
}

func outcome(c Command, r Result) string {
	switch c.(type) {
	case *RegisterBroker:
		return fmt.Sprintf(" epoch %d", r.BrokerEpoch)
	case *AllocateProducerIDs:
		return fmt.Sprintf(" from %d", r.FirstProducerID)
	}
	return ""
}

func render(s *State) string {
	var out strings.Builder
	fmt.Fprintf(&out, "version %d, next producer id %d\n", s.Version, s.NextProducerID)
	for _, b := range s.SortedBrokers() {
		fmt.Fprintf(&out, "broker %d epoch %d %v\n", b.ID, b.Epoch, b.Endpoints)
	}
	for _, t := range s.SortedTopics() {
		fmt.Fprintf(&out, "topic %s %s", t.Name, t.ID)
		if t.Internal {
			out.WriteString(" internal")
		}
		for _, k := range sortedKeys(t.Configs) {
			fmt.Fprintf(&out, " %s=%s", k, t.Configs[k])
		}
		out.WriteString("\n")
		for i, p := range t.Partitions {
			fmt.Fprintf(&out, "  %d: leader %d epoch %d/%d replicas %v isr %v\n", i, p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.Replicas, p.ISR)
		}
	}
	for _, k := range sortedKeys(s.ClusterConfigs) {
		fmt.Fprintf(&out, "all brokers %s=%s\n", k, s.ClusterConfigs[k])
	}
	return out.String()
}

// value prints the value in force of a topic's key and where it was looked for.
func value(t *testing.T, s *State, words []string) string {
	static := map[string]string{}
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, "=")
		static[k] = v
	}
	d, err := NewDefaults(1, static)
	if err != nil {
		return fmt.Sprintf("refused: %v", err)
	}
	for _, e := range s.DescribeTopicConfigs(s.Topics[words[0]], d) {
		if e.Name == words[1] {
			var places []string
			for _, syn := range e.Synonyms {
				places = append(places, fmt.Sprintf("%s=%s(%d)", syn.Name, *syn.Value, syn.Source))
			}
			return fmt.Sprintf("%s = %s, source %d: %s", e.Name, *e.Value, e.Source, strings.Join(places, " "))
		}
	}
	t.Fatalf("no key %s", words[1])
	return ""
}

func testID(n int) (id TopicID) {
	id[0], id[14], id[15] = 1, byte(n>>8), byte(n)
	return id
}

func parseCommand(t *testing.T, words []string) Command {
	t.Helper()
	num := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%v: %v", words, err)
		}
		return n
	}
	ints := func(s string) (out [][]int32) {
		for p := range strings.SplitSeq(s, "/") {
			var r []int32
			for _, id := range splitList(p) {
				r = append(r, int32(num(id)))
			}
			out = append(out, r)
		}
		return out
	}
	switch words[0] {
	case "set-cluster":
		return &SetClusterID{ID: TopicID{1, 2, byte(len(words))}.String()}
	case "broker":
		c := &RegisterBroker{ID: int32(num(words[1])), Incarnation: "a", Endpoints: []Endpoint{{"PLAINTEXT", "gw" + words[1], 9092}}}
		for _, w := range words[2:] {
			switch k, v, _ := strings.Cut(w, "="); k {
			case "inc":
				c.Incarnation = v
			case "rack":
				c.Rack = v
			}
		}
		return c
	case "create":
		c := &CreateTopic{Name: words[1], ID: testID(len(words[1])), Partitions: 1, ReplicationFactor: 1, Configs: map[string]string{}}
		for _, w := range words[2:] {
			switch k, v, _ := strings.Cut(w, "="); k {
			case "id":
				c.ID = testID(num(v))
			case "p":
				c.Partitions = int32(num(v))
			case "rf":
				c.ReplicationFactor = int16(num(v))
			case "on":
				c.Partitions, c.Assignment = 0, ints(v)
			default:
				c.Configs[k] = v
			}
		}
		return c
	case "delete":
		if id, ok := strings.CutPrefix(words[1], "id="); ok {
			return &DeleteTopic{ID: testID(num(id))}
		}
		return &DeleteTopic{Name: words[1]}
	case "grow":
		c := &CreatePartitions{Name: words[1], Count: int32(num(words[2]))}
		if len(words) > 3 {
			c.Assignment = ints(strings.TrimPrefix(words[3], "on="))
		}
		return c
	case "config":
		c := &AlterTopicConfigs{Name: words[1]}
		c.Ops, c.Replace = parseOps(words[2:])
		return c
	case "dynamic":
		c := &AlterBrokerConfigs{Broker: AllBrokers}
		if words[1] != "all" {
			c.Broker = int32(num(words[1]))
		}
		c.Ops, c.Replace = parseOps(words[2:])
		return c
	case "pids":
		return &AllocateProducerIDs{Count: int32(num(words[1]))}
	}
	t.Fatalf("unknown command %v", words)
	return nil
}

func parseOps(words []string) (ops []ConfigOp, replace bool) {
	for _, w := range words {
		k, v, set := strings.Cut(w, "=")
		op := ConfigOp{Key: k, Value: v}
		switch {
		case w == "replace":
			replace = true
			continue
		case !set:
			op.Key, op.Op = strings.TrimSuffix(w, "-"), OpDelete
		case strings.HasSuffix(k, "+"):
			op.Key, op.Op = strings.TrimSuffix(k, "+"), OpAppend
		case strings.HasSuffix(k, "-"):
			op.Key, op.Op = strings.TrimSuffix(k, "-"), OpSubtract
		}
		ops = append(ops, op)
	}
	return ops, replace
}

func mustEncode(t testing.TB, s *State) string {
	t.Helper()
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b) {
		t.Fatalf("not JSON: %s", b)
	}
	return string(b)
}
