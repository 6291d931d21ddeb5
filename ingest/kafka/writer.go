package kafka

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// writeChunk is how many bytes have to leave within one write timeout.
	writeChunk = 1 << 20
	// writePieces is how many pieces one system call takes (IOV_MAX).
	writePieces = 1024
	// smallPiece is the size from which on records are not copied: an entry of a vector costs as much as copying some
	// kilobytes.
	smallPiece  = 4 << 10
	scratchSize = 64 << 10
	// keepBuffer is the largest buffer that is used again.
	keepBuffer = 256 << 10
	// flushAt is how much is gathered from answers that are ready before it is written.
	flushAt = 64 << 10
)

// writer is the writing side of a connection: it writes the answers in the order of their requests.
type writer struct {
	c *conn
	// buf are encoded bytes that are not written yet; cuts are slices from elsewhere that go between them.
	buf  []byte
	cuts []cut
	// whole and wholeCuts are how much of both belongs to answers that are complete.
	whole, wholeCuts int
	pooled           *[]byte // what buf was taken from
	// pieces are what the next system call takes, pending bytes in all; scratch holds small ones that were put together,
	// of which those up to scratched are in pieces.
	pieces    net.Buffers
	pending   int
	scratch   []byte
	scratched int
	err       error // why nothing more is written
	// fetch is what an answer to Fetch is put together in, used again by the next.
	fetch fetchState
}

// cut is data that goes before the byte of the buffer at that position. It must not change until it is written.
type cut struct {
	at   int
	data []byte
}

var (
	buffers   = sync.Pool{New: func() any { return new([]byte) }}
	scratches = sync.Pool{New: func() any { return new([scratchSize]byte) }}
)

func newWriter(c *conn) *writer { return &writer{c: c} }

func (w *writer) run() {
	for it := range w.c.answers {
		w.answer(it)
		if len(w.c.answers) == 0 || len(w.buf) >= flushAt {
			w.flush()
		}
		if len(w.c.answers) == 0 {
			w.idle()
		}
	}
	w.flush()
	w.idle()
}

// answer waits for one answer and encodes it. Once the connection is broken, answers are only counted.
func (w *writer) answer(it queued) {
	q := it.call
	if it.answer != nil && w.err == nil {
		if err := w.guard(it); err != nil {
			w.buf, w.cuts = w.buf[:w.whole], w.cuts[:w.wholeCuts]
			w.flush()
			w.fail(err)
		}
		w.c.srv.metrics.answered(q.api, q.code, time.Since(q.arrived))
	}
	w.c.srv.budget.give(q.size)
	w.c.outstanding.Add(-1)
	if q.slot {
		w.c.fetches.Release(1)
	}
}

func (w *writer) guard(it queued) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = w.c.panicked(it.call, p)
		}
	}()
	return it.answer.write(w, it.call)
}

// message encodes an answer.
func (w *writer) message(q *call, resp kmsg.Response) {
	resp.SetVersion(q.version)
	start := w.begin(q)
	w.buf = resp.AppendTo(w.buf)
	w.end(start)
}

// begin encodes the header of an answer and returns where its frame begins. The header of a flexible version has tagged
// fields, but never that of ApiVersions, whose client may not know yet what the broker speaks (KIP-511).
func (w *writer) begin(q *call) int {
	if w.buf == nil {
		w.pooled = buffers.Get().(*[]byte)
		w.buf = (*w.pooled)[:0]
	}
	start := len(w.buf)
	w.buf = append(w.buf, 0, 0, 0, 0)
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(q.correlation))
	if q.version >= q.api.flexible && q.api.key != keyApiVersions {
		w.buf = append(w.buf, 0)
	}
	return start
}

// end fills in the length of the frame that began at start, with what was cut in since.
func (w *writer) end(start int) {
	n := len(w.buf) - start - 4
	for i := len(w.cuts) - 1; i >= 0 && w.cuts[i].at > start; i-- {
		n += len(w.cuts[i].data)
	}
	binary.BigEndian.PutUint32(w.buf[start:], uint32(n)) //nolint:gosec // fetch and the limits on metadata keep it below 2 GiB
	w.whole, w.wholeCuts = len(w.buf), len(w.cuts)
}

// flush writes everything that is encoded.
func (w *writer) flush() {
	if len(w.buf) == 0 {
		return
	}
	if w.err == nil {
		w.writeAll()
	}
	clear(w.cuts)
	w.buf, w.cuts = w.buf[:0], w.cuts[:0]
	w.whole, w.wholeCuts = 0, 0
}

// writeAll writes the buffer and what is cut into it. Small pieces are put together, large ones go out from where they
// are.
func (w *writer) writeAll() {
	if len(w.cuts) == 0 {
		w.piece(w.buf)
		w.send()
		return
	}
	box := scratches.Get().(*[scratchSize]byte)
	defer scratches.Put(box)
	w.scratch = box[:0]
	from := 0
	for _, c := range w.cuts {
		w.gather(w.buf[from:c.at])
		w.gather(c.data)
		from = c.at
	}
	w.gather(w.buf[from:])
	w.send()
	w.scratch = nil
}

// gather adds b to what is written next: a copy if it is small.
func (w *writer) gather(b []byte) {
	if len(b) >= smallPiece {
		w.close()
		w.piece(b)
		return
	}
	if len(w.scratch)+len(b) > cap(w.scratch) {
		w.send()
	}
	w.scratch = append(w.scratch, b...)
}

// close ends the run of small pieces that were put together.
func (w *writer) close() {
	if run := w.scratch[w.scratched:]; len(run) > 0 {
		w.scratched = len(w.scratch)
		w.piece(run)
	}
}

// piece adds b to what is written next.
func (w *writer) piece(b []byte) {
	for len(b) > 0 {
		n := min(len(b), writeChunk)
		w.pieces = append(w.pieces, b[:n])
		w.pending += n
		b = b[n:]
		if w.pending >= writeChunk || len(w.pieces) == writePieces {
			w.write()
		}
	}
}

// send writes what was gathered, so that the scratch memory is free again.
func (w *writer) send() {
	w.close()
	if len(w.pieces) > 0 {
		w.write()
	}
	w.scratch, w.scratched = w.scratch[:0], 0
}

func (w *writer) write() {
	pieces, size := w.pieces, w.pending
	w.pending = 0
	defer func() { w.pieces = pieces[:0] }() // what was written is nil by then
	if w.err != nil {
		clear(pieces)
		return
	}
	err := w.c.nc.SetWriteDeadline(time.Now().Add(w.c.srv.cfg.WriteTimeout))
	if err == nil {
		_, err = w.pieces.WriteTo(w.c.nc)
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.c.log.Log(w.c.ctx, w.c.srv.noise.level(time.Now()), "native connection closed: the client does not read", "timeout", w.c.srv.cfg.WriteTimeout)
		}
		clear(pieces)
		w.fail(err)
		return
	}
	w.c.srv.metrics.bytesOut.Add(float64(size))
}

// fail ends the connection: the reader fails at its next read, and what is still queued is dropped.
func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.c.kill()
}

// idle gives the buffer back: a connection that waits should cost little.
func (w *writer) idle() {
	if cap(w.cuts) > 1024 {
		w.cuts = nil
	}
	if w.buf == nil {
		return
	}
	if cap(w.buf) <= keepBuffer {
		*w.pooled = w.buf[:0]
		buffers.Put(w.pooled)
	}
	w.buf, w.pooled = nil, nil
}

// await waits for a commit until the time of the first call that has to wait is up, which timeout carries on. What was
// answered before goes out meanwhile.
func (w *writer) await(c Commit, timeout *<-chan time.Time, until time.Time) error {
	select {
	case <-c.Done():
		return c.Err()
	default:
	}
	w.flush()
	if *timeout == nil {
		*timeout = time.After(time.Until(until))
	}
	select {
	case <-c.Done():
		return c.Err()
	case _, ok := <-*timeout:
		if ok {
			// The others have no time left either.
			over := make(chan time.Time)
			close(over)
			*timeout = over
		}
		return errCommitTimeout
	case <-w.c.ctx.Done():
		return w.c.ctx.Err()
	}
}
