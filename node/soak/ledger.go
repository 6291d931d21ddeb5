package soak

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"maps"
	"slices"
)

// ErrLedger means that the log breaks a promise; the text says which and where.
var ErrLedger = errors.New("promise broken")

// A Ledger is fed with the records of one topic, each partition from its first offset on, and holds the
// promises against them: offsets without a gap, order per source, nothing skipped, nothing doubled beyond
// what the source's kind allows. It is not safe for concurrent use.
type Ledger struct {
	// First returns with which sequence a device's connection began. A device starts again at what is not
	// acknowledged, so this is also one past what was acknowledged until then.
	First func(source string, conn int64) (seq int64, ok bool)

	next    map[int32]int64
	sums    map[int32]uint64
	sources map[string]*track
	records int64
	doubled int64
}

// A track is what was seen of one source.
type track struct {
	kind      Kind
	partition int32
	conn      int64
	last      int64 // the sequence seen last
	highest   int64 // the highest sequence seen, -1 when none
	floor     int64 // below it everything was acknowledged before the last record could be sent again
}

var table = crc64.MakeTable(crc64.ECMA)

// NewLedger returns an empty ledger; first may be nil where no devices publish.
func NewLedger(first func(source string, conn int64) (int64, bool)) *Ledger {
	return &Ledger{First: first, next: map[int32]int64{}, sums: map[int32]uint64{}, sources: map[string]*track{}}
}

// Next returns the offset that the partition must continue with.
func (l *Ledger) Next(partition int32) int64 { return l.next[partition] }

// Records and Doubled count what was seen and how much of it was seen before.
func (l *Ledger) Records() int64 { return l.records }

// Doubled counts the records that were stored again after a lost acknowledgement.
func (l *Ledger) Doubled() int64 { return l.doubled }

// Highest returns the highest sequence seen of a source, -1 when none.
func (l *Ledger) Highest(source string) int64 {
	if t := l.sources[source]; t != nil {
		return t.highest
	}
	return -1
}

// SetFloor tells that every record of a plain source before seq was acknowledged before the broker was
// last killed: none of them has a reason to appear again.
func (l *Ledger) SetFloor(source string, seq int64) {
	if t := l.sources[source]; t != nil {
		t.floor = max(t.floor, seq)
	}
}

// Record takes the next record of a partition. Errors: ErrLedger, ErrEntry.
func (l *Ledger) Record(partition int32, offset int64, value []byte) error {
	if want := l.next[partition]; offset != want {
		return fmt.Errorf("%w: partition %d: offset %d follows %d", ErrLedger, partition, offset, want-1)
	}
	l.next[partition] = offset + 1
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], uint64(offset))
	l.sums[partition] = crc64.Update(crc64.Update(l.sums[partition], table, head[:]), table, value)
	l.records++

	e, err := ParseEntry(value)
	if err != nil {
		return fmt.Errorf("partition %d, offset %d: %w", partition, offset, err)
	}
	t := l.sources[e.Source]
	if t == nil {
		t = &track{kind: e.Kind, partition: partition, last: -1, highest: -1}
		l.sources[e.Source] = t
	}
	if err := l.follow(t, partition, e); err != nil {
		return fmt.Errorf("%w: partition %d, offset %d: %s: %w", ErrLedger, partition, offset, e.Source, err)
	}
	if e.Seq <= t.highest {
		l.doubled++
	}
	t.conn, t.last, t.highest = e.Conn, e.Seq, max(t.highest, e.Seq)
	return nil
}

// follow says whether e may come after what was seen of its source.
func (l *Ledger) follow(t *track, partition int32, e Entry) error {
	if partition != t.partition || e.Kind != t.kind {
		return fmt.Errorf("moved from partition %d, kind %c", t.partition, t.kind)
	}
	switch {
	case e.Kind == Device && e.Conn != t.conn:
		return l.reconnected(t, e)
	case e.Seq == t.last+1:
		return nil
	case e.Seq > t.last+1:
		return fmt.Errorf("record %d follows %d: %d are missing", e.Seq, t.last, e.Seq-t.last-1)
	case e.Kind == Idempotent:
		return fmt.Errorf("record %d again, after %d", e.Seq, t.last)
	case e.Kind == Device:
		return fmt.Errorf("record %d follows %d within connection %d", e.Seq, t.last, e.Conn)
	case e.Seq < t.floor:
		return fmt.Errorf("record %d again, though %d were acknowledged long before", e.Seq, t.floor)
	}
	return nil
}

// reconnected says whether a device's connection may begin with e.
func (l *Ledger) reconnected(t *track, e Entry) error {
	if e.Conn < t.conn {
		return fmt.Errorf("record %d of connection %d follows connection %d", e.Seq, e.Conn, t.conn)
	}
	first, ok := l.First(e.Source, e.Conn)
	if !ok {
		return fmt.Errorf("record %d of connection %d, which never was", e.Seq, e.Conn)
	}
	if e.Seq != first {
		return fmt.Errorf("connection %d began with %d, the log has %d first", e.Conn, first, e.Seq)
	}
	if e.Seq > t.highest+1 {
		return fmt.Errorf("record %d follows %d: %d acknowledged are missing", e.Seq, t.highest, e.Seq-t.highest-1)
	}
	return nil
}

// Diff tells how two ledgers of the same topic differ in what they were fed, "" when they do not: what
// was read while the node was killed again and again must be what is read at the end.
func (l *Ledger) Diff(other *Ledger) string {
	for p := range maps.Keys(l.next) {
		if l.next[p] == other.next[p] && l.sums[p] != other.sums[p] {
			return fmt.Sprintf("partition %d: the same %d offsets, but other records", p, l.next[p])
		}
		if l.next[p] > other.next[p] {
			return fmt.Sprintf("partition %d: %d records became %d", p, l.next[p], other.next[p])
		}
	}
	return ""
}

// Sources lists what was seen, sorted.
func (l *Ledger) Sources() []string { return slices.Sorted(maps.Keys(l.sources)) }
