package logtool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/node/logtool/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sample makes a log and returns its directory.
func sample(t testing.TB, closed bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	if err := logtest.Write(dir, closed); err != nil {
		t.Fatal(err)
	}
	return dir
}

func find(t testing.TB, path string) *Target {
	t.Helper()
	target, err := Find(path)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// line is what the tests compare of a record.
func line(r *Record) string {
	return fmt.Sprintf("%s %d %d %s %v %x", r.Place, r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Headers, sha256.Sum256(r.Value))
}

// dumped are the records of a log in the order in which they were printed.
func dumped(t testing.TB, target *Target, sel Selection) (lines []string, left []Problem) {
	t.Helper()
	n, err := target.Dump(t.Context(), sel, Output{
		Record:  func(r *Record) error { lines = append(lines, line(r)); return nil },
		Problem: func(p Problem) { left = append(left, p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if damaged := slices.DeleteFunc(slices.Clone(left), func(p Problem) bool { return p.Harmless }); n != len(damaged) {
		t.Errorf("%d were left out, told were %v", n, left)
	}
	return lines, left
}

func verified(t testing.TB, target *Target) *Verdict {
	t.Helper()
	told := 0
	v, err := target.Verify(t.Context(), func(Problem) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	if told != v.Damaged+v.Notes {
		t.Errorf("%d problems were told, %d are damage and %d notes", told, v.Damaged, v.Notes)
	}
	return v
}

var everything = Selection{Partition: -1, To: -1}

// stored are the records that the store itself serves.
func stored(t testing.TB, dir string) []string {
	t.Helper()
	opt := logtest.Options(dir)
	st, err := store.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var all []string
	for _, p := range st.States() {
		for at := p.Start; at < p.Next; {
			span, err := st.Log(p.ID).Read(at, p.Next, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if len(span.Batches) == 0 {
				span.Release()
				break
			}
			d := dump{sel: Selection{Partition: -1, From: p.Start, To: -1}, out: Output{Record: func(r *Record) error { all = append(all, line(r)); return nil }}}
			for _, b := range span.Batches {
				if err := d.records(Place{p.Topic, p.Index, p.ID}, store.BatchReport{Partition: p.ID, Batch: b}); err != nil {
					t.Fatal(err)
				}
				at = b.NextOffset()
			}
			d.reader.Close()
			span.Release()
		}
	}
	return all
}

// copyOf copies a log.
func copyOf(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "log")
	if err := logtest.Copy(dir, to); err != nil {
		t.Fatal(err)
	}
	return to
}

func sorted(lines []string) []string { return slices.Sorted(slices.Values(lines)) }

func TestALogIsReadAsItsStoreWouldServeIt(t *testing.T) {
	for _, closed := range []bool{true, false} {
		dir := sample(t, closed)
		target := find(t, dir)
		want := stored(t, copyOf(t, dir))
		got, left := dumped(t, target, everything)
		if len(left) > 0 || !slices.Equal(sorted(got), sorted(want)) {
			t.Errorf("closed %v: %d records, want %d; %v", closed, len(got), len(want), left)
		}
		for _, place := range []string{"telemetry/0", "telemetry/1", "alarms/0"} {
			of := func(lines []string) []string {
				return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, place+" ") })
			}
			if !slices.Equal(of(got), of(want)) || len(of(got)) == 0 {
				t.Errorf("%s is out of order", place)
			}
		}
		v := verified(t, target)
		if !v.Whole() || v.Notes > 0 || v.Segments < 5 || (v.Pending > 0) == closed {
			t.Errorf("closed %v: %+v", closed, v)
		}
		in, err := target.Inspect(t.Context())
		if err != nil || len(in.Problems) > 0 || len(in.Partitions) != 3 || !in.Segments[0].Rewritten || !in.Segments[len(in.Segments)-1].Active {
			t.Fatalf("%v %+v", err, in)
		}
		records := int64(0)
		for _, p := range in.Partitions {
			records += p.Stored
			if p.Superseded != 0 || p.Damaged != 0 || p.Stored+p.Expired+p.Lost != p.Next {
				t.Errorf("the ledger does not add up: %+v", p)
			}
		}
		if records != int64(len(want)) {
			t.Errorf("%d records are stored, want %d", records, len(want))
		}
	}
}

func TestADumpSelects(t *testing.T) {
	target := find(t, sample(t, false))
	all, _ := dumped(t, target, everything)
	for _, c := range []struct {
		sel  Selection
		keep func(place string, offset int64) bool
	}{
		{Selection{Topic: "telemetry", Partition: -1, To: -1}, func(place string, _ int64) bool { return strings.HasPrefix(place, "telemetry/") }},
		{Selection{Topic: "telemetry", Partition: 1, To: -1}, func(place string, _ int64) bool { return place == "telemetry/1" }},
		{Selection{Topic: "telemetry", Partition: 0, From: 9, To: 14}, func(place string, at int64) bool { return place == "telemetry/0" && at >= 9 && at < 14 }},
		{Selection{Topic: "alarms", Partition: 0, From: 1000, To: -1}, func(string, int64) bool { return false }},
	} {
		var want []string
		for _, l := range all {
			var place string
			var at int64
			if _, err := fmt.Sscan(l, &place, &at); err != nil {
				t.Fatal(err)
			}
			if c.keep(place, at) {
				want = append(want, l)
			}
		}
		if got, _ := dumped(t, target, c.sel); !slices.Equal(got, want) {
			t.Errorf("%+v: %d records, want %d", c.sel, len(got), len(want))
		}
	}
	for _, sel := range []Selection{{Topic: "nowhere", Partition: -1, To: -1}, {Topic: "alarms", Partition: 3, To: -1}} {
		if _, err := target.Dump(t.Context(), sel, Output{}); !errors.Is(err, ErrNoPartition) {
			t.Errorf("%+v: %v", sel, err)
		}
	}
	stop := errors.New("stop")
	if _, err := target.Dump(t.Context(), everything, Output{Record: func(*Record) error { return stop }}); !errors.Is(err, stop) {
		t.Errorf("the output's error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := target.Dump(ctx, everything, Output{Record: func(*Record) error { return nil }}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := target.Verify(ctx, func(Problem) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestBatchesAreDescribed(t *testing.T) {
	target := find(t, sample(t, false))
	var all []Batch
	if _, err := target.Dump(t.Context(), Selection{Topic: "telemetry", Partition: 1, To: -1}, Output{Batch: func(b Batch) error { all = append(all, b); return nil }}); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(b Batch) bool { return b.ProducerID == 4711 })
	if i < 0 || all[i].Records != 3 || all[i].Last != all[i].Base+2 || all[i].BaseSequence != 0 || all[i].File != "journal" && all[i].Commit == 0 {
		t.Fatalf("%+v", all)
	}
	end := int64(0)
	for _, b := range all {
		if b.Base != end {
			t.Errorf("a batch at %d behind %d", b.Base, end)
		}
		end = b.Last + 1
	}
}

// files are the contents and rights of everything in a directory.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = fmt.Sprintf("%v %v %x", info.Mode(), info.ModTime(), sha256.Sum256(data))
	}
	return all
}

func TestReadingChangesNothing(t *testing.T) {
	dir := sample(t, false)
	damage(t, dir, "00000000000000000003.seg", func(b []byte) []byte { clear(b[20<<10 : 24<<10]); return b })
	before := files(t, dir)
	target := find(t, dir)
	verified(t, target)
	dumped(t, target, everything)
	if _, err := target.Inspect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := target.Repair(t.Context(), RepairOptions{DryRun: true}, func(Problem) {}); err != nil || len(r.Mended) != 1 || r.After != nil {
		t.Fatalf("%v %+v", err, r)
	}
	if after := files(t, dir); !mapsEqual(before, after) {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func damage(t testing.TB, dir, name string, fn func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, fn(bytes.Clone(data)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestALogIsFoundByAnyOfItsPaths(t *testing.T) {
	dir := sample(t, true)
	data := filepath.Dir(dir)
	for _, path := range []string{data, dir} {
		if target := find(t, path); target.Dir != dir || target.File != "" || len(target.Segments) < 5 || target.Journal == "" || target.Owner != Nobody {
			t.Errorf("%s: %+v", path, target)
		}
	}
	segment, journal := filepath.Join(dir, "00000000000000000002.seg"), filepath.Join(dir, "journal")
	for _, file := range []string{segment, journal} {
		target := find(t, file)
		v := verified(t, target)
		if target.File != file || !v.Whole() {
			t.Errorf("%s: %+v %+v", file, target, v)
		}
		in, err := target.Inspect(t.Context())
		if err != nil || len(in.Segments)+len(in.Partitions) > 1 || (in.Journal != nil) != (file == journal) {
			t.Errorf("%s: %v %+v", file, err, in)
		}
	}
	one, left := dumped(t, find(t, segment), Selection{Topic: "telemetry", Partition: 0, To: -1})
	if len(one) == 0 || len(left) > 0 {
		t.Errorf("%d records, %v", len(one), left)
	}
	alone := filepath.Join(t.TempDir(), "copy-of-a-segment")
	if err := os.Link(segment, alone); err != nil {
		t.Fatal(err)
	}
	if again, _ := dumped(t, find(t, alone), Selection{Topic: "telemetry", Partition: 0, To: -1}); !slices.Equal(one, again) {
		t.Errorf("a copy of another name: %d records, want %d", len(again), len(one))
	}
	if _, err := find(t, segment).Repair(t.Context(), RepairOptions{}, func(Problem) {}); !errors.Is(err, ErrNoLog) {
		t.Errorf("repairing one file: %v", err)
	}
	if _, err := Find(t.TempDir()); !errors.Is(err, ErrNoLog) {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := Find(filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
	if _, err := Find("/dev/null"); !errors.Is(err, ErrNoLog) {
		t.Errorf("a device: %v", err)
	}
}

// TestARunningNodeIsNoReasonForAlarm reads a log that is written to.
func TestARunningNodeIsNoReasonForAlarm(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	opt := logtest.Options(dir)
	opt.AbsorbBytes = 16 << 10
	w, err := logtest.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Store.Close()
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := w.Append(i%4, 2, 500+i%7*1000); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 12 {
		target := find(t, dir)
		if target.Owner != os.Getpid() {
			t.Errorf("owned by %d", target.Owner)
		}
		if v := verified(t, target); !v.Whole() || len(v.Gone) > 0 {
			t.Errorf("%+v", v)
		}
		if _, err := target.Inspect(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := target.Dump(t.Context(), everything, Output{Record: func(*Record) error { return nil }, Problem: func(Problem) {}}); err != nil {
			t.Error(err)
		}
		if _, err := target.Repair(t.Context(), RepairOptions{}, func(Problem) {}); !errors.Is(err, ErrInUse) {
			t.Errorf("repair: %v", err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
