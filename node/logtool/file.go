package logtool

import (
	"cmp"
	"context"
	"strings"

	"github.com/culvert-mq/culvert/log/store"
)

// comparePlaces orders by topic, then partition, then id.
func comparePlaces(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.ID, b.ID))
}

// settleTries is how often a file that changes while it is read is read again.
const settleTries = 5

// settle inspects a segment. Where a node writes to it meanwhile, what is read may not fit together: then it is read again,
// and what is wrong after that is no damage for all one knows.
func (t *Target) settle(path string, opt store.InspectOptions) (r *store.SegmentReport, err error) {
	for try := 1; ; try++ {
		if r, err = store.InspectSegment(path, opt); err != nil {
			return nil, err
		}
		if !r.Moved || r.Damaged() == 0 || t.Owner == Nobody {
			return r, nil
		}
		if try == settleTries {
			break
		}
	}
	r.Exact = false
	for i := range r.List {
		r.List[i].Harmless = true
	}
	r.More = 0
	return r, nil
}

// single is one file that is looked at by itself.
type single struct {
	scan  *store.JournalReader // of a journal
	opt   store.InspectOptions // of a segment
	names names
}

func (s *single) close() {
	if s.scan != nil {
		_ = s.scan.Close() // it was only read
	}
}

// openFile finds out what must be known of a single file, from those beside it, where there are any.
func (t *Target) openFile(ctx context.Context) (*single, error) {
	f := &single{names: make(names)}
	if n := len(t.Segments); n > 0 {
		if r, err := store.InspectSegment(t.Segments[n-1].Path, store.InspectOptions{HeaderOnly: true}); err == nil {
			f.names.learn(r.Begin)
		}
	}
	if isJournal(t.File) {
		scan, err := store.ScanJournal(t.File)
		if err != nil {
			return nil, err
		}
		f.scan = scan
		if n := len(t.Segments); n > 0 {
			if r, err := store.InspectSegment(t.Segments[n-1].Path, store.InspectOptions{}); err == nil {
				f.names.learn(r.After)
			}
		}
		if r, err := scan.Inspect(store.JournalOptions{Alone: true, State: &store.State{Partitions: map[uint32]*store.PartitionState{}, NextID: 1}}); err == nil {
			f.names.learn(r.After)
		}
		return f, nil
	}
	f.opt = store.InspectOptions{Newest: true, Commit: func(uint64) error { return ctx.Err() }}
	if n := len(t.Segments); n > 0 && t.File != t.Segments[n-1].Path {
		f.opt.Newest = false
	}
	if f.opt.Newest && t.Journal != "" && strings.HasSuffix(t.File, ".seg") {
		if scan, err := store.ScanJournal(t.Journal); err == nil {
			f.opt.Settled = scan.Settled()
			_ = scan.Close() // it was only read
		}
	}
	r, err := store.InspectSegment(t.File, f.opt)
	if err != nil {
		return nil, err
	}
	f.names.learn(r.Begin)
	f.names.learn(r.After)
	return f, nil
}
