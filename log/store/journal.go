package store

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/log/record"
)

const (
	blockSize    = 4096
	journalName  = "journal"
	journalMagic = "CVJF"
	frameMagic   = "CVJG"
	frameVersion = 2
	frameHeader  = 40 // magic 4, version 2, kind 2, nonce 8, sequence 8, settled 8, length 4, crc 4
	frameSum     = frameHeader - 4
	frameGroup   = 0 // kind: a group
	frameMark    = 1 // kind: only what is settled
	itemHeader   = 8 // partition 4, length 4
	opPartition  = 0xFFFFFFFF
)

// journal is a ring of preallocated blocks behind one header block. A group is a frame: it begins on a block, its
// blocks are contiguous, and it is overwritten only after release. The committer reserves and writes; the absorber
// releases under the same lock (Store.pendMu guards head and frames).
type journal struct {
	f      *os.File
	path   string
	nonce  uint64 // tells this ring's frames from anything a record may hold
	size   int64  // of the ring, without the header block
	head   int64  // where the next frame is tried
	frames []frame
	buf    []byte // of the frame being written
	void   int64  // where a cancelled frame begins that may have been written; -1 if there is none
	faults fsx.Faults

	// settled is the newest group that is known to be synced in a segment. Frames carry it, so that on opening a commit
	// that is not whole is told from one that was damaged since.
	settled atomic.Uint64
}

type frame struct {
	seq      uint64
	off, len int64
}

// foundFrame is a frame of the ring whose CRC is right.
type foundFrame struct {
	frame
	kind    uint16
	settled uint64
}

// replayed is a group found in the journal on opening.
type replayed struct {
	seq     uint64
	off     int64 // of its frame
	ops     []op
	entries []Entry
}

func createJournal(dir string, size int64, faults fsx.Faults) (*journal, error) {
	path := filepath.Join(dir, journalName)
	tmp := path + ".tmp"
	if err := fsx.Check(faults, "journal.create", path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails (crypto/rand)
	body := binary.BigEndian.AppendUint64(nonce[:], uint64(size))
	err = fsx.Zero(f, blockSize+size)
	if err == nil {
		_, err = f.WriteAt(seal(journalMagic, body), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = fsx.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(tmp))
	}
	return &journal{f: f, path: path, nonce: binary.BigEndian.Uint64(nonce[:]), size: size, void: -1, faults: faults}, nil
}

// openJournal opens an existing ring. It returns fs.ErrNotExist where there is none.
func openJournal(dir string, faults fsx.Faults) (*journal, error) {
	path := filepath.Join(dir, journalName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	j := &journal{f: f, path: path, void: -1, faults: faults}
	var head [30]byte
	_, err = f.ReadAt(head[:], 0)
	if err == nil {
		var body []byte
		if body, err = unseal(journalMagic, head[:]); err == nil {
			j.nonce = binary.BigEndian.Uint64(body)
			j.size = int64(binary.BigEndian.Uint64(body[8:]))
		}
	}
	if err == nil {
		var st os.FileInfo
		if st, err = f.Stat(); err == nil && (j.size < blockSize || j.size%blockSize != 0 || st.Size() < blockSize+j.size) {
			err = fmt.Errorf("header says %d bytes, the file has %d", j.size, st.Size())
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return j, nil
}

// scan returns the frames of the ring, by sequence. What the device cannot read is told by damage.
func (j *journal) scan() (frames []foundFrame, damage error) {
	ring := make([]byte, 256<<10)
	for off := int64(0); off < j.size; off += int64(len(ring)) {
		n := min(int64(len(ring)), j.size-off)
		if err := j.read(ring[:n], off); err != nil {
			damage = errors.Join(damage, err)
		}
		for b := int64(0); b < n; b += blockSize {
			if f, ok := j.header(ring[b:b+frameHeader], off+b); ok {
				frames = append(frames, f)
			}
		}
	}
	frames = slices.DeleteFunc(frames, func(f foundFrame) bool {
		buf, err := j.frame(f)
		damage = errors.Join(damage, err)
		return buf == nil
	})
	slices.SortStableFunc(frames, func(a, b foundFrame) int { return cmp.Compare(a.seq, b.seq) })
	return frames, damage
}

// frame reads a frame whole; nil if its CRC is wrong.
func (j *journal) frame(f foundFrame) (buf []byte, err error) {
	buf = make([]byte, f.len)
	err = j.read(buf, f.off)
	if crc32.Update(crc32.Checksum(buf[:frameSum], castagnoli), castagnoli, buf[frameHeader:]) != binary.BigEndian.Uint32(buf[frameSum:]) {
		return nil, err
	}
	return buf, err
}

// newestSettled returns the newest group that the frames say to be synced in a segment.
func newestSettled(frames []foundFrame) uint64 {
	n := uint64(0)
	for _, f := range frames {
		n = max(n, f.settled)
	}
	return n
}

// replay returns the groups behind absorbed, in order, and reports in gap whether one is missing among them, which no
// crash can cause: groups are written and synced one after the other. What cannot be understood is left out and told by
// damage.
func (j *journal) replay(frames []foundFrame, absorbed uint64) (groups []replayed, gap bool, damage error) {
	next := absorbed + 1
	for _, fr := range frames {
		if fr.kind != frameGroup || fr.seq < next {
			continue
		}
		buf, err := j.frame(fr)
		if buf == nil {
			damage = errors.Join(damage, err)
			continue
		}
		ops, entries, err := decodeItems(buf[frameHeader:])
		if err != nil {
			damage = errors.Join(damage, fmt.Errorf("group %d: %w", fr.seq, err))
			continue
		}
		gap = gap || fr.seq != next
		next = fr.seq + 1
		groups = append(groups, replayed{fr.seq, fr.off, ops, entries})
	}
	return groups, gap, damage
}

// read fills b from an offset of the ring. Where the device fails it goes block by block, and blocks that cannot be read
// are zeros.
func (j *journal) read(b []byte, off int64) error {
	err := j.readAt(b, off)
	if err == nil {
		return nil
	}
	for len(b) > 0 {
		n := min(blockSize, len(b))
		if j.readAt(b[:n], off) != nil {
			clear(b[:n])
		}
		b, off = b[n:], off+int64(n)
	}
	return err
}

func (j *journal) readAt(b []byte, off int64) error {
	if err := fsx.Check(j.faults, "journal.read", j.path); err != nil {
		return err
	}
	_, err := j.f.ReadAt(b, blockSize+off)
	return err
}

// header reads the header of a frame that may begin at off.
func (j *journal) header(b []byte, off int64) (f foundFrame, ok bool) {
	if string(b[:4]) != frameMagic || binary.BigEndian.Uint16(b[4:]) != frameVersion || binary.BigEndian.Uint64(b[8:]) != j.nonce {
		return f, false
	}
	f = foundFrame{frame{binary.BigEndian.Uint64(b[16:]), off, frameHeader + int64(binary.BigEndian.Uint32(b[32:]))}, binary.BigEndian.Uint16(b[6:]), binary.BigEndian.Uint64(b[24:])}
	return f, off+f.len <= j.size
}

// frameSize returns the bytes a group occupies in the ring, whole blocks.
func frameSize(ops [][]byte, entries []Entry) int64 {
	n := int64(frameHeader)
	for _, o := range ops {
		n += itemHeader + int64(len(o))
	}
	for _, e := range entries {
		n += itemHeader + int64(len(e.Batch))
	}
	return (n + blockSize - 1) / blockSize * blockSize
}

// reserve finds n contiguous bytes that hold no group which is still needed.
func (j *journal) reserve(seq uint64, n int64) (off int64, ok bool) {
	off = j.head
	switch {
	case len(j.frames) == 0:
		if off+n > j.size {
			off = 0
		}
		ok = n <= j.size
	case off > j.frames[0].off:
		ok = off+n <= j.size
		if !ok {
			off, ok = 0, n < j.frames[0].off
		}
	default: // wrapped: what is free ends where the oldest frame begins
		ok = off+n < j.frames[0].off
	}
	if ok {
		j.head = off + n
		j.frames = append(j.frames, frame{seq, off, n})
	}
	return off, ok
}

// keep makes the frames of groups that were replayed, in order, reserved ones. It reports false, and keeps none, where they
// do not lie as one journal writes them: after damage they may be of several times around.
func (j *journal) keep(groups []replayed) bool {
	frames := make([]frame, len(groups))
	wraps := 0
	for i, g := range groups {
		frames[i] = frame{g.seq, g.off, frameSize(encodeOps(g.ops), g.entries)}
		if i == 0 {
			continue
		}
		if g.off < frames[i-1].off+frames[i-1].len {
			wraps++
		}
		if wraps > 1 || wraps == 1 && g.off+frames[i].len >= frames[0].off {
			return false
		}
	}
	if n := len(frames); n > 0 {
		j.frames, j.head = frames, frames[n-1].off+frames[n-1].len
	}
	return true
}

// cancel takes the newest reservation, which is at off, back. The next frame has its sequence, so that what may have been
// written of it must go together with that frame's write.
func (j *journal) cancel(off int64) {
	j.frames = j.frames[:len(j.frames)-1]
	j.head, j.void = off, off
}

// release gives the blocks of all groups up to seq back.
func (j *journal) release(seq uint64) {
	i := 0
	for i < len(j.frames) && j.frames[i].seq <= seq {
		i++
	}
	j.frames = slices.Delete(j.frames, 0, i)
}

// write puts a group into its reserved blocks and syncs it.
func (j *journal) write(off int64, seq uint64, ops [][]byte, entries []Entry) error {
	b := j.begin(frameGroup, seq)
	for _, o := range ops {
		b = binary.BigEndian.AppendUint32(b, opPartition)
		b = binary.BigEndian.AppendUint32(b, uint32(len(o))) //nolint:gosec // an operation is at most a topic name long
		b = append(b, o...)
	}
	for _, e := range entries {
		b = binary.BigEndian.AppendUint32(b, e.Partition)
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.Batch))) //nolint:gosec // a group in the journal is below DirectBytes
		b = append(b, e.Batch...)
	}
	b = j.end(b)
	if err := fsx.Check(j.faults, "journal.write", j.path); err != nil {
		return err
	}
	if j.void >= 0 && j.void != off {
		if _, err := j.f.WriteAt(zeros[:], blockSize+j.void); err != nil {
			return err
		}
	}
	if _, err := j.f.WriteAt(b, blockSize+off); err != nil {
		return err
	}
	if err := fsx.Check(j.faults, "journal.sync", j.path); err != nil {
		return err
	}
	if err := fsx.Datasync(j.f); err != nil {
		return err
	}
	j.void = -1
	return nil
}

// begin puts the header of a frame into the buffer, end fills in what depends on the rest and pads it.
func (j *journal) begin(kind uint16, seq uint64) []byte {
	b := append(j.buf[:0], frameMagic...)
	b = binary.BigEndian.AppendUint16(b, frameVersion)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint64(b, j.nonce)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint64(b, j.settled.Load())
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
}

func (j *journal) end(b []byte) []byte {
	binary.BigEndian.PutUint32(b[frameSum-4:], uint32(len(b)-frameHeader)) //nolint:gosec // a group in the journal is below DirectBytes
	sum := crc32.Update(crc32.Checksum(b[:frameSum], castagnoli), castagnoli, b[frameHeader:])
	binary.BigEndian.PutUint32(b[frameSum:], sum)
	for len(b)%blockSize != 0 {
		b = append(b, zeros[:blockSize-len(b)%blockSize]...)
	}
	j.buf = b
	return b
}

// mark overwrites the block at off, which holds no group, with what is settled, and syncs it.
func (j *journal) mark(off int64) error {
	b := j.end(j.begin(frameMark, j.settled.Load()))
	if err := fsx.Check(j.faults, "journal.write", j.path); err != nil {
		return err
	}
	if _, err := j.f.WriteAt(b, blockSize+off); err != nil {
		return err
	}
	if err := fsx.Check(j.faults, "journal.sync", j.path); err != nil {
		return err
	}
	return fsx.Datasync(j.f)
}

var zeros [blockSize]byte

func decodeItems(b []byte) (ops []op, entries []Entry, err error) {
	for len(b) > 0 {
		if len(b) < itemHeader {
			return nil, nil, errTruncated
		}
		id, n := binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint32(b[4:]))
		b = b[itemHeader:]
		if n > int64(len(b)) {
			return nil, nil, errTruncated
		}
		if id == opPartition {
			o, err := decodeOp(b[:n])
			if err != nil {
				return nil, nil, err
			}
			ops = append(ops, o)
		} else {
			batch, rest, err := record.Split(b[:n])
			if err != nil || len(rest) != 0 {
				return nil, nil, fmt.Errorf("partition %d: batch in the journal: %w", id, errors.Join(err, errTruncated))
			}
			entries = append(entries, Entry{id, batch})
		}
		b = b[n:]
	}
	return ops, entries, nil
}
