package kafka

import (
	"math/bits"
	"sync"
	"unsafe"
)

// slabs lends memory for record batches. What bulk producers send is in a segment a moment later and its memory free
// again; without being lent anew it would be most of what the garbage collector has to do.
var slabs slabPool

const (
	slabLeast = 16 << 10 // what is smaller comes from the heap
	slabMost  = 2 << 20  // what is larger, too
	slabSteps = 8        // sizes between two powers of two: at most an eighth is wasted
)

// slabPool has a pool for each size, of pointers to the first byte.
type slabPool struct {
	sizes [slabSteps * 32]sync.Pool
}

// slabSize returns the pool for n bytes and the size of its slabs: a power of two and some eighths of it.
func slabSize(n int) (index, size int) {
	exp := bits.Len(uint(n-1)) - 1
	step := 1 << exp / slabSteps
	k := (n - 1<<exp + step - 1) / step // 1 to slabSteps
	return exp*slabSteps + k - 1, 1<<exp + k*step
}

// get returns n bytes, which hold anything.
func (p *slabPool) get(n int) []byte {
	if n < slabLeast || n > slabMost {
		return make([]byte, n)
	}
	i, size := slabSize(n)
	if b, ok := p.sizes[i].Get().(*byte); ok {
		return unsafe.Slice(b, size)[:n]
	}
	return make([]byte, size)[:n]
}

// put takes back what get returned, and nothing else, when nobody uses it any more.
func (p *slabPool) put(b []byte) {
	if len(b) < slabLeast || len(b) > slabMost {
		return
	}
	if i, size := slabSize(len(b)); cap(b) == size {
		p.sizes[i].Put(unsafe.SliceData(b))
	}
}

// lendAgain takes back memory that was given to the log with a commit that is durable, if the log keeps none of it.
func lendAgain(p *slabPool, c Commit, memory []byte) {
	if c.Direct() {
		p.put(memory)
	}
}
