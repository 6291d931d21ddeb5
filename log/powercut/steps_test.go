//go:build powercut

package powercut

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tally counts the steps of a store that sessions went through, so that a laboratory which does not see one any more says
// so.
type tally map[string]int

// steps are those that every run of some length goes through, and rareSteps those that a long one does.
var (
	steps = []string{
		"journal made", "journal wraps", "segment made", "segment rewritten", "segment dropped", "commit",
		"life", "created", "acked", "done start", "done epoch", "done expire", "done cleaned", "done cut", "dropped",
	}
	rareSteps = []string{"remains removed"}
)

// add counts the steps of a session.
func (t tally) add(s *session) error {
	w := newWalker(s)
	last := map[uint64]int64{} // where a file was written last
	for i := range s.events {
		e := &s.events[i]
		if i >= s.first {
			t.count(w, e, last)
		}
		if err := w.to(i + 1); err != nil {
			return err
		}
	}
	t["life"]++ // the first one, which stands before the session's first cut
	return nil
}

func (t tally) count(w *walker, e *event, last map[uint64]int64) {
	path := w.disk.path(e.Ino)
	switch e.Kind {
	case evRename:
		_, over := w.disk.dirs[e.Dir].now[e.NewName]
		switch {
		case e.NewName == "journal":
			t["journal made"]++
		case over:
			t["segment rewritten"]++
		case strings.HasSuffix(e.NewName, ".seg"):
			t["segment made"]++
		}
	case evUnlink:
		if strings.HasSuffix(e.Name, ".seg") {
			t["segment dropped"]++
		} else if strings.HasSuffix(e.Name, ".tmp") {
			t["remains removed"]++
		}
	case evWrite:
		if strings.HasSuffix(path, "/journal") && e.Off < last[e.Ino] {
			t["journal wraps"]++
		}
		if strings.HasSuffix(path, ".seg") && e.Off < 2*pageSize {
			t["commit"]++
		}
		last[e.Ino] = e.Off
	case evMark:
		if m, err := decodeMark(e.Data); err == nil { // the walker tells of others
			name := string(m.Kind)
			if m.Kind == markDone {
				name += " " + string(m.Op.Kind)
			}
			t[name]++
		}
	}
}

// missing returns the steps that no session went through, though so many cuts were made.
func (t tally) missing(cuts int) []string {
	var want []string
	if cuts >= 2000 {
		want = append(want, steps...)
	}
	if cuts >= 10000 {
		want = append(want, rareSteps...)
	}
	return slices.DeleteFunc(want, func(s string) bool { return t[s] > 0 })
}

func (t tally) String() string {
	var b strings.Builder
	for _, s := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, ", %s %d", s, t[s])
	}
	return strings.TrimPrefix(b.String(), ", ")
}
