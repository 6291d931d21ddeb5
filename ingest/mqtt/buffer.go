package mqtt

import "sync"

// Read buffers come in three sizes. A connection without unread bytes has none. The smallest may always be had, the
// others and what a packet larger than all of them needs are charged to the server's budget for held bytes, so that
// read buffers take at most the budget and 4 KiB for each connection that has received part of a packet.
var bufferSizes = [...]int{4 << 10, 16 << 10, 64 << 10}

const (
	largestBuffer = len(bufferSizes) - 1
	ownBuffer     = -1 // class of a buffer that was made for one packet
)

// buffer is a read buffer.
type buffer struct {
	b     []byte
	class int
}

// buffers hands out read buffers.
type buffers struct {
	pools [len(bufferSizes)]sync.Pool
	held  *budget
}

// get returns a buffer of the class, or of a smaller one when the budget does not allow it.
func (p *buffers) get(class int) *buffer {
	for class > 0 && !p.held.take(bufferSizes[class]) {
		class--
	}
	if b, ok := p.pools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, bufferSizes[class]), class: class}
}

// put takes a buffer back.
func (p *buffers) put(b *buffer) {
	switch b.class {
	case ownBuffer:
		p.held.release(len(b.b))
	case 0:
		p.pools[0].Put(b)
	default:
		p.held.release(len(b.b))
		p.pools[b.class].Put(b)
	}
}

// grow returns a larger buffer with what full holds, which is part of a packet of size bytes. It is nil when the budget
// does not allow it. A buffer grows with the bytes that came: what a length merely announces is not allocated.
func (p *buffers) grow(full *buffer, size int) *buffer {
	have := len(full.b)
	if full.class != ownBuffer && full.class < largestBuffer {
		b := p.get(full.class + 1)
		if b.class <= full.class {
			p.put(b)
			return nil
		}
		copy(b.b, full.b)
		return b
	}
	n := min(max(size, have+1), 2*have)
	if !p.held.take(n) {
		return nil
	}
	b := &buffer{b: make([]byte, n), class: ownBuffer}
	copy(b.b, full.b)
	return b
}

// shrink moves unread bytes to the smallest buffer that holds them with some room, for a connection that has to wait for
// the rest of a packet. It returns b itself if there is none smaller.
func (p *buffers) shrink(b *buffer, unread []byte) *buffer {
	for class, size := range bufferSizes {
		if size >= len(b.b) || len(unread) > size*3/4 {
			continue
		}
		s := p.get(class)
		if s.class != class {
			p.put(s)
			return b
		}
		copy(s.b, unread)
		return s
	}
	return b
}
