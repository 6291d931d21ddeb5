package store

import (
	"errors"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func TestSpanOutlivesTheStoreAndItsFileIsClosedWithIt(t *testing.T) {
	s := openTest(t, testOptions(t.TempDir()))
	p := newSource(t, s, "p", 0)
	for range 40 {
		p.mustAppend(t, 4, 20<<10)
	}
	var held []*Span
	for _, from := range []int64{0, p.durable - 1} { // in a sealed segment and in the active one
		sp, err := s.Log(p.id).Read(from, p.durable, 1)
		if err != nil || sp.tx == nil {
			t.Fatalf("%+v, %v", sp, err)
		}
		held = append(held, sp)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Log(p.id).Read(0, p.durable, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("read of a closed store: %v, want ErrClosed", err)
	}
	for _, sp := range held {
		if !sp.Batches[0].VerifyCRC() {
			t.Error("a held span changed")
		}
		path := sp.seg.path
		sp.Release()
		db, err := bolt.Open(path, 0o600, boltOptions(0, false)) // locks the file, which nobody else may have open
		if err != nil {
			t.Fatalf("%s is still open: %v", path, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
