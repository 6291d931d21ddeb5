package kafka

import (
	"bufio"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"time"
)

const (
	// stall is how long a frame that has begun may make no progress.
	stall = 30 * time.Second
	// While others wait for memory, a large piece has to gain slowBytes within slowTime.
	slowBytes = 64 << 10
	slowTime  = 2 * time.Second
)

// fill reads the next size bytes into memory of about that size, which the log may keep. The memory is taken, from the
// budget too, when the beginning of the bytes is there; with an error nothing is held.
func (c *conn) fill(br *bufio.Reader, size int64) ([]byte, error) {
	if n := int(min(size, readBuffer)); br.Buffered() < n {
		if err := c.deadline(stall); err != nil {
			return nil, err
		}
		if _, err := br.Peek(n); err != nil {
			return nil, err
		}
	}
	if err := c.srv.budget.take(c.ctx, size); err != nil {
		return nil, err
	}
	b := slabs.get(int(size))
	if err := c.readFull(br, b); err != nil {
		c.srv.budget.give(size)
		return nil, err
	}
	return b, nil
}

// readFull fills b, unless its bytes come too slowly.
func (c *conn) readFull(br *bufio.Reader, b []byte) error {
	n, mark := 0, 0
	if br.Buffered() >= len(b) {
		_, err := br.Read(b)
		return err
	}
	progress := time.Now()
	marked := progress
	for {
		if br.Buffered() == 0 {
			if err := c.deadline(slowTime); err != nil {
				return err
			}
		}
		m, err := br.Read(b[n:])
		n += m
		switch {
		case n == len(b):
			return nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		now := time.Now()
		if m > 0 {
			progress = now
		}
		if n-mark >= slowBytes {
			mark, marked = n, now
		}
		if now.Sub(progress) > stall || now.Sub(marked) > slowTime && len(b) > smallFrame && c.srv.budget.contended() {
			return errStalled
		}
	}
}

// frameReader reads the fields of a frame as they arrive, so that a large one is never in memory as a whole. After an error
// it reads zeros.
type frameReader struct {
	c        *conn
	br       *bufio.Reader
	left     int64 // bytes of the frame that were not read yet
	elements int   // of arrays, and tagged fields, so far
	flexible bool
	err      error
}

var zeros [16]byte

// fixed returns the next n bytes, up to 16; they are valid until the next call.
func (f *frameReader) fixed(n int) []byte {
	b := f.peek(n)
	if b == nil {
		return zeros[:n]
	}
	_, _ = f.br.Discard(n)
	f.left -= int64(n)
	return b
}

func (f *frameReader) peek(n int) []byte {
	if f.err == nil && int64(n) > f.left {
		f.fail(errShape)
	}
	if f.err == nil && f.br.Buffered() < n {
		f.err = f.c.deadline(stall)
	}
	if f.err != nil {
		return nil
	}
	b, err := f.br.Peek(n)
	if err != nil {
		f.err = err
		return nil
	}
	return b
}

func (f *frameReader) fail(err error) {
	if f.err == nil {
		f.err = &frameError{reason: "shape", err: err}
	}
}

func (f *frameReader) int16() int16 { return int16(binary.BigEndian.Uint16(f.fixed(2))) }
func (f *frameReader) int32() int32 { return int32(binary.BigEndian.Uint32(f.fixed(4))) }
func (f *frameReader) uuid() (id [16]byte) {
	copy(id[:], f.fixed(16))
	return id
}

// skip passes over n bytes.
func (f *frameReader) skip(n int64) {
	if n > f.left {
		f.fail(errShape)
	}
	for n > 0 && f.err == nil {
		m := int(min(n, smallFrame))
		if f.br.Buffered() < m {
			if f.err = f.c.deadline(stall); f.err != nil {
				return
			}
		}
		m, f.err = f.br.Discard(m)
		f.left -= int64(m)
		n -= int64(m)
	}
}

// length reads what stands before a string (size 2), bytes or an array (size 4). -1 is null.
func (f *frameReader) length(size int) int64 {
	var n int64
	switch {
	case f.flexible:
		n = int64(f.uvarint()) - 1
	case size == 2:
		n = int64(f.int16())
	default:
		n = int64(f.int32())
	}
	if f.err == nil && (n < -1 || n > f.left) {
		f.fail(errShape)
	}
	if f.err != nil {
		return -1
	}
	return n
}

func (f *frameReader) uvarint() uint32 {
	b := f.peek(int(min(5, max(f.left, 1))))
	n, size := binary.Uvarint(b)
	if f.err == nil && (size <= 0 || n > math.MaxUint32) {
		f.fail(errShape)
	}
	if f.err != nil {
		return 0
	}
	f.fixed(size)
	return uint32(n) //nolint:gosec // it was checked
}

// text reads a string that is not null. One that is longer than any that makes sense is an error.
func (f *frameReader) text() string {
	n := f.length(2)
	if n < 0 || n > readBuffer {
		f.fail(errShape)
		return ""
	}
	b := f.peek(int(n))
	s := string(b)
	f.skip(n)
	return s
}

// array reads the length of an array, null being empty. element counts one of them.
func (f *frameReader) array() int64 { return max(f.length(4), 0) }

func (f *frameReader) element() bool {
	if f.elements++; f.elements > maxElements {
		f.fail(errElements)
	}
	return f.err == nil
}

// tags passes over the tagged fields at the end of a struct, which only flexible versions have.
func (f *frameReader) tags() {
	if !f.flexible {
		return
	}
	for n := f.uvarint(); n > 0 && f.element(); n-- {
		f.uvarint()
		f.skip(int64(f.uvarint()))
	}
}
