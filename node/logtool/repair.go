package logtool

import (
	"context"
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
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/log/store"
)

// ErrInUse says that a node, or another tool that writes, has the log.
var ErrInUse = fsx.ErrLocked

// RepairOptions are settings of the log, as the node's configuration has them. Sizes are bytes.
type RepairOptions struct {
	SegmentBytes int64
	JournalBytes int64 // of a journal that has to be made anew; one that is whole keeps its size
	DirectBytes  int64 // from which a group does not go to the journal
	DryRun       bool
	Logger       *slog.Logger
}

// Repair is what was done, or would be.
type Repair struct {
	Before *Verdict `json:"before"`
	Mended []Mended `json:"mended"`
	After  *Verdict `json:"after"` // null where nothing was done
}

// Mended is what became of a damaged file. It is never destroyed.
type Mended struct {
	File    string   `json:"file"`     // its name in the log's directory; "" where files are missing
	Kept    string   `json:"kept_as"`  // the name that the damaged file has now
	Rebuilt bool     `json:"rebuilt"`  // what is whole of it stands in its place
	Gone    []Range  `json:"gone"`     // offsets whose records are gone
	Text    []string `json:"problems"` // what is wrong with it

	meta bool // it is one of a meta page, which the store would write anew
}

// Repair opens the log as a node does when it starts, which puts what is whole of damaged files in their place and keeps
// them under another name, does the same for segments in which a node would come upon the damage only later, and verifies the
// result. Where nothing is damaged it does nothing. With DryRun it tells what it would do. Errors: ErrInUse, those of opening
// a log.
func (t *Target) Repair(ctx context.Context, opt RepairOptions, tell func(Problem)) (*Repair, error) {
	if t.File != "" {
		return nil, fmt.Errorf("%w: %s is one file; a log is repaired as a whole", ErrNoLog, t.File)
	}
	if t.Owner != Nobody && !opt.DryRun {
		return nil, fmt.Errorf("%s: %w%s", t.Dir, ErrInUse, pidOf(t.Owner))
	}
	before, err := t.Verify(ctx, tell)
	if err != nil {
		return nil, err
	}
	r := &Repair{Before: before, Mended: []Mended{}}
	switch {
	case before.Whole():
	case opt.DryRun:
		r.Mended = t.plan(before)
	default:
		err = t.mend(ctx, opt, r)
	}
	return r, err
}

func pidOf(owner int) string {
	if owner > 0 {
		return fmt.Sprintf(" (pid %d)", owner)
	}
	return ""
}

// plan tells what Repair would do.
func (t *Target) plan(v *Verdict) []Mended {
	byFile := make(map[string]*Mended)
	for _, p := range v.Problems {
		if p.Harmless {
			continue
		}
		m := byFile[p.File]
		if m == nil {
			m = &Mended{File: p.File, Gone: []Range{}}
			if _, err := os.Lstat(filepath.Join(t.Dir, p.File)); err == nil {
				m.Kept, m.Rebuilt = freeName(t.Dir, p.File), p.File != store.JournalFile || t.headless()
			}
			byFile[p.File] = m
		}
		m.Text, m.meta = append(m.Text, p.within()), m.meta || p.meta
		if p.Of != nil && p.Of.From < p.Of.To {
			m.Gone = append(m.Gone, *p.Of)
		}
	}
	all := []Mended{}
	for _, name := range slices.Sorted(maps.Keys(byFile)) {
		m := byFile[name]
		m.Gone = mergeRanges(m.Gone)
		all = append(all, *m)
	}
	return all
}

// looksUnsealed reports whether a file is a segment that is not the newest, and not sealed for all that shows: the store
// would seal it.
func (t *Target) looksUnsealed(name string) bool {
	path := filepath.Join(t.Dir, name)
	if n := len(t.Segments); n == 0 || name == store.JournalFile || t.Segments[n-1].Path == path {
		return false
	}
	r, err := store.InspectSegment(path, store.InspectOptions{HeaderOnly: true})
	return err == nil && !r.Sealed
}

// headless reports whether the journal has lost its header alone.
func (t *Target) headless() bool {
	scan, err := store.ScanJournal(t.Journal)
	if err != nil {
		return false
	}
	defer func() { _ = scan.Close() }() // it was only read
	return scan.Header() != nil
}

// freeName returns the name that a damaged file would get.
func freeName(dir, name string) string {
	to := name + ".damaged"
	for i := 2; ; i++ {
		if _, err := os.Lstat(filepath.Join(dir, to)); errors.Is(err, fs.ErrNotExist) {
			return to
		}
		to = fmt.Sprintf("%s.damaged-%d", name, i)
	}
}

// mend repairs the log.
func (t *Target) mend(ctx context.Context, opt RepairOptions, r *Repair) error {
	if err := t.prepare(&opt, r); err != nil {
		return err
	}
	st, err := store.Open(store.Options{
		Dir: t.Dir, SegmentBytes: opt.SegmentBytes, JournalBytes: opt.JournalBytes, DirectBytes: opt.DirectBytes, Logger: opt.Logger,
		Metrics: store.NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		return err
	}
	err = t.salvage(ctx, st, r.Before)
	n := make(names)
	for _, p := range st.States() {
		n[p.ID] = p.PartitionInfo
	}
	r.Mended = append(r.Mended, t.mended(st.Damage(), n)...)
	if err = errors.Join(err, st.Close(), t.giveBack()); err != nil {
		return err
	}
	if err := t.list(); err != nil {
		return err
	}
	there := make(spans)
	if r.After, err = t.verify(ctx, func(Problem) {}, there); err != nil {
		return err
	}
	r.tellGone(there)
	return nil
}

// prepare does what has to be done before the store opens the files: those that it would write to are copied, and a journal
// whose header is damaged gets one that its frames belong to, so that it can be replayed.
func (t *Target) prepare(opt *RepairOptions, r *Repair) error {
	lock, err := fsx.LockDir(t.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // the store takes it again
	for _, m := range t.plan(r.Before) {
		if m.Kept == "" || !m.meta && !t.looksUnsealed(m.File) {
			continue
		}
		if err := copyFile(filepath.Join(t.Dir, m.File), filepath.Join(t.Dir, m.Kept)); err != nil {
			return err
		}
		r.Mended = append(r.Mended, Mended{File: m.File, Kept: m.Kept, Rebuilt: true, Gone: []Range{}, Text: m.Text})
	}
	if t.Journal == "" {
		return nil
	}
	scan, err := store.ScanJournal(t.Journal)
	if err != nil {
		return err
	}
	defer func() { _ = scan.Close() }() // it was only read
	rep, err := scan.Inspect(store.JournalOptions{Alone: true})
	if err != nil {
		return err
	}
	head := scan.Header()
	if rep.Damaged() == 0 || head != nil { // it keeps its size
		opt.JournalBytes = rep.Size
	}
	if head == nil {
		return nil
	}
	name := filepath.Base(t.Journal)
	m := Mended{File: name, Kept: freeName(t.Dir, name), Rebuilt: true, Gone: []Range{}}
	for _, p := range rep.List {
		m.Text = append(m.Text, oneLine(p.Err))
	}
	if err := copyFile(t.Journal, filepath.Join(t.Dir, m.Kept)); err != nil {
		return err
	}
	f, err := os.OpenFile(t.Journal, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(head, 0)
	r.Mended = append(r.Mended, m)
	return errors.Join(err, f.Sync(), f.Close())
}

// copyFile copies a file, and syncs the copy and its directory.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close(), fsx.SyncDir(filepath.Dir(to)))
}

// salvage has the store mend the segments that were found damaged, and that it has not come upon itself.
func (t *Target) salvage(ctx context.Context, st *store.Store, v *Verdict) error {
	for _, m := range t.plan(v) {
		number, ok := store.SegmentNumber(m.File)
		path := filepath.Join(t.Dir, m.File)
		if !ok || slices.ContainsFunc(st.Damage(), func(d store.Damage) bool { return strings.HasPrefix(d.Path, path) }) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if now, err := store.InspectSegment(path, store.InspectOptions{Checksums: true}); err != nil || now.Damaged() == 0 {
			continue // opening has mended it, or set it aside
		}
		st.Salvage(number, errors.New(strings.Join(m.Text, "; ")))
	}
	return nil
}

// mended tells what the store did.
func (t *Target) mended(all []store.Damage, n names) []Mended {
	out := []Mended{}
	for _, d := range all {
		m := Mended{Text: []string{withoutPath(d.Err)}, Gone: []Range{}}
		if d.Path != t.Dir {
			m.Kept = filepath.Base(d.Path)
			m.File, _, _ = strings.Cut(m.Kept, ".damaged")
			if m.Kept == m.File { // it serves
				m.Kept = ""
			}
			_, err := os.Lstat(filepath.Join(t.Dir, m.File))
			m.Rebuilt = err == nil && m.File != store.JournalFile
		}
		for id, holes := range d.Lost {
			for _, h := range holes {
				m.Gone = append(m.Gone, Range{n.place(id), h.From, h.To})
			}
		}
		m.Gone = mergeRanges(m.Gone)
		out = append(out, m)
	}
	return out
}

// withoutPath is the text of an error without the path that it names.
func withoutPath(err error) string {
	d, ok := errors.AsType[*store.DamageError](err)
	switch {
	case !ok:
		return oneLine(err)
	case d.Commit != 0:
		return fmt.Sprintf("commit %d: %s", d.Commit, oneLine(d.Err))
	}
	return oneLine(d.Err)
}

// tellGone makes what was found to be gone before, and is not there now, part of what is told.
func (r *Repair) tellGone(there spans) {
	known, n := make(spans), make(names)
	for _, m := range r.Mended {
		for _, g := range m.Gone {
			known.add(g.ID, g.From, g.To)
		}
	}
	rest := make(spans)
	for _, g := range r.Before.Gone {
		left := []span{{g.From, g.To}}
		for _, one := range append(slices.Clone(known[g.ID]), there[g.ID]...) {
			left = subtract(left, one)
		}
		for _, one := range left {
			rest.add(g.ID, one.from, one.to)
		}
		n[g.ID] = store.PartitionInfo{ID: g.ID, Topic: g.Topic, Index: g.Partition}
	}
	if len(rest) > 0 {
		r.Mended = append(r.Mended, Mended{Gone: rest.ranges(n), Text: []string{"of these records nothing is left"}})
	}
}

// giveBack gives the files that root has made to whom the directory belongs: the user that the node runs as.
func (t *Target) giveBack() error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := os.Stat(t.Dir)
	if err != nil {
		return err
	}
	to, ok := dir.Sys().(*syscall.Stat_t)
	entries, err := os.ReadDir(t.Dir)
	if !ok || err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if have, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() && have.Uid != to.Uid {
			if err := os.Lchown(filepath.Join(t.Dir, e.Name()), int(to.Uid), int(to.Gid)); err != nil {
				return err
			}
		}
	}
	return nil
}

// mergeRanges returns ranges in order, those of a partition that touch as one.
func mergeRanges(all []Range) []Range {
	s, n := make(spans), make(names)
	for _, r := range all {
		s.add(r.ID, r.From, r.To)
		if r.Topic != "" {
			n[r.ID] = store.PartitionInfo{ID: r.ID, Topic: r.Topic, Index: r.Partition}
		}
	}
	return s.ranges(n)
}
