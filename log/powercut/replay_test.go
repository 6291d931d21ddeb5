//go:build powercut

package powercut

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// cutAt is one power cut: what the machine had done before entry at of the journal, and what the disk made of it.
type cutAt struct {
	at      int
	variant variant
}

// failure is a cut that a store did not stand.
type failure struct {
	cutAt
	err error
}

// session is a journal that has been read.
type session struct {
	events []event
	path   string
	first  int // the first entry behind which the power may be cut
}

func readSession(path string) (*session, error) {
	events, err := readEvents(path)
	if err != nil {
		return nil, err
	}
	s := &session{events: events}
	based := false
	for i := range events {
		if events[i].Kind != evMark {
			continue
		}
		m, err := decodeMark(events[i].Data)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		based = based || m.Kind == markBase
		if based && m.Kind == markLife {
			s.first = i + 1
			return s, nil
		}
	}
	return nil, errors.New("no driver has begun in this journal")
}

// walker goes through a session entry by entry.
type walker struct {
	s     *session
	disk  *disk
	led   *ledger
	prior []mark // all so far
}

func newWalker(s *session) *walker { return &walker{s: s, disk: newDisk(), led: newLedger()} }

// to goes on until the entries before at are applied.
func (w *walker) to(at int) error {
	for w.disk.n < at {
		i := w.disk.n
		e := &w.s.events[i]
		if err := w.disk.apply(e); err != nil {
			return err
		}
		if e.Kind != evMark {
			continue
		}
		m, err := decodeMark(e.Data)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if m.Kind == markBase {
			w.disk.settle()
			continue
		}
		w.prior = append(w.prior, m)
		if err := w.led.apply(&m); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return nil
}

// drawCuts chooses n cuts of a session, in order of their place.
func (s *session) drawCuts(r *rand.Rand, n int) []cutAt {
	cuts := make([]cutAt, n)
	for i := range cuts {
		c := cutAt{at: s.first + r.IntN(len(s.events)-s.first+1), variant: variant{seed: r.Uint64()}}
		switch k := r.IntN(100); {
		case k < 10:
			c.variant.mode = whole
		case k < 22:
			c.variant.mode = synced
		case k < 26:
			c.variant.mode = dataOnly
		case k < 30:
			c.variant.mode = nameOnly
		case k < 58:
			c.variant.mode = ordered
		case k < 80:
			c.variant.mode = harsh
		default:
			c.variant.mode = one
		}
		cuts[i] = c
	}
	slices.SortStableFunc(cuts, func(a, b cutAt) int { return cmp.Compare(a.at, b.at) })
	return cuts
}

// everyCut returns all cuts of a session in the modes without chance, and some in each of the others.
func (s *session) everyCut(r *rand.Rand, some int) []cutAt {
	var cuts []cutAt
	for at := s.first; at <= len(s.events); at++ {
		for _, m := range []mode{whole, synced, dataOnly, nameOnly} {
			cuts = append(cuts, cutAt{at, variant{mode: m}})
		}
		for _, m := range []mode{ordered, harsh, one} {
			for range some {
				cuts = append(cuts, cutAt{at, variant{m, r.Uint64()}})
			}
		}
	}
	return cuts
}

// replay makes the cuts, which are in order of their place, and returns those that the store did not stand, at most a
// few, and the number of those that were looked at: cuts that leave the same disk to the same ledger count once.
func (s *session) replay(cuts []cutAt, scratch string, prepare func(*disk)) (looked int, failures []failure, err error) {
	type job struct {
		cutAt
		img image
		led *ledger
	}
	const enough = 3
	jobs := make(chan job)
	var mu sync.Mutex
	var wg sync.WaitGroup
	full := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(failures) >= enough
	}
	for i := range 2 * runtime.GOMAXPROCS(0) { // a store waits now and then
		wg.Go(func() {
			for j := range jobs {
				err := j.img.verify(j.led, filepath.Join(scratch, fmt.Sprintf("w%d", i)), j.variant)
				if err != nil {
					mu.Lock()
					failures = append(failures, failure{j.cutAt, err})
					mu.Unlock()
				}
			}
		})
	}
	w := newWalker(s)
	if prepare != nil {
		prepare(w.disk)
	}
	type key struct{ gen, marks, at int }
	seen := map[mode]key{}
	for _, c := range cuts {
		if err = w.to(c.at); err != nil || full() {
			break
		}
		k := key{gen: w.disk.gen, marks: len(w.prior)}
		if w.disk.quiet() {
			c.variant.mode = synced // as all modes are
		}
		if c.variant.mode != synced {
			k.at = c.at
		}
		if fixed := c.variant.mode != ordered && c.variant.mode != harsh && c.variant.mode != one; fixed {
			if seen[c.variant.mode] == k {
				continue
			}
			seen[c.variant.mode] = k
		}
		looked++
		jobs <- job{c, w.disk.cut(c.variant), w.led.clone()}
	}
	close(jobs)
	wg.Wait()
	slices.SortFunc(failures, func(a, b failure) int { return cmp.Compare(a.at, b.at) })
	return looked, failures, err
}

// verify writes the image into a directory, which it empties, and looks at the store in it.
func (m *image) verify(led *ledger, dir string, v variant) error {
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return err
	}
	if err := m.write(dir); err != nil {
		return err
	}
	return verify(led, dir, v)
}

// describe tells of a cut what a person needs who looks for the reason.
func (s *session) describe(f failure) string {
	w := newWalker(s)
	var b strings.Builder
	fmt.Fprintf(&b, "power cut before entry %d of %d, %v: %v\n", f.at, len(s.events), f.variant, f.err)
	if err := w.to(f.at); err != nil {
		fmt.Fprintln(&b, err)
	}
	b.WriteString("the last calls:\n")
	for i := max(s.first, f.at-14); i < f.at; i++ {
		fmt.Fprintf(&b, "  #%d %v %s\n", i, &s.events[i], w.disk.path(s.events[i].Ino))
	}
	b.WriteString("what was not synced:\n")
	for _, line := range w.disk.explain(f.variant) {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	b.WriteString("the files before:\n")
	for _, ino := range inodes(w.disk.files) {
		if path := w.disk.path(ino); path != "" {
			fmt.Fprintf(&b, "  %d %s, %d bytes\n", ino, path, w.disk.files[ino].now.size)
		}
	}
	b.WriteString("the files afterwards:\n")
	img := w.disk.cut(f.variant)
	for _, name := range img.names() {
		fmt.Fprintf(&b, "  %s, %d bytes\n", name, img.files[name].size)
	}
	return b.String()
}
