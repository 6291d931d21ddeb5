//go:build powercut

package powercut

import (
	"slices"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// page is a piece of a file. It does not change once a content holds it, so that contents may share it.
type page = [pageSize]byte

var zeroPage page

// content is what a file holds. A nil page is a hole, which reads as zeros. All bytes behind size are zero.
type content struct {
	size  int64
	pages []*page
}

func (c *content) clone() content { return content{c.size, slices.Clone(c.pages)} }

// put writes data at off, without a change of size.
func (c *content) put(off int64, data []byte) {
	if need := int((off + int64(len(data)) + pageSize - 1) / pageSize); need > len(c.pages) {
		c.pages = append(c.pages, make([]*page, need-len(c.pages))...)
	}
	for len(data) > 0 {
		i, at := int(off/pageSize), int(off%pageSize)
		n := min(pageSize-at, len(data))
		if n == pageSize {
			c.pages[i] = (*page)(data)
		} else {
			var p page
			if old := c.pages[i]; old != nil {
				p = *old
			}
			copy(p[at:], data[:n])
			c.pages[i] = &p
		}
		off, data = off+int64(n), data[n:]
	}
}

// resize cuts the content, or lengthens it by a hole.
func (c *content) resize(size int64) {
	if size < c.size {
		c.pages = c.pages[:min(int64(len(c.pages)), (size+pageSize-1)/pageSize)]
		if rest := size % pageSize; rest != 0 && int64(len(c.pages)) > size/pageSize && c.pages[size/pageSize] != nil {
			p := *c.pages[size/pageSize]
			clear(p[rest:])
			c.pages[size/pageSize] = &p
		}
	}
	c.size = size
}

// bytes returns n bytes at off, also behind the end.
func (c *content) bytes(off, n int64) []byte {
	b := make([]byte, n)
	for at := int64(0); at < n; {
		i, in := (off+at)/pageSize, (off+at)%pageSize
		step := min(pageSize-in, n-at)
		if i < int64(len(c.pages)) && c.pages[i] != nil {
			copy(b[at:at+step], c.pages[i][in:])
		}
		at += step
	}
	return b
}

// appendTo appends the whole content to b.
func (c *content) appendTo(b []byte) []byte {
	for at := int64(0); at < c.size; at += pageSize {
		p := &zeroPage
		if i := at / pageSize; i < int64(len(c.pages)) && c.pages[i] != nil {
			p = c.pages[i]
		}
		b = append(b, p[:min(pageSize, c.size-at)]...)
	}
	return b
}

// change is one call that altered a file and is not on the disk yet.
type change struct {
	at   int    // the journal's entry
	off  int64  // where data lies, a multiple of a sector
	data []byte // whole sectors, as the file had them right after the call; nil where only the size changed
	end  int64  // the end of what was written, which data may reach past
	size int64  // the new size, where data is nil
}

func (c *change) applyTo(to *content) {
	if c.data == nil {
		to.resize(c.size)
		return
	}
	to.put(c.off, c.data)
	to.size = max(to.size, c.end)
}

// part returns the piece of a write that lies in [from, to), which are offsets of the file.
func (c *change) part(from, to int64) change {
	from, to = max(from, c.off), min(to, c.off+int64(len(c.data)))
	return change{at: c.at, off: from, data: c.data[from-c.off : to-c.off], end: min(c.end, to)}
}
