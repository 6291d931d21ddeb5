package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"github.com/culvert-mq/culvert/log/record"
)

// indexEntry tells where a run of one partition's batches lies: those of one commit.
type indexEntry struct {
	base, next int64 // offsets, next is behind the last record
	maxTime    int64 // largest timestamp, ms
	seq        uint64
	bytes      int64 // of the batches
	records    int64 // in them
}

const (
	indexMagic     = "CVIX"
	indexEntrySize = 48
)

func encodeIndex(entries []indexEntry) []byte {
	b := make([]byte, 0, len(entries)*indexEntrySize)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, uint64(e.base))
		b = binary.BigEndian.AppendUint64(b, uint64(e.next))
		b = binary.BigEndian.AppendUint64(b, uint64(e.maxTime))
		b = binary.BigEndian.AppendUint64(b, e.seq)
		b = binary.BigEndian.AppendUint64(b, uint64(e.bytes))
		b = binary.BigEndian.AppendUint64(b, uint64(e.records))
	}
	return seal(indexMagic, b)
}

// packedIndex is an index as it lies in a sealed segment.
type packedIndex []byte

func openIndex(b []byte) (packedIndex, error) {
	body, err := unseal(indexMagic, b)
	if err != nil {
		return nil, err
	}
	if len(body)%indexEntrySize != 0 {
		return nil, fmt.Errorf("index of %d bytes: %w", len(body), errTruncated)
	}
	return body, nil
}

func (p packedIndex) len() int { return len(p) / indexEntrySize }

func (p packedIndex) at(i int) indexEntry {
	b := p[i*indexEntrySize:]
	return indexEntry{
		base: int64(binary.BigEndian.Uint64(b)), next: int64(binary.BigEndian.Uint64(b[8:])),
		maxTime: int64(binary.BigEndian.Uint64(b[16:])), seq: binary.BigEndian.Uint64(b[24:]),
		bytes: int64(binary.BigEndian.Uint64(b[32:])), records: int64(binary.BigEndian.Uint64(b[40:])),
	}
}

// holds reports whether the index has a batch, in the commit of a sequence.
func (p packedIndex) holds(seq uint64, b record.Batch) bool {
	i := sort.Search(p.len(), func(i int) bool { return p.at(i).seq >= seq })
	if i == p.len() {
		return false
	}
	e := p.at(i)
	return e.seq == seq && e.base <= b.BaseOffset() && b.NextOffset() <= e.next
}

// summary is what opening a store needs of a sealed segment.
type summary struct {
	Last       uint64 // sequence of the newest commit
	Tx         uint64 // number of the transaction that wrote it
	Partitions []runSummary
}

// runSummary sums up a partition's batches in one segment.
type runSummary struct {
	ID         uint32
	Base, Next int64
	MaxTime    int64
	Bytes      int64
	Records    int64
}

func (r runSummary) run() Run { return Run{r.Base, r.Next, r.MaxTime, r.Bytes, r.Records} }

// bytes returns the size of all batches.
func (s summary) bytes() int64 {
	n := int64(0)
	for _, p := range s.Partitions {
		n += p.Bytes
	}
	return n
}

const (
	summaryMagic = "CVSM"
)

func (s summary) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.Last)
	b = binary.BigEndian.AppendUint64(b, s.Tx)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.Partitions))) //nolint:gosec // bounded by the ids
	for _, p := range s.Partitions {
		b = binary.BigEndian.AppendUint32(b, p.ID)
		for _, v := range []int64{p.Base, p.Next, p.MaxTime, p.Bytes, p.Records} {
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
	}
	return seal(summaryMagic, b)
}

func decodeSummary(b []byte) (*summary, error) {
	body, err := unseal(summaryMagic, b)
	if err != nil {
		return nil, err
	}
	r := reader{b: body}
	s := &summary{Last: r.u64(), Tx: r.u64()}
	for range r.count(44) {
		s.Partitions = append(s.Partitions, runSummary{r.u32(), r.i64(), r.i64(), r.i64(), r.i64(), r.i64()})
	}
	return s, r.end()
}

// summarize builds the summary of a segment from its index.
func summarize(last uint64, index map[uint32][]indexEntry) summary {
	s := summary{Last: last}
	for id, entries := range index {
		if len(entries) == 0 {
			continue
		}
		p := runSummary{ID: id, Base: entries[0].base, Next: entries[len(entries)-1].next, MaxTime: entries[0].maxTime}
		for _, e := range entries {
			p.MaxTime, p.Bytes, p.Records = max(p.MaxTime, e.maxTime), p.Bytes+e.bytes, p.Records+e.records
		}
		s.Partitions = append(s.Partitions, p)
	}
	slices.SortFunc(s.Partitions, func(a, b runSummary) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

// indexCommit calls fn with the index entry of every partition in a commit's entries, which are sorted.
func indexCommit(seq uint64, entries []Entry, fn func(partition uint32, e indexEntry)) {
	for len(entries) > 0 {
		id := entries[0].Partition
		e := indexEntry{base: entries[0].Batch.BaseOffset(), seq: seq, maxTime: entries[0].Batch.MaxTimestamp()}
		for len(entries) > 0 && entries[0].Partition == id {
			e.add(entries[0].Batch)
			entries = entries[1:]
		}
		fn(id, e)
	}
}

// indexInto adds a commit to an index, and takes out of it what the commit truncates.
func indexInto(index map[uint32][]indexEntry, c *commit) {
	for _, o := range c.ops {
		if o.kind == opReset {
			index[o.info.ID] = cutIndex(index[o.info.ID], o.cutAt())
		}
	}
	indexCommit(c.seq, c.entries, func(id uint32, e indexEntry) { index[id] = append(index[id], e) })
}

func (e *indexEntry) add(b record.Batch) {
	e.next, e.maxTime = b.NextOffset(), max(e.maxTime, b.MaxTimestamp())
	e.bytes, e.records = e.bytes+int64(b.Size()), e.records+int64(b.Count())
}

// firstReaching returns the first of n runs, sorted by offset, that ends behind offset from; n if there is none.
func firstReaching(n int, from int64, next func(i int) int64) int {
	lo, hi := 0, n
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); next(mid) <= from {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
