package group

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
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
	bytes  int64 // about what they take in memory, see cost
	next   int64 // offset behind the newest record applied
}

// cost is about how many bytes of memory an offset takes.
func cost(group string, o Offset) int64 {
	return int64(200 + len(group) + len(o.Topic) + len(o.Metadata))
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
	if ok {
		s.bytes -= cost(group, have.Offset)
	} else {
		s.count++
	}
	s.bytes += cost(group, o.Offset)
	g[o.TopicPartition] = o
}

// growth is how many bytes more the offsets would take with the commits.
func (s *offsets) growth(group string, commits []Offset) (more int64) {
	for _, o := range commits {
		more += cost(group, o)
		if have, ok := s.groups[group][o.TopicPartition]; ok {
			more -= cost(group, have.Offset)
		}
	}
	return more
}

func (s *offsets) remove(group string, tp TopicPartition) {
	g := s.groups[group]
	have, ok := g[tp]
	if !ok {
		return
	}
	s.count--
	s.bytes -= cost(group, have.Offset)
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

// expired returns the offsets committed longer than retention ago, as far as the clock can be trusted. Groups have no
// members here, so each offset expires by itself, as KIP-211 has it for clients that assign partitions to themselves.
func (s *offsets) expired(now time.Time, c clock, retention time.Duration) []keyed {
	limit := now.Add(-retention)
	if now.Before(plausible) {
		return nil
	}
	return s.selected(func(group string, o stored) bool {
		at := time.UnixMilli(o.committed)
		if at.Before(plausible) {
			at = c.opened
		}
		if at.Before(c.stepped) {
			at = c.stepped
		}
		return at.Before(limit) && !strings.HasPrefix(group, internalPrefix)
	})
}

// PartitionFor returns which of n partitions of the offsets topic a group belongs to: the absolute value of Java's hash of
// its name, modulo n, as in Kafka. The one value whose absolute is none counts as 0.
func PartitionFor(group string, n int) int32 {
	var h int32
	for _, unit := range utf16.Encode([]rune(group)) { // as a Java String has it
		h = 31*h + int32(unit)
	}
	if h == math.MinInt32 {
		h = 0
	}
	return max(h, -h) % int32(n)
}
