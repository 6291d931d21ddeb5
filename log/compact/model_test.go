package compact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// told is one record that was ever appended to a partition of the model.
type told struct {
	offset     int64
	key, value []byte
	ts         int64
	producer   int64
	txn        int // number of its transaction, 0 for none
	marker     bool
}

// shadow is what the model knows of a compacted partition.
type shadow struct {
	Partition
	all      []told
	start    int64
	open     map[int64]int // transaction by producer
	first    map[int]int64 // offset of a transaction's first record
	aborted  map[int]bool
	sequence map[int64]int32
	config   Partition

	cleanable map[int64]time.Time // tombstones: the first pass that could have cleaned them
	needless  map[int64]time.Time // markers: the first pass that found no record of the transaction
	moved     bool                // the start was moved
	consumers []*consumer
}

// consumer reads a partition slowly and keeps what it says.
type consumer struct {
	at      int64
	started time.Time
	state   map[string]string
}

type world struct {
	t       *rapid.T
	f       *fake
	parts   []*shadow
	cleaner *Cleaner
	filler  int64 // next offset of the partition that is not compacted
	txns    int
	killed  bool
	passes  int
	removed map[uint32]int64 // as passes say, unless one was killed
}

const fillerID = 99

func (s *shadow) next() int64 { return int64(len(s.all)) }

// stable is the first offset of an open transaction.
func (s *shadow) stable() int64 {
	at := s.next()
	for _, n := range s.open {
		at = min(at, s.first[n])
	}
	return at
}

// entry encodes records, appends them to the model and returns their batch.
func (w *world) entry(s *shadow, producer int64, txn bool, records []told) store.Entry {
	base := s.next()
	var b record.Batch
	if records[0].marker {
		b = record.NewMarker(producer, 0, record.Marker{Commit: !s.aborted[records[0].txn]}, records[0].ts)
	} else {
		var bl record.Builder
		for _, r := range records {
			bl.Append(r.ts, r.key, r.value, nil)
		}
		codec := rapid.SampledFrom([]record.Codec{record.None, record.LZ4, record.Gzip}).Draw(w.t, "codec")
		b = slices.Clone(bl.Finish(0, 0, codec, nil))
	}
	b.SetBaseOffset(base)
	if producer >= 0 && !records[0].marker {
		if txn {
			b[22] |= 1 << 4 // transactional
		}
		b.SetProducer(producer, 0, s.sequence[producer])
		s.sequence[producer] += int32(len(records))
		s.Producers[producer] = Producer{Epoch: 0, Last: base + int64(len(records)) - 1}
	}
	for i, r := range records {
		r.offset, r.producer = base+int64(i), producer
		s.all = append(s.all, r)
	}
	return store.Entry{Partition: s.ID, Batch: b}
}

func (w *world) draw(label string) *shadow {
	return w.parts[rapid.IntRange(0, len(w.parts)-1).Draw(w.t, label)]
}

func (w *world) drawRecords(s *shadow, txn int) []told {
	var records []told
	for range rapid.IntRange(1, 6).Draw(w.t, "records") {
		r := told{ts: w.f.now.UnixMilli(), txn: txn}
		if k := rapid.IntRange(-1, 9).Draw(w.t, "key"); k >= 0 {
			r.key = fmt.Append(nil, "key", k)
		}
		if rapid.IntRange(0, 4).Draw(w.t, "tombstone") > 0 {
			r.value = bytes.Repeat(fmt.Append(nil, s.next(), "."), rapid.SampledFrom([]int{1, 1, 80}).Draw(w.t, "size"))
		}
		records = append(records, r)
	}
	return records
}

func (w *world) append() {
	var commit []store.Entry
	for range rapid.IntRange(1, 3).Draw(w.t, "batches") {
		s := w.draw("partition")
		producer := int64(rapid.IntRange(-1, 2).Draw(w.t, "producer"))
		n, open := s.open[producer]
		switch {
		case producer < 0:
			commit = append(commit, w.entry(s, -1, false, w.drawRecords(s, 0)))
		case open && rapid.Bool().Draw(w.t, "end"):
			s.aborted[n] = rapid.Bool().Draw(w.t, "abort")
			delete(s.open, producer)
			e := w.entry(s, producer, true, []told{{ts: w.f.now.UnixMilli(), txn: n, marker: true}})
			if s.aborted[n] {
				s.Aborted = append(s.Aborted, store.Aborted{Producer: producer, First: s.first[n], Last: e.Batch.BaseOffset()})
			}
			commit = append(commit, e)
		case open:
			commit = append(commit, w.entry(s, producer, true, w.drawRecords(s, n)))
		case rapid.Bool().Draw(w.t, "begin"):
			w.txns++
			s.open[producer], s.first[w.txns] = w.txns, s.next()
			commit = append(commit, w.entry(s, producer, true, w.drawRecords(s, w.txns)))
		default:
			commit = append(commit, w.entry(s, producer, false, w.drawRecords(s, 0)))
		}
	}
	if rapid.Bool().Draw(w.t, "filler") {
		commit = append(commit, w.fill(rapid.SampledFrom([]int{10, 1000}).Draw(w.t, "filler size")))
	}
	w.f.commit(commit...)
}

// fill appends to the partition that is not compacted.
func (w *world) fill(size int) store.Entry {
	var bl record.Builder
	bl.Append(0, []byte("same key"), bytes.Repeat([]byte("x"), size), nil)
	b := slices.Clone(bl.Finish(w.filler, 0, record.None, nil))
	w.filler++
	return store.Entry{Partition: fillerID, Batch: b}
}

// records returns what lies in the log of a partition, control records too.
func (w *world) records(id uint32) []told {
	var all []told
	at := int64(-1)
	for _, b := range w.f.read(id) {
		if b.BaseOffset() <= at {
			w.t.Fatalf("partition %d: batch at %d behind offset %d", id, b.BaseOffset(), at)
		}
		at = b.LastOffset()
		if !b.VerifyCRC() {
			w.t.Fatalf("partition %d: batch at %d has a wrong CRC", id, b.BaseOffset())
		}
		var r record.Reader
		if err := r.Reset(b, 1<<20); err != nil {
			w.t.Fatal(err)
		}
		n := 0
		for ; r.Next(); n++ {
			rec := r.Record()
			if rec.Offset < b.BaseOffset() || rec.Offset > b.LastOffset() {
				w.t.Fatalf("partition %d: record %d in batch of %d to %d", id, rec.Offset, b.BaseOffset(), b.LastOffset())
			}
			all = append(all, told{offset: rec.Offset, key: slices.Clone(rec.Key), value: slices.Clone(rec.Value), ts: rec.Timestamp,
				producer: b.ProducerID(), marker: b.Attributes().Control()})
		}
		if r.Err() != nil || n != int(b.Count()) {
			w.t.Fatalf("partition %d: batch at %d: %d records of %d, %v", id, b.BaseOffset(), n, b.Count(), r.Err())
		}
		r.Close()
	}
	return all
}

func has(list []told, offset int64) bool {
	_, ok := slices.BinarySearchFunc(list, offset, func(r told, o int64) int { return int(r.offset - o) })
	return ok
}

// committed reports whether a record counts for its key.
func (s *shadow) committed(r told) bool {
	return !r.marker && r.key != nil && !s.aborted[r.txn] && r.offset >= s.start
}

// newer returns the newest record of a key before offset limit.
func (s *shadow) newest(key []byte, limit int64) (told, bool) {
	for i := limit - 1; i >= 0; i-- {
		if r := s.all[i]; s.committed(r) && bytes.Equal(r.key, key) {
			return r, true
		}
	}
	return told{}, false
}

func (w *world) pass(force bool) {
	timed := force || rapid.IntRange(0, 5).Draw(w.t, "timed") > 0
	w.passes++
	var in []Partition
	before := make([][]told, len(w.parts))
	sealed := make([]int64, len(w.parts)) // offset behind what is in segments that may be rewritten
	segs := w.f.Segments()
	for i, s := range w.parts {
		p := s.Partition
		p.Start, p.Cleaned, p.Stable = s.start, w.f.cleaned[s.ID], s.stable()
		p.MinDirtyRatio, p.MinLag, p.MaxLag, p.DeleteRetention = s.config.MinDirtyRatio, s.config.MinLag, s.config.MaxLag, s.config.DeleteRetention
		if force {
			p.MinDirtyRatio, p.MinLag, p.MaxLag = 0, 0, 0
		}
		in = append(in, p)
		before[i] = w.records(s.ID)
		for n := range len(segs) - 1 {
			if r, ok := segs[n].Runs[s.ID]; ok {
				sealed[i] = r.Next
			}
		}
		if timed {
			w.note(s, before[i])
		}
	}
	fillers := len(w.records(fillerID))
	reads := w.f.reads
	if !force && rapid.IntRange(0, 3).Draw(w.t, "kill") == 0 {
		w.f.kill = rapid.IntRange(1, 8).Draw(w.t, "after")
	}
	res, err := w.cleaner.Pass(context.Background(), in, Conditions{Now: w.f.now, Timed: timed, Pace: func(int64) error { return nil }})
	if err != nil && !errors.Is(err, errKilled) {
		w.t.Fatalf("pass: %v", err)
	}
	if err == nil && res.Partitions == 0 && w.f.reads != reads {
		w.t.Fatalf("nothing to do, but %d scans", w.f.reads-reads)
	}
	for id, n := range res.Removed {
		w.removed[id] += n
	}
	if w.f.kill >= 0 {
		if w.f.kill == 0 {
			w.killed = true
			w.restart()
		}
		w.f.kill = -1
	}
	if n := len(w.records(fillerID)); n != fillers {
		w.t.Fatalf("%d records of a partition that is not compacted, had %d", n, fillers)
	}
	for i, s := range w.parts {
		w.compare(s, before[i], sealed[i], timed, in[i])
		w.check(s)
	}
}

// note writes down what this pass may be the first to clean.
func (w *world) note(s *shadow, before []told) {
	live := make(map[int]bool)
	for _, r := range before {
		if !r.marker {
			live[s.all[r.offset].txn] = true
		}
	}
	for _, r := range before {
		full := s.all[r.offset]
		switch {
		case full.marker && !live[full.txn]:
			if _, ok := s.needless[r.offset]; !ok {
				s.needless[r.offset] = w.f.now
			}
		case !full.marker && full.value == nil && r.offset < s.stable():
			if _, ok := s.cleanable[r.offset]; !ok {
				s.cleanable[r.offset] = w.f.now
			}
		}
	}
}

// compare fails unless what a pass has removed could go.
func (w *world) compare(s *shadow, before []told, sealed int64, timed bool, in Partition) {
	after := w.records(s.ID)
	for _, r := range after {
		want := s.all[r.offset]
		if !has(before, r.offset) || !bytes.Equal(r.key, want.key) && !want.marker || !bytes.Equal(r.value, want.value) && !want.marker ||
			!want.marker && (r.value == nil) != (want.value == nil) || r.ts != want.ts || r.producer != want.producer || r.marker != want.marker {
			w.t.Fatalf("partition %d: record %+v, was %+v", s.ID, r, want)
		}
	}
	over := func(since map[int64]time.Time, r told) bool {
		at, ok := since[r.offset]
		return timed && ok && w.f.now.Sub(at) >= in.DeleteRetention
	}
	for _, b := range before {
		if has(after, b.offset) {
			continue
		}
		r := s.all[b.offset]
		newest, any := s.newest(r.key, s.stable())
		var why bool
		switch {
		case r.marker:
			why = over(s.needless, r)
		case r.key == nil || s.aborted[r.txn] || r.offset < s.start:
			why = true
		case any && newest.offset > r.offset:
			why = true
		case r.value == nil:
			why = over(s.cleanable, r)
		}
		young := in.MinLag > 0 && (!timed || r.ts > w.f.now.Add(-in.MinLag).UnixMilli()) && r.offset >= in.Cleaned
		if !why || r.offset >= in.Stable || r.offset >= sealed || young {
			w.t.Fatalf("partition %d: record %+v was removed: reason %v, stable %d, sealed %d, young %v", s.ID, r, why, in.Stable, sealed, young)
		}
	}
}

// check fails unless a partition says of every key what was said last.
func (w *world) check(s *shadow) {
	have := w.records(s.ID)
	seen := make(map[string]bool)
	for i := len(s.all) - 1; i >= int(s.start); i-- {
		r := s.all[i]
		if !s.committed(r) || seen[string(r.key)] {
			continue
		}
		seen[string(r.key)] = true
		switch {
		case has(have, r.offset):
		case r.value != nil:
			w.t.Fatalf("partition %d: the last record of %s, at %d, is not there", s.ID, r.key, r.offset)
		default:
			for _, old := range have {
				if full := s.all[old.offset]; s.committed(full) && bytes.Equal(full.key, r.key) && full.offset < r.offset {
					w.t.Fatalf("partition %d: the tombstone of %s at %d is gone, a record at %d is not", s.ID, r.key, r.offset, full.offset)
				}
			}
		}
	}
	below := make(map[string]int64)
	ended := make(map[int]int64)
	for _, r := range s.all {
		if r.marker {
			ended[r.txn] = r.offset
		}
	}
	for _, r := range have {
		full := s.all[r.offset]
		if end, ok := ended[full.txn]; ok && full.txn > 0 && !full.marker && !has(have, end) {
			w.t.Fatalf("partition %d: the marker at %d is gone, the transaction's record at %d is not", s.ID, end, r.offset)
		}
		if r.offset >= w.f.cleaned[s.ID] || full.marker || r.offset < s.start {
			continue
		}
		if other, ok := below[string(full.key)]; ok || !s.committed(full) {
			w.t.Fatalf("partition %d: below %d there is %+v, and one of the same key at %d", s.ID, w.f.cleaned[s.ID], full, other)
		}
		below[string(full.key)] = r.offset
	}
	if batches := w.f.read(s.ID); s.next() > s.start && (len(batches) == 0 || batches[len(batches)-1].NextOffset() != s.next()) {
		w.t.Fatalf("partition %d: the last batch does not reach %d", s.ID, s.next())
	}
	for id, p := range s.Producers {
		if p.Last >= s.start && !slices.ContainsFunc(w.f.read(s.ID), func(b record.Batch) bool { return b.ProducerID() == id && b.LastOffset() == p.Last }) {
			w.t.Fatalf("partition %d: the last batch of producer %d, to %d, is gone", s.ID, id, p.Last)
		}
	}
}

func (w *world) restart() {
	w.cleaner = New(Options{Store: w.f, Logger: slog.New(slog.DiscardHandler), Worth: w.cleaner.opt.Worth, Memory: w.cleaner.opt.Memory})
}

// consume lets a consumer of read committed go on by some batches. One that was fast enough must know what is true.
func (w *world) consume(s *shadow) {
	if len(s.consumers) < 3 && rapid.Bool().Draw(w.t, "new consumer") {
		s.consumers = append(s.consumers, &consumer{at: s.start, started: w.f.now, state: map[string]string{}})
	}
	for _, c := range s.consumers {
		n := rapid.IntRange(0, 8).Draw(w.t, "reads")
		for _, r := range w.records(s.ID) {
			if full := s.all[r.offset]; r.offset >= c.at && r.offset < s.stable() && n > 0 {
				n--
				c.at = r.offset + 1
				if !s.committed(full) {
					continue
				}
				if c.state[string(full.key)] = string(full.value); full.value == nil {
					delete(c.state, string(full.key))
				}
			}
		}
		if n > 0 {
			c.at = s.stable()
		}
	}
	s.consumers = slices.DeleteFunc(s.consumers, func(c *consumer) bool {
		late := w.f.now.Sub(c.started) >= s.config.DeleteRetention
		if c.at < s.stable() || late {
			return late
		}
		want := make(map[string]string)
		for _, r := range s.all[:c.at] {
			if !s.committed(r) {
				continue
			}
			if want[string(r.key)] = string(r.value); r.value == nil {
				delete(want, string(r.key))
			}
		}
		if fmt.Sprint(want) != fmt.Sprint(c.state) {
			w.t.Fatalf("partition %d: a consumer that began at %v knows %v at %v, true is %v", s.ID, c.started, c.state, w.f.now, want)
		}
		return true
	})
}

func TestPassesKeepTheLastOfEveryKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFake(time.UnixMilli(1_700_000_000_000))
		w := &world{t: t, f: f, removed: map[uint32]int64{}}
		w.cleaner = New(Options{Store: f, Logger: slog.New(slog.DiscardHandler),
			Worth:  rapid.SampledFrom([]int{1, 50, 90}).Draw(t, "worth"),
			Memory: rapid.SampledFrom([]int64{1, 5 * slotBytes, 10 * slotBytes, 100 * slotBytes}).Draw(t, "memory")})
		for id := range uint32(3) {
			s := &shadow{Partition: Partition{ID: id, Topic: "t", Index: int32(id), Producers: map[int64]Producer{}},
				open: map[int64]int{}, first: map[int]int64{}, aborted: map[int]bool{}, sequence: map[int64]int32{},
				cleanable: map[int64]time.Time{}, needless: map[int64]time.Time{}}
			s.config = Partition{
				MinDirtyRatio:   rapid.SampledFrom([]float64{0, 0.5}).Draw(t, "ratio"),
				MinLag:          rapid.SampledFrom([]time.Duration{0, 0, 10 * time.Minute}).Draw(t, "min lag"),
				MaxLag:          rapid.SampledFrom([]time.Duration{time.Hour, Milliseconds(1<<63 - 1)}).Draw(t, "max lag"),
				DeleteRetention: rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "delete retention"),
			}
			w.parts = append(w.parts, s)
		}
		for range rapid.IntRange(10, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"append", "append", "append", "append", "seal", "pass", "pass", "time", "consume", "start"}).Draw(t, "step") {
			case "append":
				w.append()
			case "seal":
				f.roll()
			case "pass":
				w.pass(false)
			case "time":
				f.now = f.now.Add(rapid.SampledFrom([]time.Duration{time.Second, 11 * time.Minute, 40 * time.Minute}).Draw(t, "later"))
			case "consume":
				w.consume(w.draw("of"))
			case "start":
				if rapid.IntRange(0, 3).Draw(t, "compacted") > 0 {
					f.starts[fillerID] = max(f.starts[fillerID], rapid.Int64Range(0, w.filler).Draw(t, "start"))
					break
				}
				s := w.draw("which")
				s.start = max(s.start, rapid.Int64Range(0, s.stable()).Draw(t, "start"))
				f.starts[s.ID], s.moved, s.consumers = s.start, true, nil
			}
		}
		w.converge()
	})
}

// converge ends all transactions and compacts until nothing is left to do; then only the last records may be there.
func (w *world) converge() {
	for _, s := range w.parts {
		for _, producer := range slices.Sorted(maps.Keys(s.open)) {
			n := s.open[producer]
			delete(s.open, producer)
			w.f.commit(w.entry(s, producer, true, []told{{ts: w.f.now.UnixMilli(), txn: n, marker: true}}))
		}
		w.f.commit(w.entry(s, -1, false, []told{{ts: w.f.now.UnixMilli(), key: []byte("end"), value: []byte("v")}}))
	}
	w.f.roll()
	w.f.commit(w.fill(1))
	w.f.roll()
	for n := 0; ; n++ {
		w.f.now = w.f.now.Add(2 * time.Hour)
		done := true
		w.pass(true)
		for _, s := range w.parts {
			done = done && w.f.cleaned[s.ID] == s.next()
		}
		if done {
			break
		}
		if n > 400 {
			w.t.Fatalf("cleaned to %v after %d passes", w.f.cleaned, n)
		}
	}
	for _, s := range w.parts {
		have := w.records(s.ID)
		for _, r := range have {
			if full := s.all[r.offset]; !full.marker {
				if last, ok := s.newest(full.key, s.next()); (!ok || last.offset != r.offset) && r.offset >= s.start {
					w.t.Fatalf("partition %d: %+v is still there, the last is %+v", s.ID, full, last)
				}
			}
		}
		if gone := s.next() - int64(len(have)); !s.moved && !w.killed && w.removed[s.ID] != gone {
			w.t.Fatalf("partition %d: %d records gone, %d counted", s.ID, gone, w.removed[s.ID])
		}
	}
}
