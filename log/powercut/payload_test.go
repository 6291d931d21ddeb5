//go:build powercut

package powercut

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// decodeLimit bounds what a batch may decompress to, in bytes.
const decodeLimit = 1 << 20

// appendValue appends the value that the record at an offset of a partition has, of size bytes or as long as its beginning.
// It follows from the partition's topic id, the leader epoch, the offset and the size alone, so that everybody can tell a
// right one, also from one that was there before the log was truncated.
func appendValue(dst []byte, topicID [16]byte, epoch int32, offset int64, size int) []byte {
	begin := len(dst)
	dst = fmt.Appendf(dst, "%x/%d/%d/%d.", topicID[:4], epoch, offset, size)
	size = max(size, len(dst)-begin)
	x := binary.LittleEndian.Uint64(topicID[:]) ^ uint64(offset)*0x9e3779b97f4a7c15 ^ uint64(epoch) | 1
	for len(dst)-begin < size { // does not compress
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		dst = binary.LittleEndian.AppendUint64(dst, x)
	}
	return dst[:begin+size]
}

// valueSize reads the size that a value was made with, -1 where it says none.
func valueSize(v []byte) int {
	head, _, _ := bytes.Cut(v[:min(len(v), 60)], []byte("."))
	size, err := strconv.Atoi(string(head[bytes.LastIndexByte(head, '/')+1:]))
	if err != nil || size > decodeLimit {
		return -1
	}
	return size
}

// Compaction keeps the last record of every key. Whether a partition is compacted at all, how many keys it has, and which
// one a record has, follows from its topic id and offset, so that everybody can tell which records may be missing.

// compacted tells whether compaction touches a partition.
func compacted(topicID [16]byte) bool { return topicID[0]%2 == 1 }

// keyOf returns a record's key.
func keyOf(topicID [16]byte, offset int64) []byte {
	x := (uint64(offset) + uint64(topicID[2])) * 0x9e3779b97f4a7c15
	return []byte{'k', 'a' + byte(x>>40)%(2+topicID[1]%5)}
}

// superseded tells whether a record of the same key lies between one and an end.
func superseded(topicID [16]byte, offset, end int64) bool {
	for at := offset + 1; at < end; at++ {
		if bytes.Equal(keyOf(topicID, at), keyOf(topicID, offset)) {
			return true
		}
	}
	return false
}

// reading goes through the batches of a partition.
type reading struct {
	info    store.PartitionInfo
	state   *store.PartitionState // nil where it may change
	cleaned int64                 // compaction has been asked to remove what is superseded before it
	next    int64
	records int64 // seen
	scratch []byte
}

// skip passes over offsets that nothing has.
func (r *reading) skip(to int64) error {
	for ; r.next < to; r.next++ {
		if !superseded(r.info.TopicID, r.next, r.cleaned) {
			return fmt.Errorf("offset %d is missing, the next one that is there is %d", r.next, to)
		}
	}
	return nil
}

// batch verifies the next batch, of which what lies before the offset that is next has been seen or is not asked for.
func (r *reading) batch(b record.Batch) error {
	var of record.Reader
	defer of.Close()
	if err := of.Reset(b, decodeLimit); err != nil {
		return fmt.Errorf("batch at %d: %w", b.BaseOffset(), err)
	}
	if b.NextOffset() <= r.next {
		return fmt.Errorf("a batch of offsets %d to %d where %d comes next", b.BaseOffset(), b.LastOffset(), r.next)
	}
	if r.state != nil && b.LeaderEpoch() != r.state.EpochAt(b.BaseOffset()) {
		return fmt.Errorf("the batch at %d is of epoch %d, not %d", b.BaseOffset(), b.LeaderEpoch(), r.state.EpochAt(b.BaseOffset()))
	}
	for of.Next() {
		rec := of.Record()
		r.scratch = appendValue(r.scratch[:0], r.info.TopicID, b.LeaderEpoch(), rec.Offset, max(valueSize(rec.Value), 0))
		if !bytes.Equal(rec.Value, r.scratch) || !bytes.Equal(rec.Key, keyOf(r.info.TopicID, rec.Offset)) {
			return fmt.Errorf("record at offset %d is %q %.60q, not %.60q", rec.Offset, rec.Key, rec.Value, r.scratch)
		}
		if rec.Offset < r.next { // before the start
			continue
		}
		if err := r.skip(rec.Offset); err != nil {
			return err
		}
		r.next++
		r.records++
	}
	if err := of.Err(); err != nil {
		return fmt.Errorf("batch at %d: %w", b.BaseOffset(), err)
	}
	return r.skip(b.NextOffset())
}

// header returns the first bytes of a batch, which is all that the state of a partition is made of.
func header(b record.Batch) record.Batch { return append(record.Batch(nil), b[:record.HeaderSize]...) }

// singleHeader makes the header of a batch of one record at an offset.
func singleHeader(offset int64, epoch int32) record.Batch {
	var b record.Builder
	b.Append(0, nil, nil, nil)
	return header(b.Finish(offset, epoch, record.None, nil))
}
