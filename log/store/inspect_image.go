package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/log/record"
)

// maxUnreadable bounds the pages of a file that are taken for zeros because the device cannot read them.
const maxUnreadable = 4096

// image is a file that is mapped for reading. Where a page of it cannot be read, because its sector is bad or somebody cut
// the file, it becomes zeros, and what it held is missed by whoever checks it.
type image struct {
	path     string
	data     []byte
	mapped   bool              // data is a map, and not memory
	bad      []unreadableError // pages that became zeros
	vanished bool              // the file is shorter than it was
	work     int64             // bytes that may still be summed up, so that values which overlap do not take for ever
	unmap    func()
}

func openImage(path string) (*image, error) {
	if _, err := regular(path); err != nil {
		return nil, err
	}
	data, end, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	return &image{path: path, data: data, mapped: len(data) > 0, unmap: end}, nil
}

func (im *image) close() { im.unmap() }

// try runs fn, which reads the image, and returns why it did not come to its end: a page could not be read, and is zeros
// from now on, or something in fn panicked over what it read. again says that trying again leads further.
func (im *image) try(fn func()) (again bool, err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			again, err = im.blame(r)
		}
	}()
	fn()
	return false, nil
}

// blame turns a panic into an error.
func (im *image) blame(r any) (again bool, err error) {
	fault, ok := r.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok || !im.mapped {
		return false, fmt.Errorf("it cannot be read: %v", r)
	}
	base := uintptr(unsafe.Pointer(&im.data[0]))
	at := fault.Addr() - base
	if at >= uintptr(len(im.data)) {
		return false, fmt.Errorf("it cannot be read: %v", r)
	}
	if len(im.bad) == maxUnreadable {
		return false, fmt.Errorf("more than %d pages cannot be read", maxUnreadable)
	}
	page := uintptr(os.Getpagesize())
	at -= at % page
	if _, err := unix.MmapPtr(-1, 0, unsafe.Pointer(&im.data[at]), page, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED); err != nil {
		return false, fmt.Errorf("byte %d: %w", at, err)
	}
	if st, err := os.Stat(im.path); err != nil || st.Size() < int64(len(im.data)) {
		im.vanished = true
	}
	e := unreadableError{int64(at), int64(page)} //nolint:gosec // of a file that is mapped: at most MaxInt
	im.bad = append(im.bad, e)
	return true, e
}

// unreadableError says that the device cannot read a piece of a file.
type unreadableError struct{ at, size int64 }

func (e unreadableError) Error() string {
	return fmt.Sprintf("bytes %d to %d cannot be read", e.at, e.at+e.size-1)
}

// metas returns the meta pages that are whole, newest first, and what is wrong with the others.
func (im *image) metas() (metas []boltfile.Meta, bad error) {
	for range 3 { // there are two pages
		again, err := im.try(func() { metas, bad = boltfile.Metas(im.data) })
		if !again && err != nil {
			return nil, err
		}
		if !again {
			return metas, bad
		}
	}
	return metas, bad
}

// spend takes n bytes off the work that is left.
func (im *image) spend(n int) error {
	if im.work -= int64(n); im.work < 0 {
		return errors.New("values overlap")
	}
	return nil
}

// verify checks the CRC of a batch in the image.
func (im *image) verify(b record.Batch) error {
	if err := im.spend(len(b)); err != nil {
		return err
	}
	ok := false
	if _, err := im.try(func() { ok = b.VerifyCRC() }); err != nil {
		return err
	}
	if !ok {
		return errors.New("checksum does not match")
	}
	return nil
}

// unreadable tells which pieces of the file became zeros.
func (im *image) unreadable() []Problem {
	bad := slices.SortedFunc(slices.Values(im.bad), func(a, b unreadableError) int { return cmp.Compare(a.at, b.at) })
	var all []Problem
	for i := 0; i < len(bad); {
		e := bad[i]
		for i++; i < len(bad) && bad[i].at <= e.at+e.size; i++ {
			e.size = bad[i].at + bad[i].size - e.at
		}
		all = append(all, Problem{Path: im.path, Err: e})
	}
	return all
}

// headerTree returns a meta page whose root is that of the header's bucket, so that a walk sees the header alone. It is not
// ok where the header lies in a page of the tree above it, or where the way to it is damaged. A page is a header (id 8,
// flags 2, count 2, overflow 4) and elements of 16 bytes, little endian; see boltfile.
func (im *image) headerTree(m boltfile.Meta) (in boltfile.Meta, ok bool) {
	const branch, leaf, bucket = 1, 2, 1
	in = m
	_, err := im.try(func() {
		for id, depth := m.Root, 0; depth < 16; depth++ {
			if id < 2 || id >= m.Pages || id >= uint64(len(im.data)/boltfile.PageSize) {
				return
			}
			p := im.data[id*boltfile.PageSize:][:boltfile.PageSize]
			first := p[16:32]
			switch flags := binary.LittleEndian.Uint16(p[8:]); {
			case flags == branch:
				id = binary.LittleEndian.Uint64(first[8:])
				continue
			case flags != leaf || binary.LittleEndian.Uint32(first) != bucket:
				return
			}
			at := 16 + uint64(binary.LittleEndian.Uint32(first[4:]))
			if int64(binary.LittleEndian.Uint32(first[8:])) != int64(len(keyHeader)) || at+9 > boltfile.PageSize || !bytes.Equal(p[at:at+1], keyHeader) {
				return
			}
			in.Root = binary.LittleEndian.Uint64(p[at+1:])
			ok = in.Root != 0
			return
		}
	})
	return in, ok && err == nil
}
