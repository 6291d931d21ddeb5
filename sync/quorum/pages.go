package quorum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// pageSize is that of the raft log's file on every machine: a card must be readable in another board.
const pageSize = 4096

// Layout of a bbolt file (format 2): pages of a header of 16 bytes (id 8, flags 2, count 2, overflow 4)
// and elements of 16 bytes; a leaf's are flags, position, key size, value size, a branch's position, key
// size, page id. Numbers are in the machine's order, which is little endian on every target.
const (
	boltMagic   = 0xED0CDAED
	boltFormat  = 2
	boltHead    = 16
	boltElement = 16
	branchFlag  = 0x01
	leafFlag    = 0x02
	bucketFlag  = 0x01
	maxDepth    = 32
)

// boltReader walks the pages of a bbolt file without trusting any of them. bbolt itself would panic at a
// damaged page, partly on goroutines of its own, so that a file must have been walked without an error
// before it is opened; and what can be read of a damaged one is saved this way.
type boltReader struct {
	data  []byte
	pages uint64
	seen  []bool
	errs  []error
	// visit is told every bucket of the top level that can be reached, with no key, and then every key in
	// it, in order. The slices lie in data.
	visit func(bucket, key, value []byte)
}

// walkBolt calls visit for all that can be read and returns what could not.
func walkBolt(data []byte, visit func(bucket, key, value []byte)) error {
	root, pages, err := boltMeta(data)
	if err != nil {
		return err
	}
	if pages > uint64(len(data)/pageSize) {
		// The file was cut. What lies before the end may still be read.
		err = fmt.Errorf("%d bytes hold fewer than %d pages", len(data), pages)
		pages = uint64(len(data) / pageSize)
	}
	r := &boltReader{data: data, pages: pages, seen: make([]bool, pages), visit: visit}
	r.page(nil, root, bounds{}, 0)
	return errors.Join(append(r.errs, err)...)
}

// boltMeta returns the root page and the number of pages of the last commit.
func boltMeta(data []byte) (root, pages uint64, err error) {
	var last uint64
	var errs []error
	for i := range 2 {
		if len(data) < (i+1)*pageSize {
			errs = append(errs, fmt.Errorf("meta page %d is missing", i))
			continue
		}
		m := data[i*pageSize+boltHead:][:64]
		sum := fnv.New64a()
		_, _ = sum.Write(m[:56])
		switch {
		case binary.LittleEndian.Uint32(m) != boltMagic || binary.LittleEndian.Uint32(m[4:]) != boltFormat:
			errs = append(errs, fmt.Errorf("meta page %d: not a bbolt file of format %d", i, boltFormat))
		case binary.LittleEndian.Uint64(m[56:]) != sum.Sum64():
			errs = append(errs, fmt.Errorf("meta page %d: checksum mismatch", i))
		case binary.LittleEndian.Uint32(m[8:]) != pageSize:
			errs = append(errs, fmt.Errorf("meta page %d: pages of %d bytes", i, binary.LittleEndian.Uint32(m[8:])))
		default:
			if tx := binary.LittleEndian.Uint64(m[48:]); pages == 0 || tx > last {
				root, pages, last = binary.LittleEndian.Uint64(m[16:]), binary.LittleEndian.Uint64(m[40:]), tx
			}
		}
	}
	if pages == 0 {
		return 0, 0, errors.Join(errs...)
	}
	return root, pages, nil
}

func (r *boltReader) bad(format string, args ...any) {
	if len(r.errs) < 20 {
		r.errs = append(r.errs, fmt.Errorf(format, args...))
	}
}

// bounds are the keys between which those of a page must lie: from least on, below limit. Nil is open.
type bounds struct{ least, limit []byte }

func (b bounds) hold(key []byte) bool {
	return (b.least == nil || bytes.Compare(key, b.least) >= 0) && (b.limit == nil || bytes.Compare(key, b.limit) < 0)
}

// page walks the tree below a page. bucket is nil at the top level.
func (r *boltReader) page(bucket []byte, id uint64, in bounds, depth int) {
	if depth > maxDepth {
		r.bad("page %d: more than %d levels", id, maxDepth)
		return
	}
	if id < 2 || id >= r.pages {
		r.bad("page %d of %d", id, r.pages)
		return
	}
	p := r.data[id*pageSize:]
	overflow := uint64(binary.LittleEndian.Uint32(p[12:]))
	if got := binary.LittleEndian.Uint64(p); got != id {
		r.bad("page %d says it is page %d", id, got)
		return
	}
	if overflow >= r.pages-id {
		r.bad("page %d reaches past the end", id)
		return
	}
	for i := id; i <= id+overflow; i++ {
		if r.seen[i] {
			r.bad("page %d is used twice", i)
			return
		}
		r.seen[i] = true
	}
	r.elements(bucket, id, p[:(overflow+1)*pageSize], in, depth)
}

func (r *boltReader) elements(bucket []byte, id uint64, p []byte, in bounds, depth int) {
	if len(p) < boltHead {
		r.bad("page %d: %d bytes", id, len(p))
		return
	}
	flags, count := binary.LittleEndian.Uint16(p[8:]), int(binary.LittleEndian.Uint16(p[10:]))
	if boltHead+count*boltElement > len(p) {
		r.bad("page %d: %d elements do not fit", id, count)
		return
	}
	switch {
	case flags == leafFlag:
		r.leaf(bucket, id, p, count, in, depth)
	case flags == branchFlag && count > 0:
		r.branch(bucket, id, p, count, in, depth)
	default:
		r.bad("page %d: flags %#x with %d elements", id, flags, count)
	}
}

// slice returns n bytes at position pos behind element i, nil if they do not lie in the page.
func slice(p []byte, i int, pos, n uint32) []byte {
	from := uint64(boltHead+i*boltElement) + uint64(pos)
	if from+uint64(n) > uint64(len(p)) {
		return nil
	}
	return p[from : from+uint64(n) : from+uint64(n)]
}

func (r *boltReader) branch(bucket []byte, id uint64, p []byte, count int, in bounds, depth int) {
	key := func(i int) []byte {
		e := p[boltHead+i*boltElement:]
		return slice(p, i, binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]))
	}
	for i := range count {
		k := key(i)
		child := bounds{least: k, limit: in.limit}
		if i+1 < count {
			child.limit = key(i + 1)
		}
		if k == nil || child.limit == nil && i+1 < count || !in.hold(k) {
			r.bad("page %d: key %d is out of place", id, i)
		}
		if i == 0 {
			child.least = in.least
		}
		r.page(bucket, binary.LittleEndian.Uint64(p[boltHead+i*boltElement+8:]), child, depth+1)
	}
}

func (r *boltReader) leaf(bucket []byte, id uint64, p []byte, count int, in bounds, depth int) {
	var before []byte
	for i := range count {
		e := p[boltHead+i*boltElement:]
		pos, ksize, vsize := binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
		key := slice(p, i, pos, ksize)
		value := slice(p, i, pos, ksize+vsize)
		if key == nil || value == nil || ksize+vsize < ksize {
			r.bad("page %d: entry %d does not fit", id, i)
			continue
		}
		value = value[ksize:]
		if !in.hold(key) || before != nil && bytes.Compare(before, key) >= 0 {
			r.bad("page %d: entry %d is out of order", id, i)
		}
		before = key
		switch isBucket := binary.LittleEndian.Uint32(e)&bucketFlag != 0; {
		case isBucket && bucket == nil:
			r.bucket(key, id, value, depth)
		case isBucket || bucket == nil:
			r.bad("page %d: entry %d is no bucket where one is expected, or the reverse", id, i)
		default:
			r.visit(bucket, key, value)
		}
	}
}

// bucket walks a bucket of the top level. Its header is the root page and a sequence; where the root is
// 0, its only page follows in line.
func (r *boltReader) bucket(name []byte, id uint64, header []byte, depth int) {
	if len(header) < 16 {
		r.bad("page %d: bucket of %d bytes", id, len(header))
		return
	}
	r.visit(name, nil, nil)
	if root := binary.LittleEndian.Uint64(header); root != 0 {
		r.page(name, root, bounds{}, depth+1)
		return
	}
	r.elements(name, id, header[16:], bounds{}, depth+1)
}
