package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/log/fsx"
)

const (
	segmentSuffix = ".seg"
	segmentMagic  = "CVSG"
)

// Keys of a segment. The header bucket sorts before all commits, which are keyed by their sequence number.
var (
	keyHeader  = []byte{0}
	keySegment = []byte("segment")
	keyState   = []byte("state")
	keySummary = []byte("summary")
	keyAfter   = []byte("after")
	keyIndex   = []byte("index")
)

// segment is one bbolt file. Its database is opened when it is first used and closed when too many are open.
type segment struct {
	path   string
	number uint64
	serial uint64 // of all segments that the process has had to do with
	faults fsx.Faults
	mapped int // size of the map, bytes

	lazy bool // a copy in the making: nothing is synced

	salvaged bool   // what was whole of a damaged one
	sealed   bool   // guarded by Store.absorbMu until true
	last     uint64 // sequence of the newest commit; as sealed
	created  time.Time

	bytes      atomic.Int64 // of the file
	batchBytes int64        // guarded by Store.absorbMu: of the batches in it; as sealed

	mu      sync.Mutex // guards the rest
	db      *bolt.DB
	refs    int
	checked bool
	gone    error // why nobody may begin to read it any more: errGone, ErrClosed
}

// serials counts openings of segments.
var serials atomic.Uint64

func segmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", number, segmentSuffix))
}

func segmentNumber(name string) (uint64, bool) {
	s, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(s) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

// boltOptions are those of a segment. bbolt does not sync: see segment.update.
func boltOptions(mapped int, readOnly bool) *bolt.Options {
	return &bolt.Options{
		ReadOnly: readOnly, PageSize: blockSize, InitialMmapSize: mapped,
		NoFreelistSync: true, FreelistType: bolt.FreelistMapType, NoGrowSync: true, NoStatistics: true, NoSync: true,
		Timeout: time.Millisecond, // the store's own lock keeps other processes out
	}
}

// createSegment writes a new segment that begins with a state, beside and renamed, so that a segment that exists is whole.
// Its first commit comes behind the one with the sequence last.
func createSegment(dir string, number, last uint64, mapped int, now time.Time, state *State, faults fsx.Faults) (*segment, error) {
	path := segmentPath(dir, number)
	if err := fsx.Check(faults, "segment.create", path); err != nil {
		return nil, err
	}
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	g := &segment{path: path, number: number, serial: serials.Add(1), last: last, faults: faults, mapped: mapped, created: now, checked: true}
	var err error
	if g.db, err = bolt.Open(tmp, 0o600, boltOptions(mapped, false)); err != nil {
		return nil, fmt.Errorf("create segment %s: %w", path, err)
	}
	err = g.db.Update(func(tx *bolt.Tx) error {
		h, err := tx.CreateBucket(keyHeader)
		if err != nil {
			return err
		}
		return errors.Join(
			h.Put(keySegment, segmentBlock(number, last, txNumber(tx), now)),
			h.Put(keyState, state.encode()))
	})
	if err == nil {
		err = g.db.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = fsx.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create segment %s: %w", path, err), g.db.Close(), os.Remove(tmp))
	}
	g.measure()
	return g, nil
}

// open maps the file; the caller holds mu. The first time, the structure of its pages is checked, because bbolt trusts
// them. What is wrong with the file is a DamageError, what is short in the process or the machine is not.
func (g *segment) open(readOnly bool) error {
	if !g.checked {
		if err := g.check(); err != nil {
			return g.opening(err)
		}
		g.checked = true
	}
	g.serial = serials.Add(1)
	return guard(g, func() error {
		mapped := g.mapped
		if readOnly {
			mapped = 0
		}
		if err := fsx.Check(g.faults, "segment.open", g.path); err != nil {
			return g.opening(err)
		}
		db, err := bolt.Open(g.path, 0o600, boltOptions(mapped, readOnly))
		if err != nil {
			return g.opening(err)
		}
		g.db = db
		return nil
	})
}

// check looks at the file's pages.
func (g *segment) check() error {
	data, end, err := mapFile(g.path)
	if err != nil {
		return err
	}
	defer end()
	return guard(g, func() error { return boltfile.Check(data) })
}

// opening turns an error of opening the file into a DamageError, unless it may be gone with the next attempt.
func (g *segment) opening(err error) error {
	if passing(err) {
		return fmt.Errorf("segment %s: %w", g.path, err)
	}
	return g.damaged(0, err)
}

// passing tells what says nothing about a file or a device and may be gone with the next attempt: descriptors or address
// space that are used up, rights, another process that holds a file's lock.
func passing(err error) bool {
	return slices.ContainsFunc([]error{
		unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.EINTR, unix.ENOLCK, unix.EACCES, unix.EPERM, bolterrors.ErrTimeout,
	}, func(e error) bool { return errors.Is(err, e) })
}

// begin starts a read transaction, which end must finish.
func (g *segment) begin() (tx *bolt.Tx, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone != nil {
		return nil, g.gone
	}
	if g.db == nil {
		if err := g.open(true); err != nil {
			return nil, err
		}
	}
	if tx, err = g.db.Begin(false); err != nil {
		return nil, fmt.Errorf("segment %s: %w", g.path, err)
	}
	g.refs++
	return tx, nil
}

func (g *segment) end(tx *bolt.Tx) {
	_ = tx.Rollback() // of a read transaction: it can only have been finished already
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refs--; g.gone != nil {
		g.close()
	}
}

// unmap closes the file if nobody reads it and reports whether it is closed. The next reader opens it again.
func (g *segment) unmap() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.close()
	return g.db == nil
}

// close closes the database unless somebody reads it. The caller holds mu.
func (g *segment) close() {
	if g.refs == 0 && g.db != nil {
		_ = g.db.Close() // nothing is unwritten
		g.db = nil
	}
}

// remove deletes the file. Readers that have begun keep what they read.
func (g *segment) remove() error {
	if err := fsx.Check(g.faults, "segment.remove", g.path); err != nil {
		return err
	}
	g.detach(errGone)
	if err := os.Remove(g.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// writable opens the file for commits. Nobody may be reading it.
func (g *segment) writable() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open(false)
}

// detach closes the file for good: at once, or when the last reader ends. The next reader gets why: with errGone it looks
// again.
func (g *segment) detach(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = why
	g.close()
}

func (g *segment) measure() {
	if st, err := os.Stat(g.path); err == nil {
		g.bytes.Store(st.Size())
	}
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func itemKey(dst []byte, partition uint32, n int64) []byte {
	dst = binary.BigEndian.AppendUint32(dst[:0], partition)
	return binary.BigEndian.AppendUint64(dst, uint64(n))
}

// update runs fn in a transaction that writes. All of it, the meta page too, is synced once: where a machine stops in the
// middle, the file may have a new meta page without the pages that it leads to, or the reverse. Opening tells, because
// every commit has a sum, and goes back to the other meta page, whose transaction was synced before this one began.
//
// An error leaves the segment as it was, except ErrFailed: the commit may be in the file all the same.
func (g *segment) update(fn func(tx *bolt.Tx) error) (*bolt.Tx, error) {
	var tx *bolt.Tx
	before := 0
	err := guard(g, func() (err error) {
		if tx, err = g.db.Begin(true); err != nil {
			return err
		}
		before = tx.ID()
		if err := fn(tx); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		if err := tx.Commit(); err != nil || g.lazy {
			return err
		}
		if err := fsx.Check(g.faults, "segment.sync", g.path); err != nil {
			return err
		}
		return g.db.Sync()
	})
	if _, ok := errors.AsType[*DamageError](err); ok { // a panic; the writer's lock must not stay taken, closing the database waits for it
		_ = guard(g, tx.Rollback)
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if err != nil {
		if seen, e := g.newest(); e != nil || seen >= before { // it is in the map, and may be on the device
			return nil, fmt.Errorf("%w: %w", ErrFailed, err)
		}
	}
	return tx, err
}

// newest returns the number of the newest transaction that a reader sees.
func (g *segment) newest() (int, error) {
	tx, err := g.begin()
	if err != nil {
		return 0, err
	}
	defer g.end(tx)
	return tx.ID(), nil
}

// commit writes one bucket, keyed by the sequence of the newest group in it. Entries are sorted by partition and
// offset. It returns the bytes of the pages written.
func (g *segment) commit(seq uint64, ops [][]byte, entries []Entry) (int64, error) {
	if err := fsx.Check(g.faults, "segment.commit", g.path); err != nil {
		return 0, err
	}
	tx, err := g.update(func(tx *bolt.Tx) error {
		if err := putCommit(tx, g.last, seq, ops, entries); err != nil {
			return err
		}
		return fsx.Check(g.faults, "segment.write", g.path)
	})
	if err != nil {
		return 0, fmt.Errorf("segment %s: %w", g.path, err)
	}
	stats := tx.Stats()
	g.last = seq
	g.measure()
	return stats.GetPageAlloc() + blockSize, nil
}

func txNumber(tx *bolt.Tx) uint64 { return uint64(tx.ID()) } //nolint:gosec // it counts up from 0

// putCommit makes the bucket of a commit that comes behind the one with the sequence before.
func putCommit(tx *bolt.Tx, before, seq uint64, ops [][]byte, entries []Entry) error {
	b, err := tx.CreateBucket(seqKey(seq))
	if err != nil {
		return err
	}
	b.FillPercent = 1
	var key []byte // bbolt copies keys
	sum := commitSum{tx: txNumber(tx), seq: seq, before: before}
	put := func(partition uint32, n int64, value []byte) error {
		key = itemKey(key, partition, n)
		sum.add(key, value)
		return b.Put(key, value)
	}
	for _, e := range entries {
		if err := put(e.Partition, e.Batch.BaseOffset(), e.Batch); err != nil {
			return err
		}
	}
	for i, o := range ops {
		if err := put(opPartition, int64(i), o); err != nil {
			return err
		}
	}
	return b.Put(checkKey, sum.encode())
}

// seal writes the index and the summary, after which the segment does not change any more.
func (g *segment) seal(sum summary, index map[uint32][]indexEntry) error {
	if err := fsx.Check(g.faults, "segment.seal", g.path); err != nil {
		return err
	}
	_, err := g.update(func(tx *bolt.Tx) error {
		h := tx.Bucket(keyHeader)
		if h == nil {
			return fmt.Errorf("segment %s has no header", g.path)
		}
		ix, err := h.CreateBucketIfNotExists(keyIndex)
		if err != nil {
			return err
		}
		ix.FillPercent = 1
		for _, p := range sum.Partitions {
			if err := ix.Put(binary.BigEndian.AppendUint32(nil, p.ID), encodeIndex(index[p.ID])); err != nil {
				return err
			}
		}
		sum.Tx = txNumber(tx)
		return h.Put(keySummary, sum.encode())
	})
	if err != nil {
		return fmt.Errorf("seal segment %s: %w", g.path, err)
	}
	g.sealed, g.batchBytes = true, sum.bytes()
	g.measure()
	return nil
}

// readHeader reads what opening a store needs: when the segment was created, the summary if it is sealed, else nil.
func (g *segment) readHeader() (sum *summary, err error) {
	tx, err := g.begin()
	if err != nil {
		return nil, err
	}
	defer g.end(tx)
	return sum, guard(g, func() error {
		h := tx.Bucket(keyHeader)
		if h == nil {
			return &DamageError{Segment: g.number, Path: g.path, Err: errors.New("no header")}
		}
		body, err := unseal(segmentMagic, h.Get(keySegment))
		if err != nil || len(body) < 32 || binary.BigEndian.Uint64(body) != g.number {
			return &DamageError{Segment: g.number, Path: g.path, Err: errors.Join(errors.New("header"), err)}
		}
		g.created = time.UnixMilli(int64(binary.BigEndian.Uint64(body[8:])))
		g.last = binary.BigEndian.Uint64(body[16:])
		if raw := h.Get(keySummary); raw != nil {
			if sum, err = decodeSummary(raw); err != nil {
				return &DamageError{Segment: g.number, Path: g.path, Err: err}
			}
			g.last, g.sealed, g.batchBytes = sum.Last, true, sum.bytes()
		}
		return nil
	})
}

// scan hands every commit behind the header to fn in order, after checking it.
func (g *segment) scan(fn func(c *commit) error) error {
	tx, err := g.begin()
	if err != nil {
		return err
	}
	defer g.end(tx)
	return guard(g, func() error {
		before, err := g.before(tx)
		if err != nil {
			return err
		}
		top := tx.Cursor()
		for k, v := top.Seek(seqKey(0)); k != nil; k, v = top.Next() {
			b := tx.Bucket(k)
			if len(k) != 8 || v != nil || b == nil {
				return g.damaged(0, fmt.Errorf("key %x is no commit", k))
			}
			r := commitReader{commit: commit{seq: binary.BigEndian.Uint64(k)}}
			c := b.Cursor()
			for k, v := c.First(); k != nil; k, v = c.Next() {
				r.add(k, v)
			}
			if r.end(before).err != nil {
				return g.damaged(r.seq, r.err)
			}
			if err := fn(&r.commit); err != nil {
				return err
			}
			before = r.seq
		}
		return nil
	})
}

// before returns the sequence of the newest commit in the segment before.
func (g *segment) before(tx *bolt.Tx) (uint64, error) {
	h := tx.Bucket(keyHeader)
	if h == nil {
		return 0, g.damaged(0, errors.New("no header"))
	}
	body, err := unseal(segmentMagic, h.Get(keySegment))
	if err != nil || len(body) < 32 || binary.BigEndian.Uint64(body) != g.number {
		return 0, g.damaged(0, errors.Join(errors.New("header"), err))
	}
	return binary.BigEndian.Uint64(body[16:]), nil
}

func (g *segment) damaged(seq uint64, err error) error {
	return &DamageError{Segment: g.number, Path: g.path, Commit: seq, Err: err, segment: g}
}

// DamageError says that a file's contents are not what was written.
type DamageError struct {
	Segment uint64
	Path    string
	Commit  uint64 // 0 when the damage is outside a commit
	Err     error

	segment *segment // in which it was found, nil while the store is opened
}

func (e *DamageError) Error() string {
	if e.Commit != 0 {
		return fmt.Sprintf("%s: damaged at commit %d: %v", e.Path, e.Commit, e.Err)
	}
	return fmt.Sprintf("%s: damaged: %v", e.Path, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }

// guard runs fn over a mapped file and turns a fault of the memory (a file cut behind our back, a sector that cannot be
// read) or a panic of bbolt into a DamageError.
func guard(g *segment, fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = &DamageError{Segment: g.number, Path: g.path, Err: fmt.Errorf("%v", r), segment: g}
		}
	}()
	return fn()
}
