package group

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Offset is the next offset that a group is to read of a partition.
type Offset struct {
	TopicPartition
	Offset      int64
	LeaderEpoch int32 // of the record before it; -1 when the client did not tell
	Metadata    string
}

// stored is a committed offset with what its record says beside it.
type stored struct {
	Offset
	at        int64 // offset of the record in its partition of the offsets topic
	committed int64 // ms since 1970
}

// offsets is what the records of one partition of the offsets topic come to.
type offsets struct {
	groups map[string]map[TopicPartition]stored
	count  int   // of offsets in all groups
	next   int64 // offset behind the newest record applied
}

func newOffsets() *offsets { return &offsets{groups: make(map[string]map[TopicPartition]stored)} }

// Internal groups, the node's own, begin with this. Their offsets do not expire.
const internalPrefix = "__"

// The versions of Kafka's record formats that are written. Newer values are read as long as they have these fields.
const (
	offsetKeyVersion   = 1
	offsetValueVersion = 3
)

// errNotOffset says that a record of the offsets topic is something else, such as a group's metadata.
var errNotOffset = errors.New("not a committed offset")

// encodeOffset returns the record of a commit.
func encodeOffset(group string, o Offset, now time.Time) (key, value []byte) {
	v := kmsg.OffsetCommitValue{Version: offsetValueVersion, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata, CommitTimestamp: now.UnixMilli()}
	return encodeKey(group, o.TopicPartition), v.AppendTo(nil)
}

func encodeKey(group string, tp TopicPartition) []byte {
	k := kmsg.OffsetCommitKey{Version: offsetKeyVersion, Group: group, Topic: tp.Topic, Partition: tp.Partition}
	return k.AppendTo(nil)
}

// apply takes a record into account. A nil value deletes.
func (s *offsets) apply(at int64, key, value []byte) error {
	s.next = max(s.next, at+1)
	if len(key) < 2 || key[0] != 0 || key[1] > offsetKeyVersion {
		return errNotOffset
	}
	var k kmsg.OffsetCommitKey
	if err := k.ReadFrom(key); err != nil {
		return fmt.Errorf("key of a committed offset: %w", err)
	}
	tp := TopicPartition{k.Topic, k.Partition}
	if value == nil {
		s.remove(k.Group, tp)
		return nil
	}
	var v kmsg.OffsetCommitValue
	if err := v.ReadFrom(value); err != nil {
		return fmt.Errorf("committed offset: %w", err)
	}
	epoch := v.LeaderEpoch
	if v.Version < 3 {
		epoch = -1
	}
	s.set(k.Group, stored{Offset{tp, v.Offset, epoch, v.Metadata}, at, v.CommitTimestamp})
	return nil
}

// set stores an offset unless a newer record has set it.
func (s *offsets) set(group string, o stored) {
	g := s.groups[group]
	if g == nil {
		g = make(map[TopicPartition]stored)
		s.groups[group] = g
	}
	have, ok := g[o.TopicPartition]
	if ok && have.at > o.at {
		return
	}
	if !ok {
		s.count++
	}
	g[o.TopicPartition] = o
}

func (s *offsets) remove(group string, tp TopicPartition) {
	g := s.groups[group]
	if _, ok := g[tp]; !ok {
		return
	}
	s.count--
	if delete(g, tp); len(g) == 0 {
		delete(s.groups, group)
	}
}

// fetch returns a group's offsets, ordered by topic and partition.
func (s *offsets) fetch(group string) []Offset {
	all := make([]Offset, 0, len(s.groups[group]))
	for _, o := range s.groups[group] {
		all = append(all, o.Offset)
	}
	slices.SortFunc(all, func(a, b Offset) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

// keyed is an offset with its group.
type keyed struct {
	group string
	stored
}

// selected returns the offsets that want is true for, ordered by group, topic and partition.
func (s *offsets) selected(want func(group string, o stored) bool) []keyed {
	var all []keyed
	for _, group := range slices.Sorted(maps.Keys(s.groups)) {
		for _, o := range s.groups[group] {
			if want(group, o) {
				all = append(all, keyed{group, o})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

// expired returns the offsets committed longer than retention ago. Groups have no members here, so each offset expires by
// itself, as KIP-211 has it for clients that assign partitions to themselves.
func (s *offsets) expired(now time.Time, retention time.Duration) []keyed {
	limit := now.Add(-retention).UnixMilli()
	return s.selected(func(group string, o stored) bool {
		return o.committed < limit && !strings.HasPrefix(group, internalPrefix)
	})
}

// PartitionFor returns which of n partitions of the offsets topic a group belongs to: the absolute value of Java's hash of
// its name, modulo n, as in Kafka.
func PartitionFor(group string, n int) int32 {
	var h int32
	for _, unit := range utf16.Encode([]rune(group)) { // as a Java String has it
		h = 31*h + int32(unit)
	}
	return (h & 0x7fffffff) % int32(n) //nolint:gosec // n is a number of partitions
}
