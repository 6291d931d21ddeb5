package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// newDisk returns a disk of n sectors of zeros.
func newDisk(t *testing.T, n int64) *Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, n*Sector); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func chance(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// content is n sectors that say which version they are.
func content(version uint64, n int) []byte {
	b := make([]byte, n*Sector)
	for at := 0; at < len(b); at += 8 {
		binary.BigEndian.PutUint64(b[at:], version)
	}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// version reads a sector and tells which version of it is there, once all of it is the same.
func version(t *testing.T, d *Disk, sector int64) uint64 {
	t.Helper()
	b := make([]byte, Sector)
	must(t, d.Read(b, sector*Sector))
	v := binary.BigEndian.Uint64(b)
	if !bytes.Equal(b, content(v, 1)) {
		t.Fatalf("sector %d is torn", sector)
	}
	return v
}

func TestCutDropsWhatWasNotFlushed(t *testing.T) {
	d := newDisk(t, 16)
	must(t, d.Write(content(1, 4), 0, false))
	must(t, d.Flush())
	must(t, d.Write(content(2, 4), 2*Sector, false))
	must(t, d.Write(content(3, 1), 8*Sector, true))
	must(t, d.Write(content(4, 1), 9*Sector, false))
	for sector, want := range []uint64{1, 1, 2, 2, 2, 2, 0, 0, 3, 4} {
		if got := version(t, d, int64(sector)); got != want {
			t.Errorf("before the cut sector %d has version %d, want %d", sector, got, want)
		}
	}
	loss, err := d.Cut(nil)
	must(t, err)
	if loss.Writes != 3 || loss.Dropped != 2 || loss.Torn != 0 || loss.Bytes != 6*Sector {
		t.Errorf("%+v", loss)
	}
	for sector, want := range []uint64{1, 1, 1, 1, 0, 0, 0, 0, 3, 0} {
		if got := version(t, d, int64(sector)); got != want {
			t.Errorf("after the cut sector %d has version %d, want %d", sector, got, want)
		}
	}
}

// A sector never has anything else than what it had when it was last safe, or what was written to it since.
func TestCutLeavesOnlyWhatMayBeLeft(t *testing.T) {
	rnd := chance(t)
	const sectors = 40
	seen := Loss{}
	for range 300 {
		d := newDisk(t, sectors)
		var may [sectors][]uint64 // the versions that a cut may leave
		for s := range may {
			may[s] = []uint64{0}
		}
		for v := uint64(1); v < 100; v++ {
			switch at, n := rnd.IntN(sectors), 1+rnd.IntN(8); {
			case rnd.IntN(20) == 0:
				must(t, d.Flush())
				for s := range may {
					may[s] = may[s][len(may[s])-1:]
				}
			case rnd.IntN(20) == 0:
				loss, err := d.Cut(rnd)
				must(t, err)
				seen.Dropped += loss.Dropped
				seen.Torn += loss.Torn
				for s := range may {
					got := version(t, d, int64(s))
					if !slices.Contains(may[s], got) {
						t.Fatalf("%v: sector %d has version %d, it may have %v", loss, s, got, may[s])
					}
					may[s] = []uint64{got}
				}
			default:
				n = min(n, sectors-at)
				through := rnd.IntN(10) == 0
				must(t, d.Write(content(v, n), int64(at)*Sector, through))
				for s := at; s < at+n; s++ {
					if through {
						may[s] = nil
					}
					may[s] = append(may[s], v)
				}
			}
			s := rnd.IntN(sectors)
			if got := version(t, d, int64(s)); got != may[s][len(may[s])-1] {
				t.Fatalf("sector %d reads as version %d, %d was written last", s, got, may[s][len(may[s])-1])
			}
		}
		must(t, d.Close())
	}
	if seen.Dropped == 0 || seen.Torn == 0 {
		t.Errorf("cuts that drop and tear nothing: %+v", seen)
	}
}

func TestSuperblockIsNotTorn(t *testing.T) {
	rnd := chance(t)
	for range 300 {
		d := newDisk(t, 8)
		must(t, d.Write(content(1, 8), 0, false))
		_, err := d.Cut(rnd)
		must(t, err)
		if a, b := version(t, d, 2), version(t, d, 3); a != b {
			t.Fatalf("its sectors have versions %d and %d", a, b)
		}
		must(t, d.Close())
	}
}

func TestTrapSpringsBeforeTheOperation(t *testing.T) {
	d := newDisk(t, 16)
	sprung := d.Set(Trap{Op: OpFlush, Nth: 2, Writes: 2})
	must(t, d.Write(content(1, 1), 0, false))
	must(t, d.Flush()) // finds one write only
	for range 2 {
		must(t, d.Write(content(2, 1), 0, false))
	}
	must(t, d.Flush()) // the first
	for range 2 {
		must(t, d.Write(content(3, 1), 0, false))
	}
	select {
	case <-sprung:
		t.Fatal("too early")
	default:
	}
	if err := d.Flush(); !errors.Is(err, ErrOff) {
		t.Errorf("the flush returns %v", err)
	}
	<-sprung
	b := make([]byte, Sector)
	for what, err := range map[string]error{"read": d.Read(b, 0), "write": d.Write(b, 0, true), "flush": d.Flush()} {
		if !errors.Is(err, ErrOff) {
			t.Errorf("%s without power: %v", what, err)
		}
	}
	_, err := d.Cut(nil)
	must(t, err)
	if got := version(t, d, 0); got != 2 {
		t.Errorf("version %d is left", got)
	}
}

func TestWriteThatSpringsATrapIsDroppedOrNot(t *testing.T) {
	rnd := chance(t)
	var left [2]int
	for range 200 {
		d := newDisk(t, 4)
		d.Set(Trap{Op: OpWrite, Nth: 1})
		if err := d.Write(content(1, 1), 0, true); !errors.Is(err, ErrOff) {
			t.Fatalf("the write returns %v", err)
		}
		_, err := d.Cut(rnd)
		must(t, err)
		left[version(t, d, 0)]++
		must(t, d.Close())
	}
	if left[0] == 0 || left[1] == 0 {
		t.Errorf("%d times dropped, %d times not", left[0], left[1])
	}
}

func TestLyingDiskLosesWhatItSaidItHad(t *testing.T) {
	d := newDisk(t, 4)
	d.Lie()
	must(t, d.Write(content(1, 1), 0, false))
	must(t, d.Flush())
	_, err := d.Cut(nil)
	must(t, err)
	if got := version(t, d, 0); got != 0 {
		t.Errorf("version %d is there", got)
	}
}

func TestRewindGoesBackToTheLastCut(t *testing.T) {
	d := newDisk(t, 4)
	must(t, d.Write(content(1, 2), 0, true))
	must(t, d.Flush())
	_, err := d.Cut(nil)
	must(t, err)
	for v := uint64(2); v < 10; v++ {
		must(t, d.Write(content(v, 2), int64(v%3)*Sector, false))
		must(t, d.Flush())
	}
	must(t, d.Write(content(10, 1), 0, false))
	must(t, d.Rewind())
	for sector, want := range []uint64{1, 1, 0, 0} {
		if got := version(t, d, int64(sector)); got != want {
			t.Errorf("sector %d has version %d, want %d", sector, got, want)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	d := newDisk(t, 4096)
	for range 2 * cacheBytes / (2048 * Sector) {
		must(t, d.Write(content(1, 2048), 0, false))
		if d.cached > cacheBytes || len(d.newest) > 2048 {
			t.Fatalf("%d bytes, %d sectors in the cache", d.cached, len(d.newest))
		}
	}
}

func TestOnlyWholeSectorsOfTheDisk(t *testing.T) {
	d := newDisk(t, 4)
	for _, c := range []struct{ at, n int64 }{{4 * Sector, Sector}, {3 * Sector, 2 * Sector}, {1, Sector}, {0, 1}, {-Sector, Sector}, {1<<63 - Sector, Sector}} {
		if err := d.Read(make([]byte, c.n), c.at); !errors.Is(err, ErrRange) {
			t.Errorf("read of %d bytes at %d: %v", c.n, c.at, err)
		}
		if err := d.Write(make([]byte, c.n), c.at, false); !errors.Is(err, ErrRange) {
			t.Errorf("write of %d bytes at %d: %v", c.n, c.at, err)
		}
	}
	path := filepath.Join(t.TempDir(), "odd.img")
	must(t, os.WriteFile(path, make([]byte, Sector+1), 0o600))
	if _, err := OpenDisk(path); !errors.Is(err, ErrRange) {
		t.Errorf("an image of %d bytes: %v", Sector+1, err)
	}
}
