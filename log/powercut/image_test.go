//go:build powercut

package powercut

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mode says what a power cut leaves of what was not synced.
type mode string

const (
	whole    mode = "whole"    // all of it: what SIGKILL leaves
	synced   mode = "synced"   // nothing
	dataOnly mode = "data"     // all data, no name
	nameOnly mode = "names"    // all names, no data
	ordered  mode = "ordered"  // any writes, torn ones too; names up to some point of each directory (a journaled file system)
	harsh    mode = "harsh"    // any writes, torn ones too; any names; sizes without their data, zeros or garbage in its place
	one      mode = "all-but1" // all but one write or a part of it
)

// variant is one of the disks that a cut at one entry may leave.
type variant struct {
	mode mode
	seed uint64 // where chance has a part
}

func (v variant) String() string { return fmt.Sprintf("%s:%d", v.mode, v.seed) }

func parseVariant(s string) (variant, error) {
	m, n, _ := strings.Cut(s, ":")
	seed, err := strconv.ParseUint(n, 10, 64)
	if err != nil || !slices.Contains([]mode{whole, synced, dataOnly, nameOnly, ordered, harsh, one}, mode(m)) {
		return variant{}, fmt.Errorf("%q is no variant such as ordered:17", s)
	}
	return variant{mode(m), seed}, nil
}

// image is a disk after a cut.
type image struct {
	dirs  []string // parents first
	files map[string]content
}

// dice decides the fate of what was not synced.
type dice struct {
	*rand.Rand
	mode  mode
	data  float64 // share of the writes that are kept
	torn  float64 // share of them of which only a part is
	names float64 // share of the names that are kept
	unit  int64   // in which writes are torn, bytes
	spare int     // mode one: the change that is not kept, counted over all files
	seen  int
	tell  bool // keeps fate
	fate  []string
}

func newDice(d *disk, v variant) *dice {
	r := &dice{Rand: rand.New(rand.NewPCG(v.seed, 0x9c07)), mode: v.mode}
	shares := []float64{0, 0.1, 0.5, 0.9, 1}
	r.data, r.names = shares[r.IntN(len(shares))], shares[r.IntN(len(shares))]
	r.torn = []float64{0, 0.2, 0.6}[r.IntN(3)]
	r.unit = []int64{sectorSize, pageSize}[r.IntN(2)]
	n := 0
	for _, f := range d.files {
		n += len(f.pending)
	}
	r.spare = r.IntN(max(n, 1))
	return r
}

func (r *dice) note(format string, args ...any) {
	if r.tell {
		r.fate = append(r.fate, fmt.Sprintf(format, args...))
	}
}

// cut returns the disk that a power cut leaves.
func (d *disk) cut(v variant) image { return d.cutBy(newDice(d, v)) }

// explain returns the fate of everything that was not synced, for people.
func (d *disk) explain(v variant) []string {
	r := newDice(d, v)
	r.tell = true
	d.cutBy(r)
	return r.fate
}

func (d *disk) cutBy(r *dice) image {
	img := image{files: map[string]content{}}
	names := map[uint64]map[string]uint64{}
	for _, ino := range inodes(d.dirs) {
		names[ino] = d.dirs[ino].cut(r, ino)
	}
	contents := map[uint64]content{}
	for _, ino := range inodes(d.files) {
		contents[ino] = d.files[ino].cut(r, ino)
	}
	var walk func(dir uint64, prefix string)
	walk = func(dir uint64, prefix string) {
		for _, name := range slices.Sorted(maps.Keys(names[dir])) {
			ino := names[dir][name]
			if _, ok := d.dirs[ino]; ok {
				img.dirs = append(img.dirs, prefix+name)
				walk(ino, prefix+name+"/")
			} else {
				img.files[prefix+name] = contents[ino]
			}
		}
	}
	walk(rootIno, "")
	return img
}

// cut returns the names that are left.
func (d *directory) cut(r *dice, ino uint64) map[string]uint64 {
	names := maps.Clone(d.synced)
	upTo := r.IntN(len(d.pending) + 1)
	for i := range d.pending {
		e := &d.pending[i]
		keep := true
		switch r.mode {
		case synced, dataOnly:
			keep = false
		case ordered:
			keep = i < upTo
		case harsh:
			keep = r.Float64() < r.names
		case whole, nameOnly, one:
		}
		if keep {
			rename(names, e)
		}
		r.note("#%d in directory %d: %v %s", e.Begin, ino, e, map[bool]string{true: "kept", false: "LOST"}[keep])
	}
	return names
}

// cut returns the content that is left.
func (f *file) cut(r *dice, ino uint64) content {
	left := f.synced.clone()
	for i := range f.pending {
		c := &f.pending[i]
		parts, fate := r.parts(c)
		for i := range parts {
			parts[i].applyTo(&left)
		}
		if c.data == nil {
			r.note("#%d of file %d: size %d %s", c.at, ino, c.size, fate)
		} else {
			r.note("#%d of file %d: %d bytes at %d %s", c.at, ino, len(c.data), c.off, fate)
		}
	}
	switch {
	case len(f.pending) == 0:
	case r.mode == nameOnly:
		left.resize(max(left.size, f.now.size))
	case r.mode == harsh && r.IntN(3) == 0:
		f.stretch(r, &left, ino)
	}
	return left
}

// parts returns what is left of one change.
func (r *dice) parts(c *change) (parts []change, fate string) {
	all := []change{*c}
	tear := false
	switch r.mode {
	case whole, dataOnly:
		return all, "kept"
	case synced, nameOnly:
		return nil, "LOST"
	case one:
		r.seen++
		if r.seen-1 != r.spare {
			return all, "kept"
		}
		tear = r.IntN(2) == 0
		if !tear {
			return nil, "LOST"
		}
	case ordered, harsh:
		if r.Float64() >= r.data {
			return nil, "LOST"
		}
		tear = r.Float64() < r.torn
	}
	if !tear || c.data == nil {
		return all, "kept"
	}
	first := c.off / r.unit
	units := int((c.off+int64(len(c.data))-1)/r.unit - first + 1)
	keep := make([]bool, units)
	switch at := r.IntN(units + 1); r.IntN(3) {
	case 0: // the beginning
		for i := range keep {
			keep[i] = i < at
		}
	case 1: // the end
		for i := range keep {
			keep[i] = i >= at
		}
	default:
		for i := range keep {
			keep[i] = r.IntN(2) == 0
		}
	}
	if r.mode == one && !slices.Contains(keep, false) {
		keep[r.IntN(units)] = false
	}
	var marks strings.Builder
	for i, k := range keep {
		if k {
			from := (first + int64(i)) * r.unit
			parts = append(parts, c.part(from, from+r.unit))
		}
		marks.WriteByte(".x"[map[bool]int{false: 0, true: 1}[k]])
	}
	return parts, fmt.Sprintf("TORN, of %d bytes each: %.64s", r.unit, marks.String())
}

// stretch gives a file a size that it had, or would have had, without the data that belongs to it.
func (f *file) stretch(r *dice, left *content, ino uint64) {
	probe := content{size: f.synced.size}
	sizes := []int64{probe.size}
	for i := range f.pending {
		if c := &f.pending[i]; c.data == nil {
			probe.size = c.size
		} else {
			probe.size = max(probe.size, c.end)
		}
		sizes = append(sizes, probe.size)
	}
	size := sizes[r.IntN(len(sizes))]
	garbage := r.IntN(2) == 0
	left.resize(size)
	r.note("file %d: size %d without its data, garbage %v", ino, size, garbage)
	if !garbage {
		return
	}
	for at := (f.synced.size + pageSize - 1) / pageSize * pageSize; at < size; at += pageSize {
		if i := at / pageSize; i >= int64(len(left.pages)) || left.pages[i] == nil {
			b := make([]byte, min(pageSize, size-at))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			left.put(at, b)
		}
	}
}

// names returns the files' names in order.
func (m *image) names() []string { return slices.Sorted(maps.Keys(m.files)) }

// write makes the image a directory of real files.
func (m *image) write(dir string) error {
	for _, d := range m.dirs {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	var buf []byte
	for name, c := range m.files {
		buf = c.appendTo(buf[:0])
		if err := os.WriteFile(filepath.Join(dir, name), buf, 0o600); err != nil {
			return err
		}
	}
	return nil
}
