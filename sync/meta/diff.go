package meta

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
)

// ChangeKind says what a [Change] is about.
type ChangeKind int8

// The kinds, in the order in which changes of one topic are listed.
const (
	TopicRemoved         ChangeKind = iota + 1 // Old is set
	TopicAdded                                 // New is set
	PartitionsAdded                            // Old, New; the new partitions are those from len(Old.Partitions) on
	PartitionsChanged                          // Old, New; leaders, replicas, or epochs of partitions that were there
	TopicConfigChanged                         // Old, New
	BrokerChanged                              // Broker was added, removed or registered anew
	BrokerConfigsChanged                       // dynamic configuration of Broker, [AllBrokers] for the defaults of all
)

// String names the kind.
func (k ChangeKind) String() string {
	return [...]string{"none", "topic removed", "topic added", "partitions added", "partitions changed",
		"topic config changed", "broker changed", "broker configs changed"}[k]
}

// Change is one difference between two states.
type Change struct {
	Kind     ChangeKind
	Topic    string
	Old, New *Topic
	Broker   int32
}

// Diff lists what is different in b, as seen from a: topics by name, a topic that was deleted and
// created again as removed and added, then brokers by id. What a topic inherits is not looked at: after
// a BrokerConfigsChanged every topic's [State.TopicConfig] may be another.
func Diff(a, b *State) []Change {
	var out []Change
	if !sameMap(a.Topics, b.Topics) {
		names := maps.Clone(a.Topics)
		maps.Copy(names, b.Topics)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			out = appendTopic(out, a.Topics[name], b.Topics[name])
		}
	}
	var brokers []Change
	for id := range union(a.Brokers, b.Brokers) {
		if !reflect.DeepEqual(a.Brokers[id], b.Brokers[id]) {
			brokers = append(brokers, Change{Kind: BrokerChanged, Broker: id})
		}
	}
	if !maps.Equal(a.ClusterConfigs, b.ClusterConfigs) {
		brokers = append(brokers, Change{Kind: BrokerConfigsChanged, Broker: AllBrokers})
	}
	for id := range union(a.BrokerConfigs, b.BrokerConfigs) {
		if !maps.Equal(a.BrokerConfigs[id], b.BrokerConfigs[id]) {
			brokers = append(brokers, Change{Kind: BrokerConfigsChanged, Broker: id})
		}
	}
	slices.SortFunc(brokers, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.Broker, y.Broker), cmp.Compare(x.Kind, y.Kind))
	})
	return append(out, brokers...)
}

func appendTopic(out []Change, a, b *Topic) []Change {
	switch {
	case a == b:
		return out
	case a == nil:
		return append(out, Change{Kind: TopicAdded, Topic: b.Name, New: b})
	case b == nil:
		return append(out, Change{Kind: TopicRemoved, Topic: a.Name, Old: a})
	case a.ID != b.ID:
		return append(out,
			Change{Kind: TopicRemoved, Topic: a.Name, Old: a},
			Change{Kind: TopicAdded, Topic: b.Name, New: b})
	}
	add := func(k ChangeKind) { out = append(out, Change{Kind: k, Topic: b.Name, Old: a, New: b}) }
	if len(b.Partitions) > len(a.Partitions) {
		add(PartitionsAdded)
	}
	for i := range min(len(a.Partitions), len(b.Partitions)) {
		if !reflect.DeepEqual(a.Partitions[i], b.Partitions[i]) {
			add(PartitionsChanged)
			break
		}
	}
	if !maps.Equal(a.Configs, b.Configs) {
		add(TopicConfigChanged)
	}
	return out
}

// sameMap tells whether two states share the map, so that nothing in it can differ.
func sameMap(a, b map[string]*Topic) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

func union[V any](a, b map[int32]V) map[int32]struct{} {
	out := make(map[int32]struct{}, len(a)+len(b))
	for id := range a {
		out[id] = struct{}{}
	}
	for id := range b {
		out[id] = struct{}{}
	}
	return out
}
