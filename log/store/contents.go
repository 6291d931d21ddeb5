package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/log/record"
)

const checkMagic = "CVCC"

// checkKey is behind all other keys of a commit.
var checkKey = itemKey(nil, opPartition, -1)

// commit is what one bucket of a segment holds.
type commit struct {
	seq     uint64
	ops     []op
	entries []Entry // by partition and offset
	bad     []badBatch
	err     error // what is wrong with it; then ops and entries are those that are whole
	summed  bool  // keys and operations are what was written
}

// badBatch is a batch that is not what was written.
type badBatch struct {
	partition uint32
	base      int64 // as its key says
	data      []byte
}

// commitSum sums up a commit, so that one of which a part never reached the device is told from one that is whole, and a
// missing one is noticed: the sequence of the commit before, every key, the bytes of operations, and of batches the header
// up to their own CRC.
//
// The number of the transaction is there because pages are used again: where a new meta page reached the device and the
// root page that it leads to did not, an older root may lie in its place, which is whole, and lacks the commit.
type commitSum struct {
	tx     uint64
	seq    uint64
	before uint64
	count  uint32
	crc    uint32
}

func (s *commitSum) add(k, v []byte) {
	if binary.BigEndian.Uint32(k) != opPartition {
		v = v[:min(len(v), 21)]
	}
	s.crc = crc32.Update(crc32.Update(s.crc, castagnoli, k), castagnoli, v)
	s.count++
}

func (s *commitSum) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.tx)
	b = binary.BigEndian.AppendUint64(b, s.seq)
	b = binary.BigEndian.AppendUint64(b, s.before)
	b = binary.BigEndian.AppendUint32(b, s.count)
	return seal(checkMagic, binary.BigEndian.AppendUint32(b, s.crc))
}

// commitReader takes the entries of a commit, in order, and checks them.
type commitReader struct {
	commit
	sum   commitSum
	check []byte
	raw   []rawEntry
}

// rawEntry is an entry of a commit as it was found.
type rawEntry struct{ k, v []byte }

func (r *commitReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *commitReader) add(k, v []byte) {
	if len(k) != 12 {
		r.fail(fmt.Errorf("key %x", k))
		return
	}
	if bytes.Equal(k, checkKey) {
		r.check = v
		return
	}
	r.sum.add(k, v)
	r.raw = append(r.raw, rawEntry{k, v})
	r.take(k, v)
}

// take reads an entry.
func (r *commitReader) take(k, v []byte) {
	if id := binary.BigEndian.Uint32(k); id != opPartition {
		b, err := checkBatch(k, v)
		if err != nil {
			r.fail(fmt.Errorf("partition %d: %w", id, err))
			r.bad = append(r.bad, badBatch{id, int64(binary.BigEndian.Uint64(k[4:])), v})
			return
		}
		r.entries = append(r.entries, Entry{id, b})
		return
	}
	o, err := decodeOp(v)
	if err != nil {
		r.fail(err)
		return
	}
	r.ops = append(r.ops, o)
}

// end checks the commit against the sequence of the one before it.
func (r *commitReader) end(before uint64) *commit {
	r.sum.before = before
	if body, err := unseal(checkMagic, r.check); err == nil && len(body) >= 16 {
		r.sum.tx, r.sum.seq = binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:])
	}
	if r.sum.seq != r.seq {
		r.fail(fmt.Errorf("it is commit %d", r.sum.seq))
		if r.sum.seq != 0 {
			r.seq = r.sum.seq
		}
	}
	if r.summed = bytes.Equal(r.check, r.sum.encode()); !r.summed {
		r.fail(errors.New("it is not whole"))
		r.mend()
	}
	return &r.commit
}

// mendable is the number of entries up to which a flipped bit is looked for in the keys of a commit.
const mendable = 200

// mend looks for one bit in what the sum covers that makes it right, and reads the commit as if it were not flipped. The
// commit stays damaged all the same: bbolt finds nothing under such a key.
func (r *commitReader) mend() {
	body, err := unseal(checkMagic, r.check)
	if err != nil { // it is the sum itself that is damaged
		r.summed = true
		return
	}
	if len(body) < 32 || int64(binary.BigEndian.Uint32(body[24:])) != int64(len(r.raw)) || len(r.raw) > mendable {
		return
	}
	want := binary.BigEndian.Uint32(body[28:])
	before := commitSum{}
	for i, e := range r.raw {
		covered := append(bytes.Clone(e.k), e.v[:min(len(e.v), 21)]...)
		for bit := range len(covered) * 8 {
			covered[bit/8] ^= 1 << (bit % 8)
			sum := before
			sum.crc = crc32.Update(sum.crc, castagnoli, covered)
			for _, rest := range r.raw[i+1:] {
				sum.add(rest.k, rest.v)
			}
			if sum.crc != want {
				covered[bit/8] ^= 1 << (bit % 8)
				continue
			}
			r.raw[i] = rawEntry{covered[:len(e.k):len(e.k)], append(covered[len(e.k):], e.v[min(len(e.v), 21):]...)}
			r.ops, r.entries, r.bad, r.summed = nil, nil, nil, true
			for _, e := range r.raw {
				r.take(e.k, e.v)
			}
			return
		}
		before.add(e.k, e.v)
	}
}

// header is what a segment says of itself.
type header struct {
	created time.Time
	state   []byte // block CVST, not looked at
	after   []byte // likewise, of a segment that was rewritten
	summary *summary
	index   map[uint32][]byte // blocks CVIX of a sealed segment, not looked at
	found   bool
	last    uint64 // sequence of the newest commit; where there is none, of the newest in the segment before
	tx      uint64 // number of the newest transaction that left something here
}

// readContents reads a segment's file from one of its meta pages: begin is called with the header, then fn for every
// commit that can be reached, in order, also for those that are damaged. It returns what is wrong with the file beside
// that, and what they return. Everything lies in data.
func readContents(data []byte, m boltfile.Meta, number uint64, begin func(*header) error, fn func(*commit) error) (*header, error) {
	h := &header{index: make(map[uint32][]byte)}
	var cur *commitReader
	var errs []error
	begun := false
	flush := func() {
		if !begun {
			begun = true
			errs = append(errs, begin(h))
		}
		if cur == nil {
			return
		}
		r := cur
		c := r.end(h.last)
		cur = nil
		h.last, h.tx = c.seq, max(h.tx, r.sum.tx)
		errs = append(errs, fn(c))
	}
	err := boltfile.Walk(data, m, func(path [][]byte, key, value []byte) error {
		switch {
		case len(path) == 0:
			return fmt.Errorf("key %.20x outside a bucket", key)
		case bytes.Equal(path[0], keyHeader):
			return h.read(path[1:], key, value, number)
		case len(path) != 1 || len(path[0]) != 8:
			return fmt.Errorf("bucket %.20x", path[len(path)-1])
		case key == nil:
			flush()
			cur = &commitReader{commit: commit{seq: binary.BigEndian.Uint64(path[0])}}
			return nil
		}
		cur.add(key, value)
		return nil
	})
	flush()
	if err == nil && !h.found {
		err = errors.New("no header")
	}
	if err == nil && h.created.IsZero() {
		err = errors.New("header without a number")
	}
	return h, errors.Join(append(errs, err)...)
}

func (h *header) read(path [][]byte, key, value []byte, number uint64) error {
	switch {
	case len(path) == 1 && bytes.Equal(path[0], keyIndex) && len(key) == 4:
		h.index[binary.BigEndian.Uint32(key)] = value
	case len(path) > 0:
		if key != nil {
			return fmt.Errorf("key %.20x in the header", key)
		}
	case key == nil:
		h.found = true
	case bytes.Equal(key, keySegment):
		body, err := unseal(segmentMagic, value)
		if err != nil || len(body) < 32 || binary.BigEndian.Uint64(body) != number {
			return errors.Join(errors.New("header"), err)
		}
		h.created = time.UnixMilli(int64(binary.BigEndian.Uint64(body[8:])))
		h.last, h.tx = binary.BigEndian.Uint64(body[16:]), max(h.tx, binary.BigEndian.Uint64(body[24:]))
	case bytes.Equal(key, keyState):
		h.state = value
	case bytes.Equal(key, keyAfter):
		h.after = value
	case bytes.Equal(key, keySummary):
		sum, err := decodeSummary(value)
		h.summary = sum
		if sum != nil {
			h.tx = max(h.tx, sum.Tx)
		}
		return err
	default:
		return fmt.Errorf("key %.20x in the header", key)
	}
	return nil
}

// openSized opens a file for reading that must fit into memory.
func openSized(path string) (*os.File, int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && st.Size() > math.MaxInt {
		err = fmt.Errorf("%s: %d bytes", path, st.Size())
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, int(st.Size()), nil
}

// mapFile maps a whole file for reading; end takes the map away. Reading it may fault: see guard.
func mapFile(path string) (data []byte, end func(), err error) {
	f, size, err := openSized(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if size == 0 {
		return nil, func() {}, nil
	}
	if data, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, nil, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	return data, func() { _ = unix.Munmap(data) }, nil // of a map that is there
}

// checkBatch verifies a stored batch, against its key and its CRC.
func checkBatch(k, v []byte) (record.Batch, error) {
	b, err := shapeOf(k, v)
	if err == nil && !b.VerifyCRC() {
		return nil, fmt.Errorf("batch at offset %d: checksum does not match", b.BaseOffset())
	}
	return b, err
}

// shapeOf verifies a stored batch against its key.
func shapeOf(k, v []byte) (record.Batch, error) {
	b, rest, err := record.Split(v)
	switch {
	case err != nil:
		return nil, err
	case len(rest) != 0:
		return nil, fmt.Errorf("%d bytes behind a batch", len(rest))
	case uint64(b.BaseOffset()) != binary.BigEndian.Uint64(k[4:]):
		return nil, fmt.Errorf("batch at offset %d says %d", binary.BigEndian.Uint64(k[4:]), b.BaseOffset())
	}
	return b, nil
}
