package quorum

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/sync/meta"
)

// populated returns a directory with two snapshots, topics before, between and behind them, and the
// cluster's id. The log has everything.
func populated(t testing.TB) (dir, cluster string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "quorum")
	q, err := Open(Options{Dir: dir, NodeID: 1, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	do := func(c meta.Command) {
		if _, err := q.Propose(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	do(&meta.RegisterBroker{ID: 1, Incarnation: "x"})
	for i := range 6 {
		do(create(fmt.Sprint("t", i)))
		if i == 1 || i == 3 {
			if err := q.raft.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
	cluster = q.State().ClusterID
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, cluster
}

func snapshotPaths(t testing.TB, dir string) []string {
	t.Helper()
	names, err := (&snapshots{dir: dir}).list()
	if err != nil || len(names) != 2 {
		t.Fatalf("%v, %v", names, err)
	}
	return []string{filepath.Join(dir, names[0]), filepath.Join(dir, names[1])}
}

func flip(t testing.TB, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[(at+int64(len(b)))%int64(len(b))] ^= 0x40
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// inLog finds the value of the entry at which a topic was created, and returns a position in it.
func inLog(t testing.TB, dir, topic string) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, storeFile))
	if err != nil {
		t.Fatal(err)
	}
	at := int64(-1)
	base := &b[0]
	err = walkBolt(b, func(bucket, _, value []byte) {
		if i := bytes.Index(value, []byte(`"name":"`+topic+`"`)); string(bucket) == "log" && i >= 0 {
			for j := range b {
				if &b[j] == &value[i] {
					at = int64(j)
					break
				}
			}
		}
	})
	_ = base
	if err != nil || at < 0 {
		t.Fatalf("%s is not in the log: %v", topic, err)
	}
	return at
}

// TestNodeBootsWhateverIsDamaged is the table of damage: what is done to a directory, what is left of the
// six topics, and what is set aside.
func TestNodeBootsWhateverIsDamaged(t *testing.T) {
	for _, c := range []struct {
		name   string
		harm   func(t *testing.T, dir string)
		topics int
		aside  []string // parts of the names
	}{
		{"nothing", func(t *testing.T, dir string) {}, 6, nil},
		{"newest snapshot flipped", func(t *testing.T, dir string) { flip(t, snapshotPaths(t, dir)[0], -3) }, 6, []string{".snapshot.damaged-1"}},
		{"newest snapshot cut", func(t *testing.T, dir string) { cut(t, snapshotPaths(t, dir)[0], 20) }, 6, []string{".snapshot.damaged-1"}},
		{"newest snapshot empty", func(t *testing.T, dir string) { cut(t, snapshotPaths(t, dir)[0], 0) }, 6, []string{".snapshot.damaged-1"}},
		{"newest snapshot has another magic", func(t *testing.T, dir string) { flip(t, snapshotPaths(t, dir)[0], 0) }, 6, []string{".snapshot.damaged-1"}},
		{"both snapshots flipped", func(t *testing.T, dir string) {
			for _, p := range snapshotPaths(t, dir) {
				flip(t, p, -3)
			}
		}, 6, []string{".snapshot.damaged-1", ".snapshot.damaged-1"}},
		{"newest snapshot is sound but its state is not", func(t *testing.T, dir string) {
			p := snapshotPaths(t, dir)[0]
			s := &snapshots{dir: dir, log: quiet()}
			snap, err := s.read(filepath.Base(p))
			if err != nil {
				t.Fatal(err)
			}
			snap.state = []byte(`{"format":"culvert-meta","version":1,"brokers":[{"id":-4}]}`)
			b, _ := snap.encode()
			write(t, p, b)
		}, 6, []string{".snapshot.damaged-1"}},
		{"log missing", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, storeFile)) }, 4, nil},
		{"log empty", func(t *testing.T, dir string) { cut(t, filepath.Join(dir, storeFile), 0) }, 4, []string{"raft.db.damaged-1"}},
		{"log cut in a meta page", func(t *testing.T, dir string) { cut(t, filepath.Join(dir, storeFile), 5000) }, 4, []string{"raft.db.damaged-1"}},
		{"log is something else", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, storeFile), bytes.Repeat([]byte("nonsense"), 10000))
		}, 4, []string{"raft.db.damaged-1"}},
		{"log cut behind its pages", func(t *testing.T, dir string) { cut(t, filepath.Join(dir, storeFile), storeReserve-pageSize) }, 6, nil},
		{"entry behind the snapshots flipped", func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, storeFile), inLog(t, dir, "t4"))
		}, 4, []string{"raft.db.damaged-1"}},
		{"last entry flipped", func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, storeFile), inLog(t, dir, "t5"))
		}, 5, []string{"raft.db.damaged-1"}},
		{"entry that is in a snapshot flipped", func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, storeFile), inLog(t, dir, "t2"))
		}, 6, []string{"raft.db.damaged-1"}},
		{"entry between the snapshots and the newer snapshot flipped", func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, storeFile), inLog(t, dir, "t2"))
			flip(t, snapshotPaths(t, dir)[0], -3)
		}, 2, []string{".snapshot.damaged-1", "raft.db.damaged-1"}},
		{"entry missing", func(t *testing.T, dir string) { dropEntry(t, dir, "t4") }, 4, []string{"raft.db.damaged-1"}},
		{"own value flipped", func(t *testing.T, dir string) {
			inDB(t, dir, func(tx *bolt.Tx) error {
				return tx.Bucket(bucketStable).Put([]byte("CurrentTerm"), []byte{1, 2, 3, 4, 5, 6})
			})
		}, 6, []string{"raft.db.damaged-1"}},
		{"last entry missing", func(t *testing.T, dir string) { dropEntry(t, dir, "t5") }, 5, []string{"raft.db.damaged-1"}},
		{"term missing", func(t *testing.T, dir string) {
			inDB(t, dir, func(tx *bolt.Tx) error { return tx.Bucket(bucketStable).Delete(keyTerm) })
		}, 6, []string{"raft.db.damaged-1"}},
		{"bucket missing", func(t *testing.T, dir string) {
			inDB(t, dir, func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketFormat) })
		}, 6, []string{"raft.db.damaged-1"}},
		{"identity flipped", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, identityFile), 3) }, 6, []string{"identity.damaged-1"}},
		{"identity missing", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, identityFile)) }, 6, nil},
		{"leavings of a crash", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, storeFile+".new"), []byte("half"))
			write(t, filepath.Join(dir, ".0-0.snapshot.tmp-123"), []byte("half"))
		}, 6, nil},
		{"everything", func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, storeFile), inLog(t, dir, "t0"))
			for _, p := range snapshotPaths(t, dir) {
				flip(t, p, -3)
			}
		}, 0, []string{".snapshot.damaged-1", ".snapshot.damaged-1", "raft.db.damaged-1"}},
		{"everything is gone", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, storeFile))
			for _, p := range snapshotPaths(t, dir) {
				remove(t, p)
			}
		}, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, cluster := populated(t)
			c.harm(t, dir)
			var logged strings.Builder
			q := openWith(t, Options{Dir: dir, NodeID: 1, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			if n := len(q.State().Topics); n != c.topics {
				t.Errorf("%d topics are left, want %d", n, c.topics)
			}
			if q.State().ClusterID != cluster {
				t.Errorf("cluster %s became %s", cluster, q.State().ClusterID)
			}
			if len(q.Damage()) != len(c.aside) {
				t.Fatalf("damage %v, want %v", q.Damage(), c.aside)
			}
			for i, d := range q.Damage() {
				if !strings.HasSuffix(d.Aside, c.aside[i]) || d.Err == nil || d.Kept == "" {
					t.Errorf("damage %v, want %v", d, c.aside[i])
				}
				if _, err := os.Stat(d.Aside); err != nil {
					t.Error(err)
				}
				if !strings.Contains(logged.String(), "level=ERROR") || !strings.Contains(logged.String(), d.Aside) {
					t.Errorf("not logged: %s", logged.String())
				}
			}
			if len(c.aside) == 0 && strings.Contains(logged.String(), "ERROR") {
				t.Errorf("logged %s", logged.String())
			}
			// It goes on, and next time there is nothing to report.
			register(t, q)
			propose(t, q, create("after"))
			want := encoded(t, q)
			shut(t, q)
			q = open(t, dir)
			if got := encoded(t, q); got != want || len(q.Damage()) != 0 {
				t.Errorf("next time: damage %v\ngot  %s\nwant %s", q.Damage(), got, want)
			}
		})
	}
}

func cut(t testing.TB, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func inDB(t testing.TB, dir string, fn func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := openBolt(filepath.Join(dir, storeFile), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func dropEntry(t testing.TB, dir, topic string) {
	inDB(t, dir, func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLog)
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if bytes.Contains(v, []byte(`"name":"`+topic+`"`)) {
				return b.Delete(k)
			}
		}
		return fs.ErrNotExist
	})
}

// TestNodeBootsAfterRandomDamage flips bits and cuts files at random places. Whatever comes of it, the
// node boots without a panic, holds a prefix of what it held, and can be used.
func TestNodeBootsAfterRandomDamage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	from, _ := populated(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	used := usedBytes(t, from)
	for i := range 60 {
		dir := filepath.Join(t.TempDir(), "q")
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, storeFile)
		for range 1 + rng.IntN(3) {
			flip(t, path, rng.Int64N(used))
		}
		if i%10 == 9 {
			cut(t, path, rng.Int64N(used))
		}
		q, err := Open(Options{Dir: dir, NodeID: 1, Logger: quiet()})
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		n := len(q.State().Topics)
		for j := range n {
			if q.State().Topic(fmt.Sprint("t", j)) == nil {
				t.Errorf("round %d: %d topics, but not t%d", i, n, j)
			}
		}
		if n < 4 {
			t.Errorf("round %d: %d topics, the snapshot has 4", i, n)
		}
		propose(t, q, create("after"))
		shut(t, q)
	}
}

func usedBytes(t *testing.T, dir string) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, storeFile))
	if err != nil {
		t.Fatal(err)
	}
	metas, err := boltfile.Metas(b)
	if err != nil {
		t.Fatal(err)
	}
	return int64(metas[0].Pages) * pageSize
}

// A file of a later version is no damage: setting it aside would lose everything to an upgrade that was
// undone.
func TestFilesOfALaterVersionAreRefusedAndLeftAlone(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string){
		"identity": func(t *testing.T, dir string) {
			body := "culvert-quorum 2\nnode 1\nlater\n"
			write(t, filepath.Join(dir, identityFile), fmt.Appendf(nil, "%scrc32c %08x\n", body, crcOf(body)))
		},
		"snapshot": func(t *testing.T, dir string) {
			p := snapshotPaths(t, dir)[0]
			b, _ := os.ReadFile(p)
			binary.BigEndian.PutUint32(b[8:], 2)
			binary.BigEndian.PutUint32(b[12:], snapshotCRC(b))
			write(t, p, b)
		},
		"state": func(t *testing.T, dir string) {
			p := snapshotPaths(t, dir)[0]
			snap, err := (&snapshots{dir: dir}).read(filepath.Base(p))
			if err != nil {
				t.Fatal(err)
			}
			snap.state = bytes.Replace(snap.state, []byte(`"version":1`), []byte(`"version":2`), 1)
			b, _ := snap.encode()
			write(t, p, b)
		},
		"command": func(t *testing.T, dir string) {
			putEntry(t, dir, &raft.Log{Index: 500, Type: raft.LogCommand, Data: []byte(`{"type":"add-acl","body":{}}`)})
		},
		"entry": func(t *testing.T, dir string) {
			inDB(t, dir, func(tx *bolt.Tx) error {
				b := encodeEntry(&raft.Log{Index: 500})
				b[0] = 2
				binary.BigEndian.PutUint32(b[26:], entryCRC(500, b))
				return tx.Bucket(bucketLog).Put(indexKey(500), b)
			})
		},
		"format": func(t *testing.T, dir string) {
			inDB(t, dir, func(tx *bolt.Tx) error {
				return tx.Bucket(bucketFormat).Put(keyFormat, encodeValue(keyFormat, []byte("culvert raft log 2")))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := populated(t)
			change(t, dir)
			before := listing(t, dir)
			if _, err := Open(Options{Dir: dir, NodeID: 1, Logger: quiet()}); !errors.Is(err, meta.ErrNewer) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v", err)
			}
			if after := listing(t, dir); after != before {
				t.Errorf("files were %s, are %s", before, after)
			}
		})
	}
}

func putEntry(t *testing.T, dir string, l *raft.Log) {
	inDB(t, dir, func(tx *bolt.Tx) error { return putLogs(tx, []*raft.Log{l}) })
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

// faults fails steps for as long as it is told to.
type faults struct{ on func(step string) bool }

func (f faults) Before(step, path string) error {
	if f.on(step) {
		return &fs.PathError{Op: step, Path: path, Err: unix.ENOSPC}
	}
	return nil
}

func TestFullDiskRefusesProposalsAndRecovers(t *testing.T) {
	var full switchable
	q := openWith(t, Options{Dir: t.TempDir(), NodeID: 1, Logger: quiet(), Faults: faults{full.hit}})
	register(t, q)
	propose(t, q, create("before"))
	want := encoded(t, q)
	full.set("quorum.log", "quorum.stable", "quorum.snapshot")
	if _, err := q.Propose(t.Context(), create("a")); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := q.Propose(ctx, create("b")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody leads now, got %v", err)
	}
	if encoded(t, q) != want {
		t.Error("the state changed")
	}
	full.set()
	propose(t, q, create("after"))
	if q.State().Topic("a") != nil || q.State().Topic("after") == nil {
		t.Error("a proposal that failed was carried out, or one after it was not")
	}
}

func TestCloseDoesNotWaitForAFullDisk(t *testing.T) {
	var full switchable
	dir := t.TempDir()
	q := openWith(t, Options{Dir: dir, NodeID: 1, Logger: quiet()})
	register(t, q)
	propose(t, q, create("before"))
	want := encoded(t, q)
	shut(t, q)
	full.set("quorum.log", "quorum.stable")
	// Started on a full disk, the node has its state and is asked to stop while it tries to store its term.
	q = openWith(t, Options{Dir: dir, NodeID: 1, Logger: quiet(), Faults: faults{full.hit}})
	if got := encoded(t, q); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	done := make(chan error, 1)
	go func() {
		_, err := q.Propose(t.Context(), create("waits"))
		done <- err
	}()
	full.wait(t, "quorum.stable")
	shut(t, q)
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	q = open(t, dir)
	if got := encoded(t, q); got != want || len(q.Damage()) != 0 {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFailedSnapshotsLoseNothing(t *testing.T) {
	var full switchable
	dir := t.TempDir()
	q := openWith(t, Options{Dir: dir, NodeID: 1, Logger: quiet(), Faults: faults{full.hit}})
	register(t, q)
	full.set("quorum.snapshot")
	if err := q.raft.Snapshot().Error(); err == nil {
		t.Error("a snapshot was taken on a full disk")
	}
	propose(t, q, create("a"))
	full.set()
	if err := q.raft.Snapshot().Error(); err != nil {
		t.Error(err)
	}
	want := encoded(t, q)
	shut(t, q)
	if got := encoded(t, open(t, dir)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
