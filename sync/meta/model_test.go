package meta

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// model is the metadata as the simplest thing that could be right: maps that are changed in place.
type model struct {
	brokers  map[int32]string
	topics   map[string]*modelTopic
	next     int64
	defaults map[string]string
}

type modelTopic struct {
	id       TopicID
	parts    int
	replicas int
	configs  map[string]string
}

var (
	modelNames = []string{"a", "b", "a.b", "a_b", "c", ConsumerOffsetsTopic, "", "x/y"}
	modelKeys  = []string{"retention.ms", "cleanup.policy", "segment.bytes", "no.such.key"}
	modelVals  = []string{"delete", "compact", "1048576", "-1", "7", "nonsense", "compact,delete"}
)

// modelAllows says which of modelVals each of modelKeys takes.
var modelAllows = map[string][]string{
	"retention.ms":   {"1048576", "-1", "7"},
	"cleanup.policy": {"delete", "compact", "compact,delete"},
	"segment.bytes":  {"1048576"},
}

func (m *model) partitions() (n int) {
	for _, t := range m.topics {
		n += t.parts
	}
	return n
}

func (m *model) create(c *CreateTopic) error {
	if !slices.Contains(modelNames[:6], c.Name) {
		return ErrInvalidTopic
	}
	if t := m.topics[c.Name]; t != nil {
		if t.id == c.ID && t.parts == int(c.Partitions) {
			return nil
		}
		return ErrTopicExists
	}
	if c.Partitions < 1 || c.Partitions > MaxTopicPartitions {
		return ErrInvalidPartitions
	}
	for _, t := range m.topics {
		if t.id == c.ID {
			return ErrTopicExists
		}
	}
	for name := range m.topics {
		if name != c.Name && strings.ReplaceAll(name, "_", ".") == strings.ReplaceAll(c.Name, "_", ".") {
			return ErrInvalidTopic
		}
	}
	if m.partitions()+int(c.Partitions) > MaxPartitions {
		return ErrInvalidPartitions
	}
	if c.ReplicationFactor < 1 || int(c.ReplicationFactor) > len(m.brokers) {
		return ErrInvalidReplicationFactor
	}
	for k, v := range c.Configs {
		if !slices.Contains(modelAllows[k], v) {
			return ErrInvalidConfig
		}
	}
	m.topics[c.Name] = &modelTopic{c.ID, int(c.Partitions), int(c.ReplicationFactor), maps.Clone(c.Configs)}
	return nil
}

// grown tells what refusing or granting a CreatePartitions must come to.
func (m *model) grow(c *CreatePartitions) error {
	t := m.topics[c.Name]
	switch {
	case t == nil:
		return ErrUnknownTopic
	case int(c.Count) <= t.parts:
		return ErrInvalidPartitions
	case InternalTopic(c.Name):
		return ErrPolicyViolation
	case c.Count > MaxTopicPartitions || m.partitions()+int(c.Count)-t.parts > MaxPartitions:
		return ErrInvalidPartitions
	}
	t.parts = int(c.Count)
	return nil
}

func (m *model) delete(c *DeleteTopic) error {
	switch {
	case m.topics[c.Name] == nil:
		return ErrUnknownTopic
	case InternalTopic(c.Name):
		return ErrPolicyViolation
	}
	delete(m.topics, c.Name)
	return nil
}

func (m *model) config(c *AlterTopicConfigs) error {
	t := m.topics[c.Name]
	if t == nil {
		return ErrUnknownTopic
	}
	after := map[string]string{}
	if !c.Replace {
		maps.Copy(after, t.configs)
	}
	for _, op := range c.Ops { // one a command, so that order does not matter
		if modelAllows[op.Key] == nil {
			return ErrInvalidConfig
		}
		if op.Op == OpDelete {
			if c.Replace {
				return ErrInvalidRequest
			}
			delete(after, op.Key)
			continue
		}
		if !slices.Contains(modelAllows[op.Key], op.Value) {
			return ErrInvalidConfig
		}
		after[op.Key] = op.Value
	}
	t.configs = after
	return nil
}

// TestStateAgreesWithANaiveModel runs random commands against both, and checks after each that they
// refuse the same, hold the same, that the receiver is unchanged, that what is stored reads back as the
// same state and that the differences told are those there are.
func TestStateAgreesWithANaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Empty()
		m := &model{brokers: map[int32]string{}, topics: map[string]*modelTopic{}, defaults: map[string]string{}}
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			c := drawCommand(t)
			frozen := mustEncodeT(t, s)
			n, r, err := s.Apply(throughStorage(t, c))
			if mustEncodeT(t, s) != frozen {
				t.Fatalf("%T changed its receiver", c)
			}
			want := m.apply(c)
			if !errors.Is(err, want) || (want == nil) != (err == nil) {
				t.Fatalf("%#v: got %v, the model says %v", c, err, want)
			}
			if changed := mustEncodeT(t, n) != frozen; changed != r.Changed || r.Changed != (n != s) {
				t.Fatalf("%#v: Changed is %v, the state changed: %v", c, r.Changed, changed)
			}
			if n.Version-s.Version != map[bool]int64{true: 1}[r.Changed] {
				t.Fatalf("version went from %d to %d", s.Version, n.Version)
			}
			m.compare(t, n)
			checkDiff(t, s, n)
			s = n
		}
		back, err := DecodeState([]byte(mustEncodeT(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		if again := mustEncodeT(t, back); again != mustEncodeT(t, s) {
			t.Fatalf("stored and read back: %s", again)
		}
		if d := Diff(s, back); len(d) != 0 {
			t.Fatalf("stored and read back differs: %v", d)
		}
	})
}

func drawCommand(t *rapid.T) Command {
	name := rapid.SampledFrom(modelNames).Draw(t, "name")
	key := rapid.SampledFrom(modelKeys).Draw(t, "key")
	val := rapid.SampledFrom(modelVals).Draw(t, "value")
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return &RegisterBroker{ID: rapid.Int32Range(1, 3).Draw(t, "broker"), Incarnation: val}
	case 1, 2, 3:
		c := &CreateTopic{
			Name:              name,
			ID:                testID(rapid.IntRange(1, 9).Draw(t, "id")),
			Partitions:        rapid.SampledFrom([]int32{0, 1, 2, 3, 1024, 1025}).Draw(t, "partitions"),
			ReplicationFactor: rapid.Int16Range(0, 3).Draw(t, "replicas"),
		}
		if rapid.Bool().Draw(t, "configured") {
			c.Configs = map[string]string{key: val}
		}
		return c
	case 4:
		return &DeleteTopic{Name: name}
	case 5:
		return &CreatePartitions{Name: name, Count: rapid.SampledFrom([]int32{1, 2, 3, 4, 1024, 1025}).Draw(t, "count")}
	case 6, 7:
		return &AlterTopicConfigs{
			Name:    name,
			Ops:     []ConfigOp{{Key: key, Op: rapid.SampledFrom([]Op{OpSet, OpSet, OpDelete}).Draw(t, "op"), Value: val}},
			Replace: rapid.Bool().Draw(t, "replace"),
		}
	case 8:
		return &AllocateProducerIDs{Count: rapid.Int32Range(1, 5).Draw(t, "count")}
	default:
		return &AlterBrokerConfigs{Broker: AllBrokers, Ops: []ConfigOp{{Key: "log.retention.ms", Value: "7"}}}
	}
}

func (m *model) apply(c Command) error {
	switch c := c.(type) {
	case *RegisterBroker:
		m.brokers[c.ID] = c.Incarnation
	case *CreateTopic:
		return m.create(c)
	case *DeleteTopic:
		return m.delete(c)
	case *CreatePartitions:
		return m.grow(c)
	case *AlterTopicConfigs:
		return m.config(c)
	case *AllocateProducerIDs:
		m.next += int64(c.Count)
	case *AlterBrokerConfigs:
		m.defaults[c.Ops[0].Key] = c.Ops[0].Value
	}
	return nil
}

func (m *model) compare(t *rapid.T, s *State) {
	if len(s.Topics) != len(m.topics) || len(s.TopicNames) != len(m.topics) {
		t.Fatalf("%d topics, %d ids, the model has %d", len(s.Topics), len(s.TopicNames), len(m.topics))
	}
	for name, want := range m.topics {
		got := s.TopicByID(want.id)
		if got == nil || got != s.Topic(name) || got.Name != name || got.Internal != InternalTopic(name) {
			t.Fatalf("topic %s is not found by its name and its id", name)
		}
		if len(got.Partitions) != want.parts || !maps.Equal(got.Configs, want.configs) {
			t.Fatalf("topic %s: %d partitions and %v, the model has %d and %v", name, len(got.Partitions), got.Configs, want.parts, want.configs)
		}
		for i, p := range got.Partitions {
			if len(p.Replicas) != want.replicas || !slices.Equal(p.Replicas, p.ISR) || p.Leader != p.Replicas[0] {
				t.Fatalf("topic %s partition %d: %+v", name, i, p)
			}
		}
	}
	if s.NextProducerID != m.next || !maps.Equal(s.ClusterConfigs, m.defaults) || len(s.Brokers) != len(m.brokers) {
		t.Fatalf("brokers, configurations or producer ids differ")
	}
	for id, inc := range m.brokers {
		if b := s.Brokers[id]; b.Incarnation != inc || b.Epoch < 1 || b.Epoch > s.Version {
			t.Fatalf("broker %d: %+v", id, b)
		}
	}
}

// checkDiff replays the differences told on the old topics and expects the new ones.
func checkDiff(t *rapid.T, a, b *State) {
	topics := maps.Clone(a.Topics)
	for _, c := range Diff(a, b) {
		switch c.Kind {
		case TopicRemoved:
			delete(topics, c.Topic)
		case TopicAdded, PartitionsAdded, TopicConfigChanged, PartitionsChanged:
			topics[c.Topic] = c.New
		}
	}
	if !maps.Equal(topics, b.Topics) {
		t.Fatalf("the differences told, %v, do not lead from one state to the other", Diff(a, b))
	}
}

// throughStorage returns the command as it is after it was stored and read back.
func throughStorage(t *rapid.T, c Command) Command {
	b, err := EncodeCommand(c)
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeCommand(b)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := EncodeCommand(back); string(again) != string(b) {
		t.Fatalf("stored %s, read back %s", b, again)
	}
	return back
}

func mustEncodeT(t *rapid.T, s *State) string {
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPlacementSpreadsLeadersEvenly: with n brokers no broker leads more than one partition more than
// another, whatever sizes the topics have.
func TestPlacementSpreadsLeadersEvenly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Empty()
		n := rapid.Int32Range(1, 5).Draw(t, "brokers")
		for id := range n {
			s, _, _ = s.Apply(&RegisterBroker{ID: id, Incarnation: "x"})
		}
		for i := range rapid.IntRange(1, 8).Draw(t, "topics") {
			var err error
			s, _, err = s.Apply(&CreateTopic{
				Name: fmt.Sprint("t", i), ID: testID(i + 1),
				Partitions:        rapid.Int32Range(1, 9).Draw(t, "partitions"),
				ReplicationFactor: int16(rapid.Int32Range(1, n).Draw(t, "replicas")),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		leads := make([]int, n)
		for _, topic := range s.Topics {
			for _, p := range topic.Partitions {
				leads[p.Leader]++
			}
		}
		if slices.Max(leads)-slices.Min(leads) > 1 {
			t.Fatalf("brokers lead %v", leads)
		}
	})
}
