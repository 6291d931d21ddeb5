package logtool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// ErrNoPartition says that the log has no such topic, or no such partition of it.
var ErrNoPartition = errors.New("no such topic or partition in the log")

// decodeLimit bounds what a batch may decompress to, in bytes.
const decodeLimit = 64 << 20

// Selection says what of a log to print.
type Selection struct {
	Topic     string // "" is all of them
	Partition int32  // -1 is all of them
	From, To  int64  // offsets, To exclusive; To -1 is the end
}

// Record is a record of the log. Its bytes are valid until the function that it is given to returns.
type Record struct {
	Place
	Offset     int64
	Timestamp  time.Time
	Key, Value []byte // nil is null
	Headers    []record.Header
}

// Batch is what the header of a batch says, and where the batch lies.
type Batch struct {
	Place
	File          string `json:"file"`
	Commit        uint64 `json:"commit"` // or the journal's group
	Base          int64  `json:"base_offset"`
	Last          int64  `json:"last_offset"`
	Records       int32  `json:"records"`
	Bytes         int    `json:"bytes"`
	Epoch         int32  `json:"leader_epoch"`
	Codec         string `json:"codec"`
	LogAppendTime bool   `json:"log_append_time"`
	Transactional bool   `json:"transactional"`
	Control       bool   `json:"control"`
	MaxTimestamp  int64  `json:"max_timestamp"`
	ProducerID    int64  `json:"producer_id"` // -1 for none, as the next two
	ProducerEpoch int16  `json:"producer_epoch"`
	BaseSequence  int32  `json:"base_sequence"`
}

// Output takes what Dump finds. Exactly one of Record and Batch is set. An error ends the dump, and is returned.
type Output struct {
	Record  func(*Record) error // control batches, which clients do not see, are left out
	Batch   func(Batch) error
	Problem func(Problem) // what cannot be read, and is left out; harmless ones too. It may be nil
}

// dump is a dump in the making.
type dump struct {
	ctx    context.Context
	sel    Selection
	out    Output
	names  names
	file   string
	live   func(id uint32) (from, to int64) // nil: all
	reader record.Reader
	left   int
}

// Dump prints the records that are in force, or the batches, those of each partition in the order of their offsets. Of a
// single file it prints all that was not truncated in it. It returns how many problems made it leave something out.
// Errors: ErrNoPartition, those of the output.
func (t *Target) Dump(ctx context.Context, sel Selection, out Output) (left int, err error) {
	if out.Problem == nil {
		out.Problem = func(Problem) {}
	}
	d := &dump{ctx: ctx, sel: sel, out: out}
	defer d.reader.Close()
	if t.File != "" {
		return d.single(t)
	}
	s, err := t.survey(ctx)
	if err != nil {
		return 0, err
	}
	defer s.close()
	d.names = s.names
	if err := d.known(); err != nil {
		return 0, err
	}
	for _, f := range t.Segments {
		opt := s.options(f)
		d.live = s.limits.In(f.Number)
		if err := d.segment(f.Path, opt); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return d.left, err
		}
	}
	if s.scan != nil {
		d.file, d.live = filepath.Base(t.Journal), s.limits.In(journalPlace)
		r, err := s.journal(d.live, d.batch)
		if err != nil {
			return d.left, err
		}
		d.tell(r.Problems)
	}
	return d.left, nil
}

// known returns ErrNoPartition where nothing can be selected.
func (d *dump) known() error {
	if d.sel.Topic == "" {
		return nil
	}
	for _, p := range d.names {
		if p.Topic == d.sel.Topic && (d.sel.Partition < 0 || p.Index == d.sel.Partition) {
			return nil
		}
	}
	if d.sel.Partition < 0 {
		return fmt.Errorf("%w: %s", ErrNoPartition, d.sel.Topic)
	}
	return fmt.Errorf("%w: %s/%d", ErrNoPartition, d.sel.Topic, d.sel.Partition)
}

func (d *dump) single(t *Target) (left int, err error) {
	f, err := t.openFile(d.ctx)
	if err != nil {
		return 0, err
	}
	defer f.close()
	d.names = f.names
	if err := d.known(); err != nil {
		return 0, err
	}
	if f.scan == nil {
		return d.left, d.segment(t.File, f.opt)
	}
	d.file = filepath.Base(t.File)
	r, err := f.scan.Inspect(store.JournalOptions{Alone: true, Batch: d.batch})
	if err != nil {
		return d.left, err
	}
	d.tell(r.Problems)
	return d.left, nil
}

func (d *dump) segment(path string, opt store.InspectOptions) error {
	d.file = filepath.Base(path)
	opt.Checksums, opt.Live, opt.Batch = true, d.live, d.batch
	opt.Commit = func(uint64) error { return d.ctx.Err() }
	r, err := store.InspectSegment(path, opt)
	if err != nil {
		return err
	}
	d.tell(r.Problems)
	return nil
}

func (d *dump) tell(p store.Problems) {
	for _, one := range p.List {
		if !one.Harmless {
			d.left++
		}
		d.out.Problem(d.names.problem(one))
	}
	d.left += p.More
}

// batch prints a batch.
func (d *dump) batch(b store.BatchReport) error {
	if err := d.ctx.Err(); err != nil || !b.Live {
		return err
	}
	place := d.names.place(b.Partition)
	if d.sel.Topic != "" && place.Topic != d.sel.Topic || d.sel.Partition >= 0 && place.Partition != d.sel.Partition {
		return nil
	}
	if b.Batch.NextOffset() <= d.sel.From || d.sel.To >= 0 && b.Batch.BaseOffset() >= d.sel.To {
		return nil
	}
	if d.out.Batch != nil {
		return d.out.Batch(describe(place, d.file, b))
	}
	if b.Batch.Attributes().Control() {
		return nil
	}
	return d.records(place, b)
}

func (d *dump) records(place Place, b store.BatchReport) error {
	from, to := d.sel.From, d.sel.To
	if d.live != nil {
		start, _ := d.live(b.Partition)
		from = max(from, start)
	}
	out := Record{Place: place}
	err := d.reader.Reset(b.Batch, decodeLimit)
	for err == nil && d.reader.Next() {
		r := d.reader.Record()
		if r.Offset < from || to >= 0 && r.Offset >= to {
			continue
		}
		out.Offset, out.Timestamp, out.Key, out.Value, out.Headers = r.Offset, time.UnixMilli(r.Timestamp), r.Key, r.Value, r.Headers
		if err := d.out.Record(&out); err != nil {
			return err
		}
	}
	if err = d.reader.Err(); err != nil {
		d.left++
		d.out.Problem(Problem{File: d.file, Commit: b.Commit, Of: &Range{place, b.Batch.BaseOffset(), b.Batch.NextOffset()}, Text: oneLine(err)})
	}
	return nil
}

func describe(place Place, file string, r store.BatchReport) Batch {
	b, a := r.Batch, r.Batch.Attributes()
	return Batch{
		Place: place, File: file, Commit: r.Commit, Base: b.BaseOffset(), Last: b.LastOffset(), Records: b.Count(), Bytes: len(b),
		Epoch: b.LeaderEpoch(), Codec: a.Codec().String(), LogAppendTime: a.LogAppendTime(), Transactional: a.Transactional(), Control: a.Control(),
		MaxTimestamp: b.MaxTimestamp(), ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(),
	}
}
