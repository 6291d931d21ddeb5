package quorum

import (
	"bytes"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/sync/meta"
)

func crcOf(s string) uint32 { return crc32.Checksum([]byte(s), castagnoli) }

// switchable is a set of steps that fail.
type switchable struct {
	mu   sync.Mutex
	on   []string
	seen map[string]chan struct{}
}

func (s *switchable) set(steps ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = steps
}

func (s *switchable) channel(step string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]chan struct{}{}
	}
	if s.seen[step] == nil {
		s.seen[step] = make(chan struct{}, 1)
	}
	return s.seen[step]
}

func (s *switchable) hit(step string) bool {
	c := s.channel(step)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.on, step) {
		return false
	}
	select {
	case c <- struct{}{}:
	default:
	}
	return true
}

// wait returns when the step has failed.
func (s *switchable) wait(t *testing.T, step string) {
	t.Helper()
	select {
	case <-s.channel(step):
	case <-time.After(20 * time.Second):
		t.Fatalf("%s was never tried", step)
	}
}

func TestEntriesReadBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &raft.Log{
			Index: rapid.Uint64().Draw(t, "index"),
			Term:  rapid.Uint64().Draw(t, "term"),
			Type:  raft.LogType(rapid.Uint8().Draw(t, "type")),
		}
		if b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data"); len(b) > 0 {
			l.Data = b
		}
		if b := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "extensions"); len(b) > 0 {
			l.Extensions = b
		}
		if ns := rapid.Int64Range(-1<<60, 1<<60).Draw(t, "time"); ns != 0 {
			l.AppendedAt = time.Unix(0, ns)
		}
		b := encodeEntry(l)
		var got raft.Log
		if err := decodeEntry(l.Index, b, &got); err != nil {
			t.Fatal(err)
		}
		if !got.AppendedAt.Equal(l.AppendedAt) {
			t.Fatalf("time %v became %v", l.AppendedAt, got.AppendedAt)
		}
		got.AppendedAt = l.AppendedAt
		if !reflect.DeepEqual(&got, l) {
			t.Fatalf("%+v became %+v", l, got)
		}
		if err := decodeEntry(l.Index+1, b, &got); !errors.Is(err, errEntry) {
			t.Fatalf("read at another index: %v", err)
		}
		bit := rapid.IntRange(0, len(b)*8-1).Draw(t, "bit")
		b[bit/8] ^= 1 << (bit % 8)
		if err := decodeEntry(l.Index, b, &got); !errors.Is(err, errEntry) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
	})
}

func TestIdentityReadsBackAsItWas(t *testing.T) {
	for _, id := range []identity{{node: 1}, {node: 1 << 30, cluster: NewClusterID()}, {node: 0, cluster: NewClusterID()}} {
		b := id.encode()
		if got, err := decodeIdentity(b); err != nil || got != id {
			t.Errorf("%+v became %+v, %v", id, got, err)
		}
		for bit := range len(b) * 8 {
			bad := bytes.Clone(b)
			bad[bit/8] ^= 1 << (bit % 8)
			if _, err := decodeIdentity(bad); !errors.Is(err, errIdentity) {
				t.Fatalf("bit %d flipped: %v", bit, err)
			}
		}
	}
}

// TestWalkAgreesWithBolt: on a sound file of any shape the walk finds what bbolt finds, in order.
func TestWalkAgreesWithBolt(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, "db")
		_ = os.Remove(path)
		db, err := openBolt(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for range rapid.IntRange(1, 4).Draw(t, "commits") {
			err := db.Update(func(tx *bolt.Tx) error {
				for range rapid.IntRange(0, 40).Draw(t, "keys") {
					bucket := rapid.SampledFrom([]string{"a", "b", "empty-not"}).Draw(t, "bucket")
					key := rapid.StringN(1, 8, 20).Draw(t, "key")
					value := string(bytes.Repeat([]byte{'v'}, rapid.SampledFrom([]int{0, 1, 100, 3000, 9000}).Draw(t, "size")))
					b, err := tx.CreateBucketIfNotExists([]byte(bucket))
					if err != nil {
						return err
					}
					if err := b.Put([]byte(key), []byte(value)); err != nil {
						return err
					}
					want[bucket+"/"+key] = value
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		if err := walkBolt(data, func(bucket, key, value []byte) {
			if key != nil {
				got[string(bucket)+"/"+string(key)] = string(value)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("found %d keys, want %d", len(got), len(want))
		}
	})
}

func TestHaltedStateMachineGoesNoFurther(t *testing.T) {
	f := newFSM(quiet(), meta.Empty(), 0, func() {})
	command := func(c meta.Command) []byte {
		b, err := meta.EncodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ids := command(&meta.AllocateProducerIDs{Count: 1})
	if o := f.Apply(&raft.Log{Index: 1, Data: ids}).(*outcome); o.err != nil || !o.result.Changed {
		t.Fatalf("got %+v", o)
	}
	for i, data := range [][]byte{[]byte(`{"type":"add-acl","body":{}}`), ids} {
		if o := f.Apply(&raft.Log{Index: uint64(2 + i), Data: data}).(*outcome); !errors.Is(o.err, meta.ErrNewer) {
			t.Errorf("got %+v", o)
		}
	}
	if _, err := f.Snapshot(); !errors.Is(err, meta.ErrNewer) {
		t.Errorf("got %v", err)
	}
	if n := f.state.Load().NextProducerID; n != 1 {
		t.Errorf("next producer id %d", n)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(uint64(1), encodeEntry(&raft.Log{Index: 1, Term: 2, Data: []byte("x"), Extensions: []byte("y")}))
	f.Add(uint64(0), []byte{})
	f.Fuzz(func(t *testing.T, index uint64, b []byte) {
		var l raft.Log
		if decodeEntry(index, b, &l) == nil {
			if again := encodeEntry(&l); !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
		}
		_, _ = decodeValue([]byte("k"), b)
		_, _ = decodeIdentity(b)
	})
}

func FuzzDecodeSnapshot(f *testing.F) {
	s := snapshot{index: 9, term: 2, configurationIndex: 1, state: []byte("{}")}
	s.configuration.Servers = []raft.Server{{ID: "node-1", Address: "node-1"}}
	b, err := s.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= snapshotHead { // let the fuzzer get past the CRC
			b = bytes.Clone(b)
			for i, c := range []byte{24, 16, 8, 0} {
				b[12+i] = byte(snapshotCRC(b) >> c)
			}
		}
		s, err := decodeSnapshot(b)
		if err != nil {
			return
		}
		if _, err := s.encode(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzScanStore: no file is so broken that reading it panics.
func FuzzScanStore(f *testing.F) {
	dir, _ := populated(f)
	b, err := os.ReadFile(filepath.Join(dir, storeFile))
	if err != nil {
		f.Fatal(err)
	}
	metas, err := boltfile.Metas(b)
	if err != nil {
		f.Fatal(err)
	}
	base := b[:int(metas[0].Pages)*pageSize]
	f.Add(uint32(0), []byte{}, uint32(0))
	f.Add(uint32(pageSize*3+10), []byte{0xff, 0xff}, uint32(100))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, cut uint32) {
		b := bytes.Clone(base)
		b = b[:len(b)-int(cut)%len(b)]
		copy(b[int(at)%len(b):], patch)
		s, err := scanStore(b)
		if err != nil {
			return
		}
		r := &recovery{}
		_ = r.join(s.logs)
		if _, _, err := r.replay(); err != nil {
			t.Fatal(err)
		}
	})
}
