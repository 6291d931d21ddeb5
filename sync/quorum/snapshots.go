package quorum

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/sync/meta"
)

// snapshotsKept is how many snapshots stay. The raft log keeps what leads from the older to the newer,
// see trailingLogs.
const snapshotsKept = 2

const snapshotSuffix = ".snapshot"

// snapshots is a raft.SnapshotStore: one file a snapshot, written whole or not at all.
type snapshots struct {
	dir    string
	faults fsx.Faults
	log    *slog.Logger
}

// snapshotName sorts as term and index do.
func snapshotName(term, index uint64) string {
	return fmt.Sprintf("%016x-%016x%s", term, index, snapshotSuffix)
}

// list returns the names of all snapshots, the newest first.
func (s *snapshots) list() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), snapshotSuffix) && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Compare(b, a) })
	return out, nil
}

func (s *snapshots) read(name string) (*snapshot, error) {
	b, err := fsx.ReadFile(filepath.Join(s.dir, name), maxSnapshot)
	if err != nil {
		return nil, err
	}
	return decodeSnapshot(b)
}

func (s *snapshots) meta(name string, snap *snapshot) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version:            raft.SnapshotVersionMax,
		ID:                 name,
		Index:              snap.index,
		Term:               snap.term,
		Configuration:      snap.configuration,
		ConfigurationIndex: snap.configurationIndex,
		Size:               int64(len(snap.state)),
	}
}

// List implements [raft.SnapshotStore], newest first. A file that cannot be read is left out.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.list()
	if err != nil {
		return nil, err
	}
	var out []*raft.SnapshotMeta
	for _, name := range names {
		snap, err := s.read(name)
		if err != nil {
			s.log.Warn("snapshot of the metadata is left out", "file", name, "err", err)
			continue
		}
		out = append(out, s.meta(name, snap))
	}
	return out, nil
}

// Open implements [raft.SnapshotStore].
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	snap, err := s.read(filepath.Base(id))
	if err != nil {
		return nil, nil, err
	}
	return s.meta(id, snap), io.NopCloser(bytes.NewReader(snap.state)), nil
}

// Create implements [raft.SnapshotStore].
func (s *snapshots) Create(_ raft.SnapshotVersion, index, term uint64, c raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &snapshotSink{
		store: s,
		name:  snapshotName(term, index),
		snap:  snapshot{index: index, term: term, configuration: c, configurationIndex: configurationIndex},
	}, nil
}

// snapshotSink gathers a snapshot in memory, which is where the state is anyway, and stores it when it
// is closed.
type snapshotSink struct {
	store *snapshots
	name  string
	snap  snapshot
	done  bool
}

func (k *snapshotSink) ID() string { return k.name }

func (k *snapshotSink) Write(p []byte) (int, error) {
	if len(k.snap.state)+len(p) > meta.MaxStateBytes {
		return 0, meta.ErrTooLarge
	}
	k.snap.state = append(k.snap.state, p...)
	return len(p), nil
}

func (k *snapshotSink) Cancel() error {
	k.done = true
	return nil
}

func (k *snapshotSink) Close() error {
	if k.done {
		return nil
	}
	k.done = true
	err := k.store.write(k.name, &k.snap)
	if err != nil {
		k.store.log.Error("snapshot of the metadata could not be stored; the log goes on growing", "file", k.name, "err", err)
	}
	return err
}

func (s *snapshots) write(name string, snap *snapshot) error {
	b, err := snap.encode()
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, name)
	if err := fsx.Check(s.faults, "quorum.snapshot", path); err != nil {
		return err
	}
	if err := fsx.WriteFile(path, b, 0o600); err != nil {
		return err
	}
	names, err := s.list()
	if err != nil {
		return err
	}
	for _, old := range names[min(len(names), snapshotsKept):] {
		if err := os.Remove(filepath.Join(s.dir, old)); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.log.Warn("old snapshot of the metadata stays", "file", old, "err", err)
		}
	}
	return nil
}
