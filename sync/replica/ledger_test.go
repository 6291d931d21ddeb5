package replica

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
)

// forwardedTo has the partitions of these topics forwarded up to the offsets.
func (r *rig) forwardedTo(positions map[string]int64) {
	r.m.SetForwarded(func(p *Partition) (int64, bool) {
		at, ok := positions[p.Topic()]
		return at, ok
	})
}

func (r *rig) ledger(p *Partition, want Ledger) {
	r.t.Helper()
	got := p.Ledger()
	if got != want {
		r.t.Errorf("ledger of %s: %+v, want %+v", p.Topic(), got, want)
	}
	if got.Accepted != got.Stored+got.Expired+got.Lost+got.Superseded+got.Damaged {
		r.t.Errorf("ledger of %s does not add up: %+v", p.Topic(), got)
	}
}

func TestLedgerTellsWhatWasLostFromWhatExpired(t *testing.T) {
	r := newRig(t)
	kept, sent, local := r.topic(1, "kept"), r.topic(2, "sent"), r.topic(3, "local")
	for _, p := range []*Partition{kept, sent, local} {
		r.fill(p, 10, 100)
	}
	positions := map[string]int64{"kept": 0, "sent": 4}
	r.forwardedTo(positions)
	r.ledger(sent, Ledger{Accepted: 10, Stored: 10, Forwarded: 4, Forwards: true})
	for _, p := range []*Partition{kept, sent, local} {
		if err := p.DeleteRecords(6); err != nil {
			t.Fatal(err)
		}
		if err := p.AdvanceStart(5); err != nil { // behind it already
			t.Fatal(err)
		}
		if err := p.DeleteRecords(11); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		r.ledger(kept, Ledger{Accepted: 10, Stored: 4, Lost: 6, Forwards: true})
		r.ledger(sent, Ledger{Accepted: 10, Stored: 4, Expired: 4, Lost: 2, Forwarded: 4, Forwards: true})
		r.ledger(local, Ledger{Accepted: 10, Stored: 4, Expired: 6})
	}
	check()
	for topic, want := range map[string]float64{"kept": 6, "sent": 2, "local": 0} {
		if n := testutil.ToFloat64(r.m.metrics.Lost.WithLabelValues(topic, reasonClient)); n != want {
			t.Errorf("%v lost records of %s counted, want %v", n, topic, want)
		}
	}
	const want = `
		# HELP culvert_topic_records Records of a topic since it was created, by what became of them: accepted is stored, expired, lost, superseded and damaged together; forwarded are in one of those, too.
		# TYPE culvert_topic_records gauge
		culvert_topic_records{state="accepted",topic="sent"} 10
		culvert_topic_records{state="damaged",topic="sent"} 0
		culvert_topic_records{state="expired",topic="sent"} 4
		culvert_topic_records{state="forwarded",topic="sent"} 4
		culvert_topic_records{state="lost",topic="sent"} 2
		culvert_topic_records{state="stored",topic="sent"} 4
		culvert_topic_records{state="superseded",topic="sent"} 0
	`
	r.apply(&meta.DeleteTopic{Name: "kept"}, &meta.DeleteTopic{Name: "local"})
	if err := testutil.CollectAndCompare(r.m.Collector(), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestLedgerIsTheSameAfterARestart(t *testing.T) {
	r := newRig(t)
	telemetry, alarms := r.topic(1, "telemetry"), r.topic(2, "alarms", "culvert.priority", "9")
	positions := map[string]int64{"telemetry": 20, "alarms": 0}
	r.forwardedTo(positions)
	for range 30 {
		r.fill(telemetry, 3, 60<<10)
		r.fill(alarms, 1, 1000)
	}
	used := r.used()
	r.keepRoom(Limits{MaxBytes: used - 3*rigSegment})
	if err := telemetry.DeleteRecords(telemetry.StartOffset() + 1); err != nil {
		t.Fatal(err)
	}
	start := telemetry.StartOffset()
	want := Ledger{Accepted: 90, Stored: 90 - start, Expired: 20, Lost: start - 20, Forwarded: 20, Forwards: true}
	if start <= 20 {
		t.Fatalf("start %d", start)
	}
	r.ledger(telemetry, want)
	for range 2 {
		r.reopen()
		r.forwardedTo(positions)
		r.ledger(r.partition("telemetry", 0), want)
		r.ledger(r.partition("alarms", 0), Ledger{Accepted: 30, Stored: 30, Forwards: true})
	}
	// What goes later adds to it.
	positions["telemetry"] = 85
	if err := r.partition("telemetry", 0).DeleteRecords(90); err != nil {
		t.Fatal(err)
	}
	r.ledger(r.partition("telemetry", 0), Ledger{Accepted: 90, Expired: 20 + 85 - start, Lost: start - 20 + 5, Forwarded: 90 - (start - 20) - 5, Forwards: true})
}

func TestNothingExpiresByTimeWhileTheClockIsNotToBeBelieved(t *testing.T) {
	r := newRig(t)
	day := r.topic(1, "day", "retention.ms", "86400000")
	small := r.topic(2, "small", "retention.ms", "86400000", "retention.bytes", "1000000")
	r.fill(day, 40, 60<<10)
	r.fill(small, 40, 60<<10)
	clean := func(held string) {
		t.Helper()
		if err := r.m.Clean(r.t.Context(), Limits{}); err != nil {
			t.Fatal(err)
		}
		if why := r.m.Held(); (why == "") != (held == "") || !strings.Contains(why, held) {
			t.Fatalf("held because %q, want %q", why, held)
		}
	}
	clean("")
	r.now = r.now.Add(365 * 24 * time.Hour) // a leap: no time has passed since the boot
	clean("leapt forward")
	if day.StartOffset() != 0 {
		t.Fatalf("records expired by a clock that leapt: start %d", day.StartOffset())
	}
	if small.StartOffset() == 0 {
		t.Fatal("retention by size does not wait for the clock")
	}
	r.unset = true
	for range 65 {
		r.now, r.up = r.now.Add(10*time.Second), r.up+10*time.Second
		clean("not synchronised")
	}
	if day.StartOffset() != 0 {
		t.Fatal("records expired by a clock that nobody set")
	}
	r.unset = false
	clean("")
	if day.StartOffset() == 0 {
		t.Fatal("nothing expired by a clock that was right for more than ten minutes")
	}
}

func TestRecordsThatCannotBeCountedMayGoNevertheless(t *testing.T) {
	r := newRig(t)
	p := r.topic(1, "t")
	r.fill(p, 60, 60<<10)
	if n := p.count(1, 30); n != 29 {
		t.Fatalf("%d records counted, want 29", n)
	}
	if err := r.st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.records.Count(1, 30); err == nil {
		t.Fatal("records of a closed store are counted")
	}
	if n := p.count(1, 30); n != 29 {
		t.Fatalf("%d records, want one an offset", n)
	}
	if n := p.count(1, 1000); n != 60 {
		t.Fatalf("%d records, want no more than there are", n)
	}
}

func TestWhatGoesIsToldOnceAMinute(t *testing.T) {
	r := newRig(t)
	var said bytes.Buffer
	r.m.log = slog.New(slog.NewTextHandler(&said, nil))
	report := func(topic string, gone store.Gone) []string {
		t.Helper()
		said.Reset()
		tl := make(tally)
		tl.add(topic, reasonDisk, gone, 100*(gone.Expired+gone.Lost))
		r.m.report(tl)
		return slices.Collect(strings.Lines(said.String()))
	}
	if got := report("a", store.Gone{Lost: 5}); len(got) != 1 || !strings.Contains(got[0], "level=WARN") || !strings.Contains(got[0], "topic=a lost=5 expired=0 bytes=500 reason=disk") {
		t.Fatalf("said %q", got)
	}
	for range 59 {
		r.up += time.Second
		if got := report("a", store.Gone{Lost: 1, Expired: 1}); len(got) != 0 {
			t.Fatalf("said %q", got)
		}
	}
	if got := report("b", store.Gone{Expired: 7}); len(got) != 0 {
		t.Fatalf("said %q", got)
	}
	r.up += time.Second
	got := report("a", store.Gone{}) // nothing went in this pass
	slices.Sort(got)
	if len(got) != 2 || !strings.Contains(got[0], "level=INFO") || !strings.Contains(got[0], "topic=b records=7") || !strings.Contains(got[1], "topic=a lost=59 expired=59") {
		t.Fatalf("said %q", got)
	}
	if n := testutil.ToFloat64(r.m.metrics.Lost.WithLabelValues("a", reasonDisk)); n != 64 {
		t.Fatalf("%v counted, want 64", n)
	}
	if n := testutil.ToFloat64(r.m.metrics.LostTotal); n != 64 {
		t.Fatalf("%v counted in all, want 64", n)
	}
}
