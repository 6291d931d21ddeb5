package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/culvert-mq/culvert/sync/meta"
)

// maxStoreBytes bounds the raft log's file, which is read whole when it is opened. Snapshots keep it near
// a megabyte.
const maxStoreBytes = 256 << 20

const storeFile = "raft.db"

// recovery reads what a directory holds before raft is started on it, and sets aside what is damaged, so
// that raft only ever sees files that are sound and fit together.
type recovery struct {
	dir    string
	log    *slog.Logger
	damage []Damage

	snap *snapshot // the newest that is sound, nil where there is none
	// logs are the entries behind the snapshot, without a gap; configuration is the newest of raft's in
	// both.
	logs          []*raft.Log
	configuration raft.Configuration
}

// recoverDir leaves dir with a sound raft log or none, and sound snapshots. It fails on what it must not
// decide: a format of a later version, or a disk that does not answer.
func recoverDir(dir string, l *slog.Logger) (*recovery, error) {
	r := &recovery{dir: dir, log: l}
	if err := r.sweep(); err != nil {
		return nil, err
	}
	if err := r.snapshots(); err != nil {
		return nil, err
	}
	if err := r.store(); err != nil {
		return nil, err
	}
	return r, nil
}

// sweep removes what a crash left half written.
func (r *recovery) sweep() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name == storeFile+".new" || strings.HasPrefix(name, ".") && strings.Contains(name, ".tmp-") {
			if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *recovery) snapshots() error {
	s := &snapshots{dir: r.dir, log: r.log}
	names, err := s.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		snap, err := s.read(name)
		if err == nil {
			_, err = meta.DecodeState(snap.state)
		}
		var osErr *fs.PathError
		switch {
		case errors.Is(err, meta.ErrNewer) || errors.As(err, &osErr):
			return fmt.Errorf("snapshot %s: %w", filepath.Join(r.dir, name), err)
		case err != nil:
			if err := r.damaged(filepath.Join(r.dir, name), "an older snapshot and the log serve instead", err); err != nil {
				return err
			}
		case r.snap == nil:
			r.snap, r.configuration = snap, snap.configuration
		}
	}
	return nil
}

// store reads the raft log. Where it is damaged, or does not join on to the snapshot, it is replaced by
// what can be used of it.
func (r *recovery) store() error {
	path := filepath.Join(r.dir, storeFile)
	data, err := readStore(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	found, err := scanStore(data)
	if errors.Is(err, meta.ErrNewer) {
		return fmt.Errorf("%s: %w", path, err)
	}
	gap := r.join(found.logs)
	if err = errors.Join(err, gap); err == nil {
		return nil
	}
	kept := fmt.Sprintf("%d of the %d entries found in it serve on", len(r.logs), len(found.logs))
	if err := r.damaged(path, kept, err); err != nil {
		return err
	}
	if len(r.logs) == 0 && r.snap == nil {
		return nil
	}
	return createStore(path, r.logs, r.values(found.values))
}

func readStore(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxStoreBytes))
}

// values returns what to keep of raft's own values: at least a term that is not below that of any entry.
func (r *recovery) values(found map[string][]byte) map[string][]byte {
	term := string(keyTerm)
	var least uint64
	if r.snap != nil {
		least = r.snap.term
	}
	if n := len(r.logs); n > 0 {
		least = max(least, r.logs[n-1].Term)
	}
	if v := found[term]; len(v) == 8 {
		least = max(least, binary.BigEndian.Uint64(v))
	}
	found[term] = binary.BigEndian.AppendUint64(nil, least)
	return found
}

// scanned is what can be read of a raft log's file.
type scanned struct {
	logs   []*raft.Log // by index
	values map[string][]byte
}

// scanStore reads all entries and values that are sound, and returns what is wrong with the rest.
func scanStore(data []byte) (*scanned, error) {
	s := &scanned{values: map[string][]byte{}}
	var errs []error
	missing := map[string]bool{
		string(bucketFormat): true, string(bucketLog): true, string(bucketStable): true,
		string(keyFormat): true, string(keyLast): true, string(keyTerm): true,
	}
	bad := func(err error) {
		if len(errs) < 20 || errors.Is(err, meta.ErrNewer) {
			errs = append(errs, err)
		}
	}
	var last uint64
	err := walkBolt(data, func(bucket, key, value []byte) {
		if key == nil {
			delete(missing, string(bucket))
			return
		}
		if string(bucket) == string(bucketLog) {
			l, err := readEntry(key, value)
			if err != nil {
				bad(err)
				return
			}
			s.logs = append(s.logs, l)
			return
		}
		v, err := decodeValue(key, value)
		switch {
		case err != nil:
			bad(err)
			return
		case string(bucket) == string(bucketStable):
			s.values[string(key)] = v
		case string(key) == string(keyFormat) && string(v) != storeFormat:
			bad(newerFormat(fmt.Sprintf("raft log (%.40q)", v), 2))
		case string(key) == string(keyLast) && len(v) == 8:
			last = binary.BigEndian.Uint64(v)
		}
		delete(missing, string(key))
	})
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		bad(fmt.Errorf("%q is missing", name))
	}
	slices.SortFunc(s.logs, func(a, b *raft.Log) int {
		if a.Index < b.Index {
			return -1
		}
		return 1
	})
	if n := len(s.logs); last > 0 && (n == 0 || s.logs[n-1].Index != last) {
		bad(fmt.Errorf("it does not end with entry %d", last))
	}
	return s, errors.Join(append(errs, err)...)
}

// readEntry reads an entry and what is in it.
func readEntry(key, value []byte) (*raft.Log, error) {
	if len(key) != 8 {
		return nil, fmt.Errorf("%w: key of %d bytes", errEntry, len(key))
	}
	l := new(raft.Log)
	if err := decodeEntry(binary.BigEndian.Uint64(key), value, l); err != nil {
		return nil, err
	}
	switch l.Type {
	case raft.LogCommand:
		if _, err := meta.DecodeCommand(l.Data); err != nil {
			return nil, fmt.Errorf("log entry %d: %w", l.Index, err)
		}
	case raft.LogConfiguration:
		if _, err := decodeConfiguration(l.Data); err != nil {
			return nil, fmt.Errorf("%w %d: %w", errEntry, l.Index, err)
		}
	case raft.LogNoop, raft.LogBarrier:
	default:
		return nil, newerFormat(fmt.Sprintf("type %d of log entry %d, of", l.Type, l.Index), 2)
	}
	return l, nil
}

// join takes over the entries behind the snapshot, up to the first that is missing. The error tells that
// not all could be taken.
func (r *recovery) join(logs []*raft.Log) error {
	var next uint64 = 1
	if r.snap != nil {
		next = r.snap.index + 1
	}
	var err error
	for _, l := range logs {
		switch {
		case l.Index < next:
			continue // in the snapshot
		case l.Index > next:
			err = fmt.Errorf("entry %d is missing before entry %d", next, l.Index)
		}
		if err != nil {
			break
		}
		r.logs = append(r.logs, l)
		if l.Type == raft.LogConfiguration {
			r.configuration = raft.DecodeConfiguration(l.Data)
		}
		next++
	}
	return err
}

// replay returns the state after all that was found, and the index of the last command in the log, 0
// where there is none. It is the committed state where the node is the only voter: then whatever is in
// its log is committed.
func (r *recovery) replay() (s *meta.State, last uint64, err error) {
	s = meta.Empty()
	if r.snap != nil {
		if s, err = meta.DecodeState(r.snap.state); err != nil {
			return nil, 0, err
		}
	}
	for _, l := range r.logs {
		if l.Type != raft.LogCommand {
			continue
		}
		c, err := meta.DecodeCommand(l.Data)
		if err != nil {
			return nil, 0, err
		}
		s, _, _ = s.Apply(c) // one that is refused was so when it was committed
		last = l.Index
	}
	return s, last, nil
}

// sole tells whether the node is the only voter there is.
func (r *recovery) sole(id raft.ServerID) bool {
	voters := 0
	for _, s := range r.configuration.Servers {
		if s.Suffrage == raft.Voter {
			voters++
			if s.ID != id {
				return false
			}
		}
	}
	return voters == 1
}

// voters lists who votes, for errors.
func (r *recovery) voters() string {
	var out []string
	for _, s := range r.configuration.Servers {
		out = append(out, string(s.ID))
	}
	return strings.Join(out, ", ")
}

// fresh tells that nothing was found that raft could start with.
func (r *recovery) fresh() bool { return r.snap == nil && len(r.logs) == 0 }
