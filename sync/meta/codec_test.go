package meta

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func fullState(t testing.TB) *State {
	s := Empty()
	for _, c := range everyCommand() {
		n, _, err := s.Apply(c)
		if err != nil {
			t.Fatalf("%#v: %v", c, err)
		}
		s = n
	}
	return s
}

// everyCommand has each type at least once, each changing something.
func everyCommand() []Command {
	return []Command{
		&SetClusterID{ID: testID(77).String()},
		&RegisterBroker{ID: 1, Incarnation: "a", Rack: "north", Endpoints: []Endpoint{{"PLAINTEXT", "gw-1", 9092}}},
		&RegisterBroker{ID: 2, Incarnation: "b"},
		&CreateTopic{Name: "lamps", ID: testID(1), Partitions: 2, ReplicationFactor: 2, Configs: map[string]string{"retention.ms": "5"}},
		&CreateTopic{Name: "old", ID: testID(2), Assignment: [][]int32{{2}}},
		&CreateTopic{Name: MQTTRetainedTopic, ID: testID(3), Partitions: 1, ReplicationFactor: 1},
		&CreatePartitions{Name: "lamps", Count: 4, Assignment: [][]int32{{1, 2}, {2, 1}}},
		&DeleteTopic{ID: testID(2)},
		&AlterTopicConfigs{Name: "lamps", Ops: []ConfigOp{{Key: "cleanup.policy", Op: OpAppend, Value: "compact"}}},
		&AlterBrokerConfigs{Broker: AllBrokers, Ops: []ConfigOp{{Key: "log.retention.ms", Value: "7"}}, Replace: true},
		&AlterBrokerConfigs{Broker: 2, Ops: []ConfigOp{{Key: "log.retention.ms", Value: "8"}}},
		&AllocateProducerIDs{Count: 1000},
	}
}

// TestStoredFormIsStable: what a node stored must be readable by every later version. testdata holds
// the bytes version 1 wrote; a change here needs a new version of the format, not new bytes.
func TestStoredFormIsStable(t *testing.T) {
	s := fullState(t)
	const file = "testdata/state-v1.json"
	if *update {
		if _, err := os.Stat(file); err != nil {
			if err := os.WriteFile(file, []byte(mustEncode(t, s)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustEncode(t, s) + "\n"; got != string(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	back, err := DecodeState(want)
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(s, back); len(d) != 0 || back.ClusterID != s.ClusterID || back.Version != s.Version || back.NextProducerID != 1000 {
		t.Errorf("read back: %v", d)
	}
}

func TestDamagedStatesAreRefused(t *testing.T) {
	good := mustEncode(t, fullState(t))
	for name, c := range map[string]struct {
		old, new string
		want     error
	}{
		"newer":              {`"version":1`, `"version":2`, ErrNewer},
		"no version":         {`"version":1`, `"version":0`, ErrCorrupt},
		"other format":       {"culvert-meta", "some-meta", ErrCorrupt},
		"cut":                {`"topics"`, "", ErrCorrupt},
		"negative version":   {`"state_version":12`, `"state_version":-1`, ErrCorrupt},
		"cluster id":         {testID(77).String(), "short", ErrCorrupt},
		"broker twice":       {`"id":2,`, `"id":1,`, ErrCorrupt},
		"topic id twice":     {testID(3).String(), testID(1).String(), ErrCorrupt},
		"zero topic id":      {testID(3).String(), TopicID{}.String(), ErrCorrupt},
		"topic name":         {`"name":"lamps"`, `"name":"la mps"`, ErrCorrupt},
		"topic id form":      {testID(3).String(), "@@@@@@@@@@@@@@@@@@@@@@", ErrCorrupt},
		"leader elsewhere":   {`"leader":1`, `"leader":9`, ErrCorrupt},
		"no replicas":        {`"replicas":[1,2]`, `"replicas":[]`, ErrCorrupt},
		"replica twice":      {`"replicas":[1,2]`, `"replicas":[1,1]`, ErrCorrupt},
		"in sync elsewhere":  {`"isr":[1,2]`, `"isr":[1,3]`, ErrCorrupt},
		"epoch negative":     {`"leader_epoch":0`, `"leader_epoch":-5`, ErrCorrupt},
		"number out of size": {`"leader_epoch":0`, `"leader_epoch":99999999999`, ErrCorrupt},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Fatalf("%s: nothing to replace in %s", name, good)
		}
		if _, err := DecodeState([]byte(bad)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if _, err := DecodeState(make([]byte, MaxStateBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	var newer *NewerError
	if _, err := DecodeState([]byte(strings.Replace(good, `"version":1`, `"version":7`, 1))); !errors.As(err, &newer) || !strings.Contains(newer.Error(), "7") {
		t.Errorf("newer: %v", newer)
	}
}

func TestEveryCommandSurvivesStorage(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range everyCommand() {
		b, err := EncodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeCommand(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		again, _ := EncodeCommand(back)
		if string(again) != string(b) || CommandName(back) != CommandName(c) {
			t.Errorf("stored %s, read back %s", b, again)
		}
		seen[CommandName(c)] = true
	}
	if len(seen) != 8 {
		t.Errorf("only %v", seen)
	}
}

func TestForeignCommandsAreRefused(t *testing.T) {
	for in, want := range map[string]error{
		`{"type":"add-acl","body":{}}`:                             ErrNewer,
		`{"type":"delete-topic","body":{"name":"a","force":true}}`: ErrNewer,
		`{"type":"","body":{}}`:                                    ErrCorrupt,
		`{"type":"delete-topic","body":{"name":7}}`:                ErrCorrupt,
		`{"type":"delete-topic"}`:                                  ErrCorrupt,
		`{"type":"create-topic","body":{"topic_id":"x"}}`:          ErrCorrupt,
		``:                                     ErrCorrupt,
		strings.Repeat("x", MaxCommandBytes+1): ErrTooLarge,
		`{"type":"allocate-producer-ids","body":{"count":5000000000}}`: ErrCorrupt,
	} {
		if _, err := DecodeCommand([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%.60s: got %v, want %v", in, err, want)
		}
	}
	if _, err := EncodeCommand(&CreateTopic{Name: strings.Repeat("x", MaxCommandBytes)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

// FuzzDecodeState: nothing read from a disk panics, and what is taken is stored the same way again.
func FuzzDecodeState(f *testing.F) {
	f.Add([]byte(mustEncode(f, fullState(f))))
	f.Add([]byte(mustEncode(f, Empty())))
	f.Add([]byte(`{"format":"culvert-meta","version":1,"topics":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeState(b)
		if err != nil {
			return
		}
		once := mustEncode(t, s)
		back, err := DecodeState([]byte(once))
		if err != nil {
			t.Fatal(err)
		}
		if twice := mustEncode(t, back); twice != once {
			t.Fatalf("%s\n%s", once, twice)
		}
		d, _ := NewDefaults(1, nil)
		for _, topic := range s.SortedTopics() {
			s.TopicConfig(topic, d)
			s.DescribeTopicConfigs(topic, d)
		}
		s.BrokerConfig(d)
	})
}

// FuzzDecodeCommand: no command from a disk or a peer panics, when read or when applied.
func FuzzDecodeCommand(f *testing.F) {
	for _, c := range everyCommand() {
		b, _ := EncodeCommand(c)
		f.Add(b)
	}
	base := fullState(f)
	frozen := mustEncode(f, base)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		if err != nil {
			return
		}
		n, _, err := base.Apply(c)
		if mustEncode(t, base) != frozen {
			t.Fatal("receiver changed")
		}
		if err != nil {
			return
		}
		back, err := DecodeState([]byte(mustEncode(t, n)))
		if err != nil {
			t.Fatalf("a state that was reached cannot be read back: %v", err)
		}
		if mustEncode(t, back) != mustEncode(t, n) {
			t.Fatal("read back differs")
		}
	})
}
