package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"os"
	"slices"
)

// JournalOptions says what InspectJournal looks at.
type JournalOptions struct {
	// Absorbed is the sequence of the newest commit in a segment: groups behind it are pending. Alone says that it is not
	// known, so that the journal's own knowledge counts, which may be older.
	Absorbed uint64
	Alone    bool
	// State, if not nil, is that of the newest commit. The groups that are pending are applied to a copy of it. Inexact
	// says that it was made out from a damaged file: see SegmentReport.Exact.
	State   *State
	Inexact bool
	// Live and Batch are those of InspectOptions, for the batches of the groups that are pending.
	Live  func(id uint32) (from, to int64)
	Batch func(BatchReport) error
}

// JournalReport is what a journal holds, and what is wrong with it.
type JournalReport struct {
	Path        string
	Bytes       int64            // of the file
	Size        int64            // of the ring
	Groups      int64            // that are whole, overwritten ones left out
	First, Last uint64           // sequences of the oldest and the newest of them; 0 where there are none
	Settled     uint64           // newest group that is known to be synced in a segment
	Pending     int64            // groups that are in no segment
	PendingFrom uint64           // sequences of the first and the last of them; 0 where there are none
	PendingTo   uint64           //
	Batches     int64            // in them, as are the others
	Records     int64            //
	BatchBytes  int64            //
	Runs        []PartitionRun   // by partition
	Truncated   map[uint32]int64 // least offset that a pending group truncated a partition to
	After       *State           // behind the pending groups; nil where State was
	Problems
}

// JournalReader reads a journal's file without trusting it: what Scan found of it. It neither writes nor locks.
type JournalReader struct {
	j      *journal
	bytes  int64
	frames []scannedFrame
	Problems

	headless bool // the header is damaged
}

// scannedFrame is a block that begins as a frame does.
type scannedFrame struct {
	foundFrame
	whole   bool // its CRC is right
	near    bool // it nearly begins as a frame does,
	version bool // but for its version
}

// ScanJournal finds the groups of a journal. Beside a running node it is called before the segments are read, so that a
// group which is overwritten meanwhile is found in one of them. What is wrong with the file is told by Inspect; an error
// says that it cannot be read at all.
func ScanJournal(path string) (*JournalReader, error) {
	size, err := regular(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &JournalReader{j: &journal{f: f, path: path, void: -1}, bytes: size}
	r.open()
	r.scan()
	return r, nil
}

// Close closes the file.
func (r *JournalReader) Close() error { return r.j.f.Close() }

// Settled returns the newest group that the journal knows to be synced in a segment.
func (r *JournalReader) Settled() uint64 {
	n := uint64(0)
	for _, f := range r.frames {
		if f.whole {
			n = max(n, f.settled)
		}
	}
	return n
}

func (r *JournalReader) problem(p Problem) {
	p.Path = r.j.path
	r.add(p)
}

// open reads the header. Where it is damaged, the frames still tell what belongs together.
func (r *JournalReader) open() {
	var head [30]byte
	_, err := r.j.f.ReadAt(head[:], 0)
	var body []byte
	if err == nil {
		body, err = unseal(journalMagic, head[:])
	}
	r.j.size = max(0, r.bytes-blockSize) / blockSize * blockSize
	if err != nil {
		r.headless = !errors.Is(err, ErrVersion)
		r.problem(Problem{Err: fmt.Errorf("header: %w", err)})
		r.j.nonce = r.guessNonce()
		return
	}
	r.j.nonce = binary.BigEndian.Uint64(body)
	size := int64(binary.BigEndian.Uint64(body[8:]))
	if size < blockSize || size%blockSize != 0 || size > r.j.size {
		r.problem(Problem{Err: fmt.Errorf("header says %d bytes, the file has %d", size, r.bytes)})
		return
	}
	r.j.size = size
}

// Header returns the header block that the frames belong to, nil where the one in the file is right, or where the frames do
// not tell. With it in its place a journal whose header is damaged can be replayed.
func (r *JournalReader) Header() []byte {
	if !r.headless || r.j.nonce == 0 || r.j.size < blockSize {
		return nil
	}
	body := binary.BigEndian.AppendUint64(nil, r.j.nonce)
	body = binary.BigEndian.AppendUint64(body, uint64(r.j.size))
	return append(seal(journalMagic, body), zeros[:blockSize-30]...)
}

// guessNonce returns the nonce that most frames with a right CRC have.
func (r *JournalReader) guessNonce() (most uint64) {
	count := make(map[uint64]int)
	r.blocks(func(off int64, b []byte) {
		if string(b[:4]) != frameMagic || binary.BigEndian.Uint16(b[4:]) != frameVersion {
			return
		}
		r.j.nonce = binary.BigEndian.Uint64(b[8:])
		if f, ok := r.j.header(b, off); ok && r.whole(f) {
			if count[r.j.nonce]++; count[r.j.nonce] > count[most] {
				most = r.j.nonce
			}
		}
	}, false)
	return most
}

// blocks hands the beginning of every block of the ring to fn. Blocks that cannot be read are zeros.
func (r *JournalReader) blocks(fn func(off int64, b []byte), tell bool) {
	piece := make([]byte, 256<<10)
	for off := int64(0); off < r.j.size; off += int64(len(piece)) {
		n := min(int64(len(piece)), r.j.size-off)
		if err := r.j.read(piece[:n], off); err != nil && tell {
			r.problem(Problem{Err: fmt.Errorf("%w (of bytes %d to %d)", err, blockSize+off, blockSize+off+n-1)})
		}
		for b := int64(0); b < n; b += blockSize {
			fn(off+b, piece[b:b+frameHeader])
		}
	}
}

func (r *JournalReader) scan() {
	r.blocks(func(off int64, b []byte) {
		if f, ok := r.j.header(b, off); ok {
			r.frames = append(r.frames, scannedFrame{foundFrame: f})
		} else if r.near(b) {
			version := string(b[:4]) == frameMagic && binary.BigEndian.Uint64(b[8:]) == r.j.nonce && binary.BigEndian.Uint16(b[4:]) != frameVersion
			r.frames = append(r.frames, scannedFrame{foundFrame{frame: frame{seq: binary.BigEndian.Uint64(b[16:]), off: off}}, false, true, version})
		}
	}, true)
	work := 64 * (r.j.size + blockSize) // frames that claim to be long must not take for ever
	for i := range r.frames {
		if f := &r.frames[i]; !f.near && work > 0 {
			f.whole = r.whole(f.foundFrame)
			work -= f.len
		}
	}
	if work <= 0 {
		r.problem(Problem{Err: errors.New("its frames are longer than they can be: not all were read")})
	}
	slices.SortStableFunc(r.frames, func(a, b scannedFrame) int { return cmp.Compare(a.seq, b.seq) })
}

// near reports whether a block begins as a frame does but for a few bits, which only damage can cause.
func (r *JournalReader) near(b []byte) bool {
	var want [16]byte
	copy(want[:], frameMagic)
	binary.BigEndian.PutUint16(want[4:], frameVersion)
	binary.BigEndian.PutUint64(want[8:], r.j.nonce)
	n := 0
	for i, w := range want {
		if i != 6 && i != 7 { // the kind
			n += bits.OnesCount8(b[i] ^ w)
		}
	}
	return r.j.nonce != 0 && n <= 16
}

// whole reports whether the CRC of a frame is right.
func (r *JournalReader) whole(f foundFrame) bool {
	piece := make([]byte, min(f.len, 256<<10))
	sum, want := uint32(0), uint32(0)
	for at := int64(0); at < f.len; {
		b := piece[:min(int64(len(piece)), f.len-at)]
		_ = r.j.read(b, f.off+at) // it was told already; what cannot be read is zeros
		if at == 0 {
			want = binary.BigEndian.Uint32(b[frameSum:])
			sum = crc32.Update(crc32.Checksum(b[:frameSum], castagnoli), castagnoli, b[frameHeader:])
		} else {
			sum = crc32.Update(sum, castagnoli, b)
		}
		at += int64(len(b))
	}
	return sum == want
}
