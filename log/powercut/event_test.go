//go:build powercut

package powercut

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// kind is what an entry of the recorder's journal is about.
type kind uint8

const (
	evCreate  kind = iota + 1 // Name in directory Dir is the new file Ino
	evMkdir                   // Name in directory Dir is the new directory Ino
	evLink                    // Name in directory Dir is the file Ino too
	evUnlink                  // Name in directory Dir, which was Ino, is gone
	evRename                  // Name in directory Dir, which is Ino, is NewName in directory NewDir
	evWrite                   // Data lies at Off of the file Ino
	evSize                    // the file Ino has Size bytes
	evSync                    // what was done to the file or directory Ino before entry Begin is on the disk
	evMark                    // the driver notes Data, a mark
	evRefused                 // a call that the recorder does not know how to model; Name says which
)

var kindNames = [...]string{"", "create", "mkdir", "link", "unlink", "rename", "write", "size", "sync", "mark", "refused"}

func (k kind) String() string { return kindNames[k] }

// event is one entry of the recorder's journal. All entries have one order, in which a call stands where it took effect.
type event struct {
	Kind    kind
	Ino     uint64
	Dir     uint64
	Name    string
	NewDir  uint64
	NewName string
	Off     int64
	Size    int64
	Data    []byte
	Begin   int           // evSync: the number of entries there were when it was called
	Errno   syscall.Errno // why the call had no effect, 0 when it had
}

func (e *event) String() string {
	s := fmt.Sprintf("%v ino %d", e.Kind, e.Ino)
	switch e.Kind {
	case evCreate, evMkdir, evLink, evUnlink:
		s += fmt.Sprintf(" %q in %d", e.Name, e.Dir)
	case evRename:
		s += fmt.Sprintf(" %q in %d to %q in %d", e.Name, e.Dir, e.NewName, e.NewDir)
	case evWrite:
		s += fmt.Sprintf(" %d bytes at %d", len(e.Data), e.Off)
	case evSize:
		s += fmt.Sprintf(" to %d", e.Size)
	case evSync:
		s += fmt.Sprintf(" of what came before #%d", e.Begin)
	case evMark:
		s = "mark " + string(e.Data[:min(len(e.Data), 200)])
	case evRefused:
		s += " " + e.Name
	}
	if e.Errno != 0 {
		s += ": " + e.Errno.Error()
	}
	return s
}

// readEvents reads a whole journal.
func readEvents(path string) ([]event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dec := gob.NewDecoder(bufio.NewReaderSize(f, 1<<20))
	var all []event
	for {
		var e event
		switch err := dec.Decode(&e); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%s: entry %d: %w", path, len(all), err)
		}
		all = append(all, e)
	}
}
