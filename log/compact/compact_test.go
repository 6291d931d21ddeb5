package compact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

const forever = time.Duration(1<<63 - 1)

// scene is a fake store that is told what to hold, one record a batch, and a cleaner.
type scene struct {
	*testing.T
	*fake
	next    map[uint32]int64
	cleaner *Cleaner
	part    Partition // what passes are told of partition 1, and 2
}

func newScene(t *testing.T, o Options) *scene {
	f := newFake(time.UnixMilli(1_700_000_000_000))
	o.Store, o.Logger = f, slog.New(slog.DiscardHandler)
	return &scene{T: t, fake: f, next: map[uint32]int64{}, cleaner: New(o),
		part: Partition{MinDirtyRatio: 0.5, MaxLag: forever, DeleteRetention: time.Hour}}
}

// put appends a record; without a value it is a tombstone.
func (s *scene) put(id uint32, key, value string) { s.batch(id, [2]string{key, value}) }

func (s *scene) batch(id uint32, records ...[2]string) {
	var bl record.Builder
	for _, r := range records {
		var v []byte
		if r[1] != "" {
			v = []byte(r[1])
		}
		bl.Append(s.now.UnixMilli(), []byte(r[0]), v, nil)
	}
	b := slices.Clone(bl.Finish(s.next[id], 0, record.LZ4, nil))
	s.next[id] = b.NextOffset()
	s.commit(store.Entry{Partition: id, Batch: b})
}

// fill appends to a partition that is not compacted.
func (s *scene) fill(size int) {
	var bl record.Builder
	bl.Append(0, nil, make([]byte, size), nil)
	b := slices.Clone(bl.Finish(s.next[fillerID], 0, record.None, nil))
	s.next[fillerID]++
	s.commit(store.Entry{Partition: fillerID, Batch: b})
}

// seal begins another segment.
func (s *scene) seal() { s.roll() }

// pass compacts partitions 1 and 2, as far as they are there.
func (s *scene) pass() Result {
	s.Helper()
	res, err := s.try(func(int64) error { return nil })
	if err != nil {
		s.Fatal(err)
	}
	return res
}

func (s *scene) try(pace func(int64) error) (Result, error) {
	return s.cleaner.Pass(context.Background(), s.partitions(), Conditions{Now: s.now, Timed: true, Pace: pace})
}

func (s *scene) partitions() (in []Partition) {
	for id := range uint32(2) {
		p := s.part
		p.ID, p.Topic, p.Cleaned, p.Stable = id+1, "t", s.cleaned[id+1], s.next[id+1]
		in = append(in, p)
	}
	return in
}

// holds returns what is in the log of a partition: offset, key, value.
func (s *scene) holds(id uint32) string {
	var all []string
	for _, b := range s.read(id) {
		var r record.Reader
		if err := r.Reset(b, 1<<20); err != nil {
			s.Fatal(err)
		}
		for r.Next() {
			v := "-"
			if r.Record().Value != nil {
				v = string(r.Record().Value[:min(len(r.Record().Value), 10)])
			}
			all = append(all, fmt.Sprintf("%d:%s=%s", r.Record().Offset, r.Record().Key, v))
		}
		r.Close()
	}
	return strings.Join(all, " ")
}

func (s *scene) want(id uint32, what string) {
	s.Helper()
	if got := s.holds(id); got != what {
		s.Fatalf("partition %d holds %q, want %q", id, got, what)
	}
}

// passes makes passes until nothing changes any more.
func (s *scene) passes() {
	s.Helper()
	for range 50 {
		if res := s.pass(); res.Partitions == 0 {
			return
		}
	}
	s.Fatal("there is always something to do")
}

func TestOnlyTheLastRecordOfAKeyStays(t *testing.T) {
	s := newScene(t, Options{})
	for i := range 10 {
		s.put(1, "a", fmt.Sprint("a", i))
		s.put(2, "a", fmt.Sprint("b", i))
		s.put(1, fmt.Sprint("only", i), "v")
		s.seal()
	}
	s.fill(100)
	s.seal()
	res := s.pass()
	s.want(1, "1:only0=v 3:only1=v 5:only2=v 7:only3=v 9:only4=v 11:only5=v 13:only6=v 15:only7=v 17:only8=v 18:a=a9 19:only9=v")
	s.want(2, "9:a=b9")
	if res.Partitions != 2 || res.Removed[1] != 9 || res.Removed[2] != 9 || res.Segments != 9 || res.More || res.Freed <= 0 || res.Written <= 0 || res.Dirty != 1 {
		t.Errorf("%+v", res)
	}
	if s.cleaned[1] != 20 || s.cleaned[2] != 10 {
		t.Errorf("cleaned %v", s.cleaned)
	}
	if res := s.pass(); res.Partitions != 0 || res.Read != 0 {
		t.Errorf("nothing is new, but %+v", res)
	}
}

func TestSegmentIsNotWrittenForAFewBytes(t *testing.T) {
	s := newScene(t, Options{})
	s.put(1, "a", "old")
	s.fill(50_000)
	s.seal()
	s.put(1, "a", "new")
	s.fill(50_000)
	s.seal()
	s.seal()
	if res := s.pass(); res.Partitions != 1 || res.Segments != 0 || s.cleaned[1] != 0 {
		t.Fatalf("%+v, cleaned %v", res, s.cleaned)
	}
	s.want(1, "0:a=old 1:a=new")
	if res := s.pass(); res.Read != 0 {
		t.Fatalf("nothing is new, but %+v", res)
	}
	s.starts[fillerID] = 1 // the rest of the first segment expires
	if res := s.pass(); res.Segments != 1 || s.cleaned[1] != 2 {
		t.Fatalf("%+v, cleaned %v", res, s.cleaned)
	}
	s.want(1, "1:a=new")
}

func TestSegmentIsWrittenForAFewBytesWhenTheyHaveWaitedTooLong(t *testing.T) {
	s := newScene(t, Options{})
	s.part.MaxLag = 24 * time.Hour
	s.part.MinDirtyRatio = 1
	s.put(1, "a", "old")
	s.fill(50_000)
	s.seal()
	s.put(1, "a", "new")
	s.fill(50_000)
	s.seal()
	s.seal()
	s.now = s.now.Add(24 * time.Hour)
	if res := s.pass(); res.Partitions != 0 {
		t.Fatalf("%+v", res)
	}
	s.now = s.now.Add(time.Millisecond)
	if res := s.pass(); res.Segments != 1 || s.cleaned[1] != 2 {
		t.Fatalf("%+v, cleaned %v", res, s.cleaned)
	}
	s.want(1, "1:a=new")
}

func TestWhatIsNotSealedStaysAndSupersedesNothing(t *testing.T) {
	s := newScene(t, Options{})
	s.put(1, "a", "1")
	s.put(1, "a", "2")
	s.seal()
	s.put(1, "a", "3")
	s.put(1, "a", "4")
	s.pass()
	s.want(1, "1:a=2 2:a=3 3:a=4")
}

func TestTombstoneStaysForItsTimeAndGoesWithoutAnythingNew(t *testing.T) {
	s := newScene(t, Options{})
	for i := range 5 {
		s.put(1, "a", fmt.Sprint("v", i))
	}
	s.put(1, "a", "")
	s.put(1, "b", "v")
	s.seal()
	s.fill(10)
	s.seal()
	s.pass()
	s.want(1, "5:a=- 6:b=v")
	s.now = s.now.Add(time.Hour - time.Millisecond)
	s.passes()
	s.want(1, "5:a=- 6:b=v")
	s.now = s.now.Add(time.Millisecond)
	s.part.ID = 1
	s.cleaner.opt.Worth = 1 // it is a small part of what is left
	s.passes()
	s.want(1, "6:b=v")
}

func TestSegmentOfTombstonesIsWrittenToGiveThemTheirTimeAndThenGoes(t *testing.T) {
	s := newScene(t, Options{})
	for i := range 20 {
		s.put(1, fmt.Sprint("a", i), "")
	}
	s.seal()
	s.put(1, "b", "v")
	s.seal()
	s.seal()
	if res := s.pass(); res.Segments != 1 || res.Removed[1] != 0 {
		t.Fatalf("%+v", res)
	}
	s.passes()
	s.now = s.now.Add(time.Hour)
	s.passes()
	s.want(1, "20:b=v")
}

func TestTombstoneOutlivesWhatItDeletes(t *testing.T) {
	s := newScene(t, Options{})
	s.part.MinDirtyRatio = 0
	s.put(1, "a", "old") // in a segment that is not worth it
	s.fill(50_000)
	s.seal()
	for range 20 {
		s.put(1, "b", "v") // these are worth it
	}
	s.put(1, "a", "")
	s.seal()
	s.seal()
	if res := s.pass(); res.Segments != 1 {
		t.Fatalf("%+v", res)
	}
	s.want(1, "0:a=old 20:b=v 21:a=-")
	s.now = s.now.Add(2 * time.Hour)
	for range 3 {
		s.put(1, "c", "v")
		s.seal()
	}
	s.cleaner.opt.Worth = 20
	s.passes()
	s.want(1, "0:a=old 20:b=v 21:a=- 24:c=v")
	s.starts[fillerID] = 1
	s.passes()
	s.want(1, "20:b=v 21:a=- 24:c=v")
	s.now = s.now.Add(30 * time.Minute)
	s.passes()
	s.want(1, "20:b=v 21:a=- 24:c=v")
	s.now = s.now.Add(30 * time.Minute)
	s.passes()
	s.want(1, "20:b=v 24:c=v")
}

func TestTombstonesBehindWhatTheMapHadRoomForGetNoTime(t *testing.T) {
	s := newScene(t, Options{Memory: 6 * slotBytes, Worth: 1}) // four keys
	s.put(1, "z", "old")
	s.seal()
	s.batch(1, [2]string{"a", "1"}, [2]string{"a", "2"}, [2]string{"b", ""}, [2]string{"c", "1"}, [2]string{"d", "1"}, [2]string{"z", ""})
	s.fill(10)
	s.seal()
	s.seal()
	if res := s.pass(); !res.More || s.cleaned[1] != 5 {
		t.Fatalf("%+v, cleaned %v", res, s.cleaned)
	}
	s.want(1, "0:z=old 2:a=2 3:b=- 4:c=1 5:d=1 6:z=-")
	for _, b := range s.read(1) {
		if b.HasDeleteHorizon() {
			t.Fatalf("the batch at %d has a delete horizon", b.BaseOffset())
		}
	}
}

func TestFullMapIsNoDeadEnd(t *testing.T) {
	s := newScene(t, Options{Memory: 10 * slotBytes}) // seven keys
	s.part.MinDirtyRatio = 0
	for round := range 3 {
		for i := range 40 {
			s.put(1, fmt.Sprint("k", i), fmt.Sprint(round))
			if i%8 == 0 {
				s.fill(3000)
				s.seal()
			}
		}
	}
	s.seal()
	s.fill(10)
	s.seal()
	for n := 0; s.pass().More; n++ {
		if n > 40 {
			t.Fatalf("cleaned %v after %d passes", s.cleaned, n)
		}
	}
	if s.cleaned[1] < 110 {
		t.Fatalf("cleaned %v of 120", s.cleaned)
	}
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("%d:k%d=2", 80+i, i))
	}
	if got := s.holds(1); !strings.HasSuffix(got, strings.Join(want, " ")) || len(strings.Fields(got)) > 50 {
		t.Fatalf("%s", got)
	}
}

func TestMarkersStayAsLongAsAnythingOfTheirTransaction(t *testing.T) {
	s := newScene(t, Options{Worth: 1})
	s.part.MinDirtyRatio = 0
	batch := func(producer int64, key string) {
		s.put(1, key, fmt.Sprint("of ", producer))
		c := s.segs[len(s.segs)-1].commits
		b := c[len(c)-1][0].Batch
		b[22] |= 1 << 4
		b.SetProducer(producer, 0, 0)
	}
	marker := func(producer int64, commit bool) {
		b := record.NewMarker(producer, 0, record.Marker{Commit: commit}, s.now.UnixMilli())
		b.SetBaseOffset(s.next[1])
		s.next[1]++
		s.commit(store.Entry{Partition: 1, Batch: b})
	}
	markers := func() (at []int64) {
		for _, b := range s.read(1) {
			if _, ok := b.Marker(); ok {
				at = append(at, b.BaseOffset())
			}
		}
		return at
	}
	wantMarkers := func(want ...int64) {
		t.Helper()
		if got := markers(); !slices.Equal(got, want) {
			t.Fatalf("markers at %v, want %v", got, want)
		}
	}
	batch(7, "a") // 0
	batch(8, "b") // 1: aborted
	s.seal()
	batch(8, "a")    // 2: aborted
	marker(8, false) // 3
	marker(7, true)  // 4
	s.put(1, "c", "v")
	s.part.Aborted = []store.Aborted{{Producer: 8, First: 1, Last: 3}}
	s.seal()
	s.fill(10)
	s.seal()
	s.pass()
	s.want(1, "0:a=of 7 3:\x00\x00\x00\x00=\x00\x00\x00\x00\x00\x00 4:\x00\x00\x00\x01=\x00\x00\x00\x00\x00\x00 5:c=v")

	again := func() {
		s.put(1, "c", "v")
		s.seal()
		s.fill(10)
		s.seal()
		s.passes()
	}
	again() // of 8 there is nothing left: the marker gets its time
	s.now = s.now.Add(30 * time.Minute)
	again()
	wantMarkers(3, 4)
	s.now = s.now.Add(30 * time.Minute)
	again()
	wantMarkers(4)
	s.put(1, "a", "new") // the last record of 7 goes
	again()
	wantMarkers(4)
	again()
	s.now = s.now.Add(time.Hour)
	again()
	wantMarkers()
}

func TestBatchThatCannotBeReadStaysAndStopsItsPartitionAlone(t *testing.T) {
	s := newScene(t, Options{Limit: 5000, Worth: 1})
	s.put(1, "a", "1")
	s.put(1, "a", "2")
	s.put(1, "b", strings.Repeat("x", 20_000))
	s.put(1, "a", "3")
	s.put(2, "a", "1")
	s.put(2, "a", "2")
	s.put(2, "a", "3")
	s.seal()
	s.fill(10)
	s.seal()
	s.passes()
	s.want(1, "1:a=2 2:b=xxxxxxxxxx 3:a=3")
	s.want(2, "2:a=3")
	if s.cleaned[1] != 2 || s.cleaned[2] != 3 {
		t.Fatalf("cleaned %v", s.cleaned)
	}
}

func TestNothingGoesByAClockThatIsNotKnownToBeRight(t *testing.T) {
	s := newScene(t, Options{Worth: 1})
	s.part.MaxLag = time.Hour
	s.put(1, "a", "1")
	s.put(1, "a", "")
	s.put(1, "b", "1")
	s.seal()
	s.fill(10)
	s.seal()
	pass := func(lag time.Duration) Result {
		in := s.partitions()
		in[0].MinLag = lag
		res, err := s.cleaner.Pass(t.Context(), in, Conditions{Now: s.now.Add(1000 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := pass(time.Second); res.Partitions != 0 {
		t.Fatalf("%+v", res)
	}
	pass(0)
	s.want(1, "1:a=- 2:b=1")
	if b := s.read(1)[0]; b.HasDeleteHorizon() {
		t.Fatalf("delete horizon %d", b.DeleteHorizon())
	}
}

func TestPassThatIsStoppedKeepsWhatItHasDone(t *testing.T) {
	build := func() *scene {
		s := newScene(t, Options{})
		s.part.MinDirtyRatio = 0
		for i := range 30 {
			s.put(1, "a", fmt.Sprint("v", i))
			if i%5 == 4 {
				s.seal()
			}
		}
		s.put(1, "b", "v")
		s.seal()
		s.fill(10)
		s.seal()
		return s
	}
	stop := errors.New("stop")
	for n := 0; ; n++ {
		s := build()
		left := n
		res, err := s.try(func(int64) error {
			if left--; left < 0 {
				return stop
			}
			return nil
		})
		if err != nil && !errors.Is(err, stop) {
			t.Fatal(err)
		}
		if !strings.HasSuffix(s.holds(1), "29:a=v29 30:b=v") {
			t.Fatalf("stopped after %d: %s", n, s.holds(1))
		}
		if gone := 31 - int64(len(strings.Fields(s.holds(1)))); res.Removed[1] != gone {
			t.Fatalf("stopped after %d: %d records gone, %d counted", n, gone, res.Removed[1])
		}
		if err == nil {
			break
		}
		s.pass()
		s.want(1, "29:a=v29 30:b=v")
		if s.cleaned[1] != 31 {
			t.Fatalf("stopped after %d: cleaned %v", n, s.cleaned)
		}
	}
	s := build()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.cleaner.Pass(ctx, s.partitions(), Conditions{Now: s.now}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestCleanerForgetsWhatIsGone(t *testing.T) {
	s := newScene(t, Options{})
	s.put(1, "a", "old")
	s.fill(50_000)
	s.seal()
	s.put(1, "a", "new")
	s.seal()
	s.seal()
	s.pass()
	if len(s.cleaner.seen) != 1 || len(s.cleaner.kept) != 1 {
		t.Fatalf("seen %v, kept %v", s.cleaner.seen, s.cleaner.kept)
	}
	s.segs = s.segs[1:]
	if _, err := s.cleaner.Pass(t.Context(), nil, Conditions{Now: s.now}); err != nil || len(s.cleaner.seen)+len(s.cleaner.kept) != 0 {
		t.Fatalf("seen %v, kept %v, %v", s.cleaner.seen, s.cleaner.kept, err)
	}
}

func TestTimesOfATopicAreTakenAsTheyAre(t *testing.T) {
	for ms, want := range map[int64]time.Duration{0: 0, 1500: 1500 * time.Millisecond, 1<<63 - 1: forever, 9223372036854: 9223372036854 * time.Millisecond} {
		if got := Milliseconds(ms); got != want {
			t.Errorf("%d ms: %v, want %v", ms, got, want)
		}
	}
}

func TestRecordsKeepTheirBytes(t *testing.T) {
	s := newScene(t, Options{Worth: 1})
	value := bytes.Repeat([]byte("0123456789"), 100)
	s.batch(1, [2]string{"a", "1"}, [2]string{"b", string(value)}, [2]string{"a", "2"})
	s.put(1, "a", "3")
	s.seal()
	s.fill(10)
	s.seal()
	s.pass()
	var r record.Reader
	defer r.Close()
	b := s.read(1)[0]
	if err := r.Reset(b, 1<<20); err != nil || !r.Next() || !bytes.Equal(r.Record().Value, value) || b.LastOffset() != 2 || b.Count() != 1 {
		t.Fatalf("%+v, %v", r.Record(), r.Err())
	}
}
