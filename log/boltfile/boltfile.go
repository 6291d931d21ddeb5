package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// PageSize is that of every bbolt file of culvert, on every machine: a card must be readable in another board.
const PageSize = 4096

const (
	magic      = 0xED0CDAED
	format     = 2
	headSize   = 16
	elemSize   = 16
	branchFlag = 0x01
	leafFlag   = 0x02
	bucketFlag = 0x01
	maxDepth   = 32
	maxErrors  = 20
)

// Meta is what a meta page says: where the tree of one transaction begins.
type Meta struct {
	Page  int    // 0 or 1
	Root  uint64 // page of the root bucket
	Pages uint64 // that the file must have
	TxID  uint64
}

// Metas returns the meta pages that are whole, newest first, and what is wrong with the others.
func Metas(data []byte) ([]Meta, error) {
	var metas []Meta
	var errs []error
	for i := range 2 {
		m, err := readMeta(data, i)
		if err != nil {
			errs = append(errs, fmt.Errorf("meta page %d: %w", i, err))
			continue
		}
		metas = append(metas, m)
	}
	if len(metas) == 2 && metas[1].TxID > metas[0].TxID {
		metas[0], metas[1] = metas[1], metas[0]
	}
	return metas, errors.Join(errs...)
}

func readMeta(data []byte, page int) (Meta, error) {
	if len(data) < (page+1)*PageSize {
		return Meta{}, errors.New("missing")
	}
	p := data[page*PageSize+headSize:][:64]
	sum := fnv.New64a()
	_, _ = sum.Write(p[:56])
	switch {
	case binary.LittleEndian.Uint32(p) != magic:
		return Meta{}, errors.New("not a bbolt file")
	case binary.LittleEndian.Uint32(p[4:]) != format:
		return Meta{}, fmt.Errorf("bbolt format %d", binary.LittleEndian.Uint32(p[4:]))
	case binary.LittleEndian.Uint64(p[56:]) != sum.Sum64():
		return Meta{}, errors.New("checksum does not match")
	case binary.LittleEndian.Uint32(p[8:]) != PageSize:
		return Meta{}, fmt.Errorf("pages of %d bytes", binary.LittleEndian.Uint32(p[8:]))
	}
	return Meta{page, binary.LittleEndian.Uint64(p[16:]), binary.LittleEndian.Uint64(p[40:]), binary.LittleEndian.Uint64(p[48:])}, nil
}

// Visit is called for every bucket that is reached, with the names of the buckets from the top down to it and no key, and
// for every key in it, in order. All slices lie in the file's data; path is valid until Visit returns. An error is one of
// the file; the walk goes on.
type Visit func(path [][]byte, key, value []byte) error

// Walk visits all that can be reached from a meta page and returns what could not, or is not as bbolt writes it: pages
// that are used twice or lie outside the file, entries that reach past their page, keys out of order. If it returns no
// error bbolt can open the file. Values are not looked at.
func Walk(data []byte, m Meta, visit Visit) error {
	w := walk{data: data, pages: m.Pages, visit: visit}
	if have := uint64(len(data) / PageSize); m.Pages > have { // what lies before the end may still be read
		w.bad(fmt.Errorf("%d bytes hold fewer than %d pages", len(data), m.Pages))
		w.pages = have
	}
	w.seen = make([]uint64, w.pages/64+1)
	w.page(m.Root, bounds{}, 0)
	return errors.Join(w.errs...)
}

// Check walks a whole file from its newest meta page.
func Check(data []byte) error {
	metas, err := Metas(data)
	if len(metas) == 0 {
		return err
	}
	return Walk(data, metas[0], func([][]byte, []byte, []byte) error { return nil })
}

type walk struct {
	data  []byte
	pages uint64
	seen  []uint64 // a bit per page
	path  [][]byte
	visit Visit
	errs  []error
}

func (w *walk) bad(err error) {
	if err != nil && len(w.errs) < maxErrors {
		w.errs = append(w.errs, err)
	}
}

func (w *walk) badf(format string, args ...any) { w.bad(fmt.Errorf(format, args...)) }

// bounds are the keys between which those of a page must lie: from least on, below limit. Nil is open.
type bounds struct{ least, limit []byte }

func (b bounds) hold(key []byte) bool {
	return (b.least == nil || bytes.Compare(key, b.least) >= 0) && (b.limit == nil || bytes.Compare(key, b.limit) < 0)
}

func (w *walk) page(id uint64, in bounds, depth int) {
	if depth > maxDepth {
		w.badf("page %d: more than %d levels", id, maxDepth)
		return
	}
	if id < 2 || id >= w.pages {
		w.badf("page %d of %d", id, w.pages)
		return
	}
	p := w.data[id*PageSize:]
	overflow := uint64(binary.LittleEndian.Uint32(p[12:]))
	if got := binary.LittleEndian.Uint64(p); got != id {
		w.badf("page %d says it is page %d", id, got)
		return
	}
	if overflow >= w.pages-id {
		w.badf("page %d reaches past the end", id)
		return
	}
	for i := id; i <= id+overflow; i++ {
		if w.seen[i/64]&(1<<(i%64)) != 0 {
			w.badf("page %d is used twice", i)
			return
		}
		w.seen[i/64] |= 1 << (i % 64)
	}
	w.elements(id, p[:(overflow+1)*PageSize], in, depth)
}

func (w *walk) elements(id uint64, p []byte, in bounds, depth int) {
	if len(p) < headSize {
		w.badf("page %d: %d bytes", id, len(p))
		return
	}
	flags, count := binary.LittleEndian.Uint16(p[8:]), int(binary.LittleEndian.Uint16(p[10:]))
	if headSize+count*elemSize > len(p) {
		w.badf("page %d: %d elements do not fit", id, count)
		return
	}
	switch {
	case flags == leafFlag:
		w.leaf(id, p, count, in, depth)
	case flags == branchFlag && count > 0:
		w.branch(id, p, count, in, depth)
	default:
		w.badf("page %d: flags %#x with %d elements", id, flags, count)
	}
}

// slice returns n bytes at position pos behind element i, nil if they do not lie in the page.
func slice(p []byte, i int, pos, n uint32) []byte {
	from := uint64(headSize+i*elemSize) + uint64(pos) //nolint:gosec // a length is not negative
	if from+uint64(n) > uint64(len(p)) {
		return nil
	}
	return p[from : from+uint64(n) : from+uint64(n)]
}

func (w *walk) branch(id uint64, p []byte, count int, in bounds, depth int) {
	key := func(i int) []byte {
		e := p[headSize+i*elemSize:]
		return slice(p, i, binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]))
	}
	for i := range count {
		k := key(i)
		child := bounds{least: k, limit: in.limit}
		if i+1 < count {
			child.limit = key(i + 1)
		}
		if k == nil || child.limit == nil && i+1 < count || !in.hold(k) {
			w.badf("page %d: key %d is out of place", id, i)
		}
		if i == 0 {
			child.least = in.least
		}
		w.page(binary.LittleEndian.Uint64(p[headSize+i*elemSize+8:]), child, depth+1)
	}
}

func (w *walk) leaf(id uint64, p []byte, count int, in bounds, depth int) {
	var before []byte
	for i := range count {
		e := p[headSize+i*elemSize:]
		pos, ksize, vsize := binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
		both := slice(p, i, pos, ksize+vsize)
		if both == nil || ksize+vsize < ksize {
			w.badf("page %d: entry %d reaches past the page", id, i)
			continue
		}
		key, value := both[:ksize:ksize], both[ksize:]
		if !in.hold(key) || before != nil && bytes.Compare(before, key) >= 0 {
			w.badf("page %d: entry %d is out of order", id, i)
		}
		before = key
		if binary.LittleEndian.Uint32(e)&bucketFlag == 0 {
			w.bad(w.visit(w.path, key, value))
			continue
		}
		w.path = append(w.path, key)
		w.bucket(id, value, depth)
		w.path = w.path[:len(w.path)-1]
	}
}

// bucket walks a bucket, whose header is the root page and a sequence; where the root is 0, its only page follows in line.
func (w *walk) bucket(id uint64, header []byte, depth int) {
	if len(header) < 16 {
		w.badf("page %d: bucket of %d bytes", id, len(header))
		return
	}
	w.bad(w.visit(w.path, nil, nil))
	if root := binary.LittleEndian.Uint64(header); root != 0 {
		w.page(root, bounds{}, depth+1)
		return
	}
	if depth >= maxDepth {
		w.badf("page %d: more than %d levels", id, maxDepth)
		return
	}
	w.elements(id, header[16:], bounds{}, depth+1)
}
