package quorum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"

	"github.com/culvert-mq/culvert/log/fsx"
)

// Names in the raft log's file.
var (
	bucketFormat = []byte("culvert")
	bucketLog    = []byte("log")
	bucketStable = []byte("stable")
	keyFormat    = []byte("format")
	keyLast      = []byte("last")        // index of the last entry: a leaf page that ends too soon shows
	keyTerm      = []byte("CurrentTerm") // raft's own name of its term
)

// storeFormat is the value of the key "format": what the file is and its version.
const storeFormat = "culvert raft log 1"

// storeReserve is how many bytes a new file has on the disk. Pages that are free in it are overwritten
// in place, so that a full disk stops neither an election nor a good number of proposals.
const storeReserve = 1 << 20

// store is the raft log and raft's own values in one bbolt file: a raft.LogStore and a raft.StableStore.
// Every change is durable when its method returns.
type store struct {
	db     *bolt.DB
	path   string
	faults fsx.Faults
	log    *slog.Logger

	released    chan struct{} // closed by release
	releaseOnce sync.Once
}

var (
	_ raft.LogStore    = (*store)(nil)
	_ raft.StableStore = (*store)(nil)
)

// createStore makes a new file with the entries and values given, whole or not at all: it is made
// beside and renamed.
func createStore(path string, logs []*raft.Log, values map[string][]byte) (err error) {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	db, err := openBolt(tmp, 0)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketFormat, bucketLog, bucketStable} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		if err := tx.Bucket(bucketFormat).Put(keyFormat, encodeValue(keyFormat, []byte(storeFormat))); err != nil {
			return err
		}
		for k, v := range values {
			if err := tx.Bucket(bucketStable).Put([]byte(k), encodeValue([]byte(k), v)); err != nil {
				return err
			}
		}
		return putLogs(tx, logs)
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := reserve(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return fsx.SyncDir(filepath.Dir(path))
}

// reserve writes zeros behind the end of the file up to storeReserve.
func reserve(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if n := storeReserve - st.Size(); n > 0 {
		if _, err := f.WriteAt(make([]byte, n), st.Size()); err != nil {
			return err
		}
	}
	return f.Sync()
}

// openBolt opens the file and maps at least that many bytes: a map that must grow waits for readers, but
// it is also the size a file grows to. What bbolt panics with on this goroutine is an error.
func openBolt(path string, mapped int) (db *bolt.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("bbolt: %v", p)
		}
	}()
	return bolt.Open(path, 0o600, &bolt.Options{
		PageSize:        pageSize,
		NoFreelistSync:  true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mapped,
		Timeout:         time.Second,
		NoStatistics:    true,
	})
}

// openStore opens a file that walkBolt found sound.
func openStore(path string, faults fsx.Faults, l *slog.Logger) (*store, error) {
	db, err := openBolt(path, 4*storeReserve)
	if err != nil {
		return nil, err
	}
	return &store{db: db, path: path, faults: faults, log: l, released: make(chan struct{})}, nil
}

// release makes every later change fail, and lets one that is being tried again give up. It comes before
// raft is shut down, and after its transport was closed: from here on nothing raft believes to have
// stored can reach anybody.
func (s *store) release() { s.releaseOnce.Do(func() { close(s.released) }) }

func (s *store) isReleased() bool {
	select {
	case <-s.released:
		return true
	default:
		return false
	}
}

// close needs raft to be shut down.
func (s *store) close() error {
	s.release()
	return s.db.Close()
}

func (s *store) update(step string, fn func(tx *bolt.Tx) error) error {
	if s.isReleased() {
		return ErrClosed
	}
	if err := fsx.Check(s.faults, step, s.path); err != nil {
		return err
	}
	return s.db.Update(fn)
}

func indexKey(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

func putLogs(tx *bolt.Tx, logs []*raft.Log) error {
	b := tx.Bucket(bucketLog)
	b.FillPercent = 1 // entries are only appended
	for _, l := range logs {
		if len(l.Data)+len(l.Extensions) > maxEntry {
			return fmt.Errorf("log entry of %d bytes, %d are allowed", len(l.Data)+len(l.Extensions), maxEntry)
		}
		if err := b.Put(indexKey(l.Index), encodeEntry(l)); err != nil {
			return err
		}
	}
	return putLast(tx)
}

// putLast notes which entry is the last.
func putLast(tx *bolt.Tx) error {
	last, _ := tx.Bucket(bucketLog).Cursor().Last()
	if last == nil {
		last = indexKey(0)
	}
	return tx.Bucket(bucketFormat).Put(keyLast, encodeValue(keyLast, last))
}

// FirstIndex implements [raft.LogStore].
func (s *store) FirstIndex() (uint64, error) {
	return s.edge(func(c *bolt.Cursor) ([]byte, []byte) { return c.First() })
}

// LastIndex implements [raft.LogStore].
func (s *store) LastIndex() (uint64, error) {
	return s.edge(func(c *bolt.Cursor) ([]byte, []byte) { return c.Last() })
}

func (s *store) edge(seek func(*bolt.Cursor) ([]byte, []byte)) (i uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		if k, _ := seek(tx.Bucket(bucketLog).Cursor()); k != nil {
			i = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return i, err
}

// GetLog implements [raft.LogStore].
func (s *store) GetLog(index uint64, l *raft.Log) error {
	return s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLog).Get(indexKey(index))
		if b == nil {
			return raft.ErrLogNotFound
		}
		return decodeEntry(index, b, l)
	})
}

// StoreLog implements [raft.LogStore].
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements [raft.LogStore]. On an error raft steps down; nothing of logs is stored then.
func (s *store) StoreLogs(logs []*raft.Log) error {
	err := s.update("quorum.log", func(tx *bolt.Tx) error { return putLogs(tx, logs) })
	if err != nil && !errors.Is(err, ErrClosed) {
		s.log.Error("metadata could not be stored", "file", s.path, "err", err)
	}
	return err
}

// DeleteRange implements [raft.LogStore].
func (s *store) DeleteRange(first, last uint64) error {
	return s.update("quorum.trim", func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLog)
		var keys [][]byte
		c := b.Cursor()
		for k, _ := c.Seek(indexKey(first)); k != nil && binary.BigEndian.Uint64(k) <= last; k, _ = c.Next() {
			keys = append(keys, k)
		}
		for _, k := range keys {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		return putLast(tx)
	})
}

// Set implements [raft.StableStore]. What is there already is not written again: raft stores its term
// also when it starts.
func (s *store) Set(key, value []byte) error {
	if old, err := s.Get(key); err == nil && old != nil && bytes.Equal(old, value) {
		return nil
	}
	return s.update("quorum.stable", func(tx *bolt.Tx) error {
		return tx.Bucket(bucketStable).Put(key, encodeValue(key, value))
	})
}

// Get implements [raft.StableStore].
func (s *store) Get(key []byte) (value []byte, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket(bucketStable).Get(key); b != nil {
			value, err = decodeValue(key, b)
		}
		return err
	})
	return value, err
}

// SetUint64 implements [raft.StableStore]. raft panics when its term cannot be stored, so that this
// tries until it can, or until release: then it returns as if it had, see there.
func (s *store) SetUint64(key []byte, v uint64) error {
	const first, most = 50 * time.Millisecond, 5 * time.Second
	for wait := first; ; wait = min(2*wait, most) {
		err := s.Set(key, binary.BigEndian.AppendUint64(nil, v))
		if err == nil || errors.Is(err, ErrClosed) {
			return nil
		}
		if wait == first {
			s.log.Error("metadata could not be stored, trying again", "file", s.path, "err", err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.released:
			t.Stop()
			return nil
		}
	}
}

// GetUint64 implements [raft.StableStore].
func (s *store) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil || len(b) == 0 {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%w %.20q: %d bytes are no number", errValue, key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
