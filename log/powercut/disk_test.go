//go:build powercut

package powercut

import (
	"fmt"
	"maps"
	"slices"
)

// rootIno is the inode of the file system's root.
const rootIno = 1

// disk is what a machine has on its disk and what it has only in memory, as of one entry of the journal.
//
// A write is on the disk once a sync of its file that was called after it has returned; until then it may be there, or
// not, or in part, whatever became of those before and behind it. A sync of a file brings its size, but not its name: a
// name is on the disk once a sync of its directory has returned. So much POSIX promises; a file system may do more.
type disk struct {
	files map[uint64]*file
	dirs  map[uint64]*directory
	n     int // entries applied

	// lost, where there is one, says that a sync did nothing: for tests of the laboratory itself.
	lost func(path string) bool
	// gen counts the changes of what is on the disk for certain.
	gen int
}

type file struct {
	now     content  // as the machine sees it
	synced  content  // as it is on the disk for certain
	pending []change // what lies between the two, in order
}

type directory struct {
	now     map[string]uint64
	synced  map[string]uint64
	pending []event // of names, in order
}

func newDisk() *disk {
	d := &disk{files: map[uint64]*file{}, dirs: map[uint64]*directory{}}
	d.dirs[rootIno] = newDirectory()
	return d
}

func newDirectory() *directory {
	return &directory{now: map[string]uint64{}, synced: map[string]uint64{}}
}

// apply takes the next entry of the journal into account.
func (d *disk) apply(e *event) error {
	at := d.n
	d.n++
	if e.Errno != 0 {
		return nil
	}
	switch e.Kind {
	case evCreate:
		d.files[e.Ino] = &file{}
	case evMkdir:
		d.dirs[e.Ino] = newDirectory()
	case evWrite, evSize:
		f := d.files[e.Ino]
		if f == nil {
			return fmt.Errorf("entry %d: %v: no such file", at, e)
		}
		f.change(at, e)
	case evSync:
		d.sync(e)
	case evRefused:
		return fmt.Errorf("entry %d: %v: the model does not know this call", at, e)
	case evMark, evLink, evUnlink, evRename:
	}
	if e.Dir != 0 {
		dir := d.dirs[e.Dir]
		if dir == nil || e.Kind == evRename && e.NewDir != e.Dir {
			return fmt.Errorf("entry %d: %v: the model knows no such name", at, e)
		}
		entry := *e
		entry.Begin = at
		dir.pending = append(dir.pending, entry)
		rename(dir.now, e)
	}
	return nil
}

func (f *file) change(at int, e *event) {
	if e.Kind == evSize {
		f.now.resize(e.Size)
		f.pending = append(f.pending, change{at: at, size: e.Size})
		return
	}
	f.now.put(e.Off, e.Data)
	end := e.Off + int64(len(e.Data))
	f.now.size = max(f.now.size, end)
	c := change{at: at, off: e.Off, data: e.Data, end: end}
	from := e.Off / sectorSize * sectorSize
	to := (end + sectorSize - 1) / sectorSize * sectorSize
	if from != e.Off || to != end { // a disk is written in sectors
		c.off, c.data = from, f.now.bytes(from, to-from)
	}
	f.pending = append(f.pending, c)
}

func (d *disk) sync(e *event) {
	if d.lost != nil && d.lost(d.path(e.Ino)) {
		return
	}
	if f := d.files[e.Ino]; f != nil {
		i := 0
		for ; i < len(f.pending) && f.pending[i].at < e.Begin; i++ {
			f.pending[i].applyTo(&f.synced)
		}
		f.pending = slices.Clone(f.pending[i:])
		d.gen += i
	}
	if dir := d.dirs[e.Ino]; dir != nil {
		i := 0
		for ; i < len(dir.pending) && dir.pending[i].Begin < e.Begin; i++ {
			rename(dir.synced, &dir.pending[i])
		}
		dir.pending = slices.Clone(dir.pending[i:])
		d.gen += i
	}
}

// rename applies what happened to one name. What it builds on may not have happened on a disk.
func rename(names map[string]uint64, e *event) {
	switch e.Kind {
	case evCreate, evMkdir, evLink:
		names[e.Name] = e.Ino
	case evUnlink, evRename:
		if names[e.Name] == e.Ino {
			delete(names, e.Name)
		}
		if e.Kind == evRename {
			names[e.NewName] = e.Ino
		}
	}
}

// settle puts everything on the disk.
func (d *disk) settle() {
	for ino := range d.files {
		d.sync(&event{Ino: ino, Begin: d.n})
	}
	for ino := range d.dirs {
		d.sync(&event{Ino: ino, Begin: d.n})
	}
}

// path returns a path of a file or directory as the machine sees it, for people; "" where it has none.
func (d *disk) path(ino uint64) string {
	if ino == rootIno {
		return "/"
	}
	var find func(dir uint64, prefix string) string
	find = func(dir uint64, prefix string) string {
		for name, child := range d.dirs[dir].now {
			if child == ino {
				return prefix + name
			}
			if d.dirs[child] != nil {
				if p := find(child, prefix+name+"/"); p != "" {
					return p
				}
			}
		}
		return ""
	}
	return find(rootIno, "/")
}

// quiet reports whether nothing but what is on the disk for certain is known to the machine.
func (d *disk) quiet() bool {
	for _, f := range d.files {
		if len(f.pending) > 0 {
			return false
		}
	}
	for _, dir := range d.dirs {
		if len(dir.pending) > 0 {
			return false
		}
	}
	return true
}

// inodes returns the numbers of a map of inodes in order, so that chance falls the same way every time.
func inodes[T any](m map[uint64]T) []uint64 { return slices.Sorted(maps.Keys(m)) }
