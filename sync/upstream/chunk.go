package upstream

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/log/record"
)

// item is one record on its way.
type item struct {
	rec    kgo.Record // the producer's, until it has answered
	offset int64      // in the source partition
	ts     int64      // in ms
	done   bool       // confirmed, or passed over
	err    error      // why it was not
}

// chunk is what was read from a partition at once. Its records share memory, which is held until all are confirmed.
type chunk struct {
	items   []item
	next    int64         // where the partition continues once all items are done
	bytes   int64         // of the budget
	head    int           // items before it are done
	pending int           // items handed to the producer that have no answer yet
	settled chan struct{} // closed when pending falls to zero; nil when nobody waits
	losses  []loss        // what was found missing or damaged while reading it, in order
	large   bool          // its only item does not fit into a batch of the usual size
}

// loss is a range that the log no longer has. It counts once the position passes it.
type loss struct {
	to    int64 // where it ends
	count int64 // offsets of it that have not been confirmed
	cause error // nil: removed by retention, or with a segment that was set aside; else why it cannot be read
}

// recordOverhead is what a record on its way costs beside its bytes: its item, and the producer's entry.
const recordOverhead = 320

// maxDecompressed is the most that the records of one batch may take when they are decompressed; one that takes more is
// counted as damaged.
const maxDecompressed = 256 << 20

// overrun is how far a chunk may exceed its grant to take in a whole batch, which would have to be decompressed again
// for the rest of it.
const overrun = 512 << 10

// decoder reads chunks. It must not be used by two goroutines at once.
type decoder struct {
	maxBatch int64 // records of this size and more travel alone
	reader   record.Reader
	names    map[string]string // header names, of which there are few
	block    []byte            // where copies go, of the chunk that is being read
	room     int               // size of its next block
}

func newDecoder(maxBatch int32) *decoder {
	// What a batch has beside the record: its header, and the record's own lengths.
	return &decoder{maxBatch: int64(maxBatch) - record.HeaderSize - 64, names: map[string]string{}}
}

// read takes records from p, from the offset from on and leaving out the offsets in skip (ascending): about max bytes
// of memory and no more than count records. A nil chunk means that there is nothing to read yet.
func (d *decoder) read(p Partition, from int64, skip []int64, max int64, count int) (*chunk, error) {
	c := &chunk{next: from}
	if start := p.StartOffset(); from < start {
		c.lose(start, skip, nil)
	}
	span, err := p.Read(c.next, int(max))
	if err != nil {
		// Retention may have been faster.
		if start := p.StartOffset(); c.next < start {
			c.lose(start, skip, nil)
			return c, nil
		}
		return nil, fmt.Errorf("upstream: reading %s-%d at %d: %w", p.Topic(), p.Index(), c.next, err)
	}
	defer span.release()
	defer d.reader.Close()
	d.block, d.room = nil, minBlock
	for _, b := range span.Batches {
		if b.NextOffset() <= c.next {
			continue
		}
		if b.BaseOffset() > c.next {
			c.lose(b.BaseOffset(), skip, nil)
		}
		if len(c.items) >= count || c.bytes >= max {
			break
		}
		if b.Attributes().Control() {
			c.next = b.NextOffset()
			continue
		}
		whole, err := d.batch(c, b, skip, max, count)
		if err != nil {
			c.lose(b.NextOffset(), skip, err)
		} else if !whole {
			break
		}
	}
	if c.next == from {
		return nil, nil
	}
	return c, nil
}

// batch takes the records of one batch and tells whether it took all. After an error the rest of it is unreadable.
func (d *decoder) batch(c *chunk, b record.Batch, skip []int64, max int64, count int) (whole bool, err error) {
	if !b.VerifyCRC() {
		return false, record.ErrCorrupt
	}
	if err := d.reader.Reset(b, maxDecompressed); err != nil {
		return false, err
	}
	for d.reader.Next() {
		r := d.reader.Record()
		if r.Offset < c.next {
			continue
		}
		if contains(skip, r.Offset) {
			c.next = r.Offset + 1
			continue
		}
		size := sizeOf(r)
		large := size > d.maxBatch
		if len(c.items) > 0 && (large || c.large) || len(c.items) >= count || c.bytes >= max+overrun {
			return false, nil
		}
		c.large = large
		d.add(c, r, size)
		c.next = r.Offset + 1
	}
	if err := d.reader.Err(); err != nil {
		return false, err
	}
	c.next = b.NextOffset()
	return true, nil
}

func sizeOf(r *record.Record) int64 {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value) + 10
	}
	return int64(n)
}

func (d *decoder) add(c *chunk, r *record.Record, size int64) {
	it := item{offset: r.Offset, ts: r.Timestamp}
	it.rec.Key, it.rec.Value = d.copy(r.Key), d.copy(r.Value)
	it.rec.Timestamp = time.UnixMilli(r.Timestamp)
	it.rec.Partition = -1
	if n := len(r.Headers); n > 0 {
		it.rec.Headers = make([]kgo.RecordHeader, n)
		for i := range r.Headers {
			it.rec.Headers[i] = kgo.RecordHeader{Key: d.name(r.Headers[i].Key), Value: d.copy(r.Headers[i].Value)}
		}
	}
	c.items = append(c.items, it)
	c.bytes += size + recordOverhead + int64(len(r.Headers))*40
}

// copy moves bytes into memory of the chunk; nil stays nil.
func (d *decoder) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	if len(b) > cap(d.block)-len(d.block) {
		if len(b) > d.room/2 {
			return append(make([]byte, 0, len(b)), b...)
		}
		d.block = make([]byte, 0, d.room)
		d.room = min(2*d.room, maxBlock)
	}
	n := len(d.block)
	d.block = append(d.block, b...)
	return d.block[n:len(d.block):len(d.block)]
}

// Blocks begin small: a quiet partition's chunk is a record or two.
const (
	minBlock = 256
	maxBlock = 16 << 10
)

// name returns the header name as a string, the same one for the same name.
func (d *decoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.names) < 256 && len(s) <= 64 {
		d.names[s] = s
	}
	return s
}

// lose moves on to an offset, because there is nothing to be had before it. What was confirmed is not lost.
func (c *chunk) lose(to int64, skip []int64, cause error) {
	if n := to - c.next - countBetween(skip, c.next, to); n > 0 {
		c.losses = append(c.losses, loss{to, n, cause})
	}
	c.next = to
}
