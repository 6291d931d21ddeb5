//go:build powercut

package powercut

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// script feeds a disk with calls.
type script struct {
	t *testing.T
	d *disk
}

func newScript(t *testing.T) *script { return &script{t, newDisk()} }

func (s *script) do(events ...event) *script {
	s.t.Helper()
	for i := range events {
		if events[i].Kind == evSync && events[i].Begin == 0 {
			events[i].Begin = s.d.n
		}
		if err := s.d.apply(&events[i]); err != nil {
			s.t.Fatal(err)
		}
	}
	return s
}

func create(ino uint64, name string) event {
	return event{Kind: evCreate, Ino: ino, Dir: rootIno, Name: name}
}

func move(ino uint64, from, to string) event {
	return event{Kind: evRename, Ino: ino, Dir: rootIno, Name: from, NewDir: rootIno, NewName: to}
}

func put(ino uint64, off int64, data []byte) event {
	return event{Kind: evWrite, Ino: ino, Off: off, Data: data}
}

func fsync(ino uint64) event { return event{Kind: evSync, Ino: ino} }

func fill(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

// outcomes returns what the disk may hold after a cut, each as one line, by mode.
func (s *script) outcomes(m mode, show func(image) string) []string {
	var all []string
	for seed := range uint64(2000) {
		if line := show(s.d.cut(variant{m, seed})); !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

// text shows files of few different bytes: name=byte x sectors.
func text(img image) string {
	line := ""
	for _, name := range img.names() {
		c := img.files[name]
		line += name + "="
		data := c.appendTo(nil)
		for at := 0; at < len(data); at += sectorSize {
			b := data[at]
			if b == 0 {
				b = '0'
			}
			line += string(b)
		}
		line += " "
	}
	return line
}

var chancy = []mode{ordered, harsh, one}

func TestSyncedWriteSurvivesEveryCut(t *testing.T) {
	s := newScript(t).do(create(2, "f"), fsync(rootIno), put(2, 0, fill('a', 1024)), fsync(2))
	for _, m := range append(chancy, whole, synced, dataOnly, nameOnly) {
		if got := s.outcomes(m, text); !slices.Equal(got, []string{"f=aa "}) {
			t.Errorf("%s: %q", m, got)
		}
	}
}

func TestUnsyncedWriteIsThereOrNotOrInPart(t *testing.T) {
	s := newScript(t).do(create(2, "f"), fsync(rootIno), put(2, 0, fill('a', 1024)), fsync(2), put(2, 0, fill('b', 1024)))
	for m, want := range map[mode][]string{
		ordered: {"f=aa ", "f=ab ", "f=ba ", "f=bb "},
		harsh:   {"f=aa ", "f=ab ", "f=ba ", "f=bb "},
		one:     {"f=aa ", "f=ab ", "f=ba "},
		whole:   {"f=bb "},
		synced:  {"f=aa "},
	} {
		if got := s.outcomes(m, text); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", m, got, want)
		}
	}
}

func TestUnsyncedWritesReachTheDiskInAnyOrder(t *testing.T) {
	s := newScript(t).do(create(2, "f"), fsync(rootIno), put(2, 0, fill('a', 1024)), fsync(2),
		put(2, 0, fill('b', 512)), put(2, 512, fill('c', 512)))
	if got := s.outcomes(ordered, text); !slices.Equal(got, []string{"f=aa ", "f=ac ", "f=ba ", "f=bc "}) {
		t.Errorf("%q", got)
	}
	if got := s.outcomes(one, text); !slices.Equal(got, []string{"f=ac ", "f=ba "}) {
		t.Errorf("all but one: %q", got)
	}
}

func TestSyncCoversOnlyWhatCameBeforeItsCall(t *testing.T) {
	s := newScript(t).do(create(2, "f"), fsync(rootIno), put(2, 0, fill('a', 512)))
	s.do(put(2, 0, fill('b', 512)), event{Kind: evSync, Ino: 2, Begin: s.d.n}) // called before b was written
	if got := s.outcomes(ordered, text); !slices.Equal(got, []string{"f=a ", "f=b "}) {
		t.Errorf("%q", got)
	}
}

func TestNameNeedsASyncOfItsDirectory(t *testing.T) {
	s := newScript(t).do(create(2, "f"), put(2, 0, fill('a', 512)), fsync(2))
	for _, m := range []mode{ordered, harsh} {
		if got := s.outcomes(m, text); !slices.Equal(got, []string{"", "f=a "}) {
			t.Errorf("%s: %q", m, got)
		}
	}
	s.do(fsync(rootIno))
	for _, m := range []mode{ordered, harsh} {
		if got := s.outcomes(m, text); !slices.Equal(got, []string{"f=a "}) {
			t.Errorf("%s after the sync: %q", m, got)
		}
	}
}

func TestFileMovedOverAnotherLeavesTheOldOrTheNewOne(t *testing.T) {
	s := newScript(t).do(create(2, "f"), put(2, 0, fill('a', 512)), fsync(2), create(3, "g"), put(3, 0, fill('b', 512)), fsync(3), fsync(rootIno),
		move(3, "g", "f"))
	for _, m := range []mode{ordered, harsh} {
		if got := s.outcomes(m, text); !slices.Equal(got, []string{"f=a g=b ", "f=b "}) {
			t.Errorf("%s: %q", m, got)
		}
	}
}

func TestFileMovedBeforeItsDataWasSyncedMayBeEmpty(t *testing.T) {
	s := newScript(t).do(create(2, "g"), put(2, 0, fill('b', 512)), move(2, "g", "f"), fsync(rootIno))
	for _, m := range chancy {
		if got := s.outcomes(m, text); !slices.Contains(got, "f= ") {
			t.Errorf("%s: %q", m, got)
		}
	}
	if got := s.outcomes(nameOnly, text); !slices.Equal(got, []string{"f=0 "}) {
		t.Errorf("names without data: %q", got)
	}
}

func TestNamesGoInOrderOnAJournaledFileSystemAlone(t *testing.T) {
	s := newScript(t).do(create(2, "a"), create(3, "b"))
	if got := s.outcomes(ordered, text); !slices.Equal(got, []string{"", "a= ", "a= b= "}) {
		t.Errorf("ordered: %q", got)
	}
	if got := s.outcomes(harsh, text); !slices.Equal(got, []string{"", "a= ", "a= b= ", "b= "}) {
		t.Errorf("harsh: %q", got)
	}
}

func TestLengthenedFileMayShowWhatWasNeverWritten(t *testing.T) {
	s := newScript(t).do(create(2, "f"), fsync(rootIno), put(2, 0, fill('a', pageSize)), fsync(2), put(2, pageSize, fill('b', pageSize)))
	zeros, garbage := false, false
	for _, line := range s.outcomes(harsh, func(img image) string {
		c := img.files["f"]
		return string(c.appendTo(nil))
	}) {
		if len(line) == 2*pageSize && line[pageSize] != 'b' {
			nothing := line[pageSize:] == string(fill(0, pageSize))
			zeros, garbage = zeros || nothing, garbage || !nothing
		}
		if line[:pageSize] != string(fill('a', pageSize)) {
			t.Fatal("what was synced has changed")
		}
	}
	if !zeros || !garbage {
		t.Errorf("zeros %v, garbage %v", zeros, garbage)
	}
}

func TestShortWriteTakesItsSectorAlong(t *testing.T) {
	s := newScript(t).do(create(2, "f"), fsync(rootIno), put(2, 0, []byte("one")), put(2, 3, []byte("two")))
	got := s.outcomes(ordered, func(img image) string { c := img.files["f"]; return string(c.appendTo(nil)) })
	if !slices.Equal(got, []string{"", "one", "onetwo"}) {
		t.Errorf("%q", got)
	}
}

func TestFileThatWasCutShowsZerosWhenItGrowsAgain(t *testing.T) {
	s := newScript(t).do(create(2, "f"), put(2, 0, fill('a', 3*pageSize)), event{Kind: evSize, Ino: 2, Size: 100}, event{Kind: evSize, Ino: 2, Size: 2 * pageSize})
	img := s.d.cut(variant{mode: whole})
	c := img.files["f"]
	if want := append(fill('a', 100), fill(0, 2*pageSize-100)...); !bytes.Equal(c.appendTo(nil), want) {
		t.Error("another content")
	}
}

func TestCutsOfOneSeedAreTheSame(t *testing.T) {
	s := newScript(t)
	for i := range uint64(20) {
		s.do(create(i+2, fmt.Sprint("f", i)), put(i+2, 0, fill(byte('a'+i), 2048)))
	}
	for _, m := range chancy {
		v := variant{m, 42}
		if a, b := text(s.d.cut(v)), text(s.d.cut(v)); a != b {
			t.Errorf("%s: %q and %q", m, a, b)
		}
	}
}
