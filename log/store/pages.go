package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// checkPages verifies the structure of a bbolt file without mapping it: meta pages, and every branch and leaf page that
// can be reached, with all positions inside the file and no page reached twice. bbolt itself trusts its pages, so a
// file must pass here before it is opened. Contents are not looked at: batches carry their own CRC.
func checkPages(f io.ReaderAt, size int64) error {
	m, err := readMeta(f)
	if err != nil {
		return err
	}
	if m.pages > uint64(size/blockSize) { //nolint:gosec // a file's size is not negative
		return fmt.Errorf("file of %d bytes is shorter than its %d pages", size, m.pages)
	}
	c := pageCheck{f: f, pages: m.pages, seen: make([]uint64, m.pages/64+1)}
	return c.page(m.root, 0)
}

// Layout of bbolt's pages (version 2 of its file format): a page header of 16 bytes (id 8, flags 2, count 2, overflow 4),
// then elements of 16 bytes. Fields are in the byte order of the machine; every target of culvert is little endian.
const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	boltPageHead = 16
	boltElem     = 16
	boltBranch   = 0x01
	boltLeaf     = 0x02
	boltBucket   = 0x01
	boltDepth    = 64
)

type boltMeta struct{ root, pages, txid uint64 }

func readMeta(f io.ReaderAt) (boltMeta, error) {
	best, bad := readMetas(f)
	if best.pages == 0 {
		return best, bad
	}
	return best, nil
}

// checkMetas tells whether a meta page is not what was written. The other one serves in its place, but it may be older by
// a commit. No crash does that: what bbolt writes of a meta page lies in one sector.
func checkMetas(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, bad := readMetas(f)
	return errors.Join(bad, f.Close())
}

// readMetas returns the newest meta page that is whole, with no pages if there is none, and what is wrong with the others.
func readMetas(f io.ReaderAt) (boltMeta, error) {
	var best boltMeta
	var errs []error
	found := false
	for i := range int64(2) {
		var b [boltPageHead + 64]byte
		if _, err := f.ReadAt(b[:], i*blockSize); err != nil {
			errs = append(errs, fmt.Errorf("meta page %d: %w", i, err))
			continue
		}
		p := b[boltPageHead:]
		h := fnv.New64a()
		_, _ = h.Write(p[:56])
		switch {
		case binary.LittleEndian.Uint32(p) != boltMagic:
			errs = append(errs, fmt.Errorf("meta page %d: not a bbolt file", i))
		case binary.LittleEndian.Uint32(p[4:]) != boltVersion:
			errs = append(errs, fmt.Errorf("meta page %d: bbolt format %d", i, binary.LittleEndian.Uint32(p[4:])))
		case h.Sum64() != binary.LittleEndian.Uint64(p[56:]):
			errs = append(errs, fmt.Errorf("meta page %d: checksum does not match", i))
		case binary.LittleEndian.Uint32(p[8:]) != blockSize:
			errs = append(errs, fmt.Errorf("meta page %d: page size %d", i, binary.LittleEndian.Uint32(p[8:])))
		default:
			m := boltMeta{root: binary.LittleEndian.Uint64(p[16:]), pages: binary.LittleEndian.Uint64(p[40:]), txid: binary.LittleEndian.Uint64(p[48:])}
			if !found || m.txid > best.txid {
				best, found = m, true
			}
		}
	}
	return best, errors.Join(errs...)
}

type pageCheck struct {
	f     io.ReaderAt
	pages uint64
	seen  []uint64 // a bit per page
}

func (c *pageCheck) page(id uint64, depth int) error {
	if depth > boltDepth {
		return fmt.Errorf("page %d: deeper than %d levels", id, boltDepth)
	}
	if id < 2 || id >= c.pages {
		return fmt.Errorf("page %d of %d", id, c.pages)
	}
	head := make([]byte, blockSize)
	off := int64(id) * blockSize //nolint:gosec // below the file's size
	if _, err := c.f.ReadAt(head, off); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	overflow := uint64(binary.LittleEndian.Uint32(head[12:]))
	if got := binary.LittleEndian.Uint64(head); got != id {
		return fmt.Errorf("page %d says it is page %d", id, got)
	}
	if overflow >= c.pages-id {
		return fmt.Errorf("page %d reaches past the file", id)
	}
	for p := id; p <= id+overflow; p++ {
		if c.seen[p/64]&(1<<(p%64)) != 0 {
			return fmt.Errorf("page %d is used twice", p)
		}
		c.seen[p/64] |= 1 << (p % 64)
	}
	read := func(pos, n int64) ([]byte, error) {
		if pos+n <= blockSize {
			return head[pos : pos+n], nil
		}
		b := make([]byte, n)
		_, err := c.f.ReadAt(b, off+pos)
		return b, err
	}
	return c.elements(id, int64(overflow+1)*blockSize, read, depth) //nolint:gosec // checked to be within the file
}

// elements checks a branch or leaf page of size bytes, of which read returns n bytes at pos.
func (c *pageCheck) elements(id uint64, size int64, read func(pos, n int64) ([]byte, error), depth int) error {
	head, err := read(0, boltPageHead)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	flags, count := binary.LittleEndian.Uint16(head[8:]), int64(binary.LittleEndian.Uint16(head[10:]))
	if flags != boltBranch && flags != boltLeaf {
		return fmt.Errorf("page %d: flags %#x", id, flags)
	}
	if boltPageHead+count*boltElem > size {
		return fmt.Errorf("page %d: %d elements do not fit", id, count)
	}
	if flags == boltBranch && count == 0 {
		return fmt.Errorf("page %d: branch without elements", id)
	}
	elems, err := read(boltPageHead, count*boltElem)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i := range count {
		e := elems[i*boltElem : (i+1)*boltElem]
		at := boltPageHead + i*boltElem
		if flags == boltBranch {
			pos, ksize := int64(binary.LittleEndian.Uint32(e)), int64(binary.LittleEndian.Uint32(e[4:]))
			if at+pos+ksize > size {
				return fmt.Errorf("page %d: key %d reaches past the page", id, i)
			}
			if err := c.page(binary.LittleEndian.Uint64(e[8:]), depth+1); err != nil {
				return err
			}
			continue
		}
		pos, ksize, vsize := int64(binary.LittleEndian.Uint32(e[4:])), int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))
		if at+pos+ksize+vsize > size {
			return fmt.Errorf("page %d: entry %d reaches past the page", id, i)
		}
		if binary.LittleEndian.Uint32(e)&boltBucket == 0 {
			continue
		}
		if err := c.bucket(id, at+pos+ksize, vsize, read, depth); err != nil {
			return err
		}
	}
	return nil
}

// bucket checks a bucket whose header of 16 bytes (root page 8, sequence 8) is at pos; a root of 0 means that its only
// page follows in line.
func (c *pageCheck) bucket(id uint64, pos, size int64, read func(pos, n int64) ([]byte, error), depth int) error {
	if size < 16 {
		return fmt.Errorf("page %d: bucket of %d bytes", id, size)
	}
	head, err := read(pos, 16)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if root := binary.LittleEndian.Uint64(head); root != 0 {
		return c.page(root, depth+1)
	}
	if size < 16+boltPageHead {
		return fmt.Errorf("page %d: inline bucket of %d bytes", id, size)
	}
	inline := func(p, n int64) ([]byte, error) { return read(pos+16+p, n) }
	if depth > boltDepth {
		return fmt.Errorf("page %d: deeper than %d levels", id, boltDepth)
	}
	return c.elements(id, size-16, inline, depth+1)
}
