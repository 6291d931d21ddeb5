package soak

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// feed gives the ledger one partition's records, written as "kind source conn seq".
func feed(l *Ledger, lines string) error {
	for line := range strings.SplitSeq(strings.TrimSpace(lines), ";") {
		var e Entry
		var kind string
		if _, err := fmt.Sscan(line, &kind, &e.Source, &e.Conn, &e.Seq); err != nil {
			return err
		}
		e.Kind = Kind(kind[0])
		if err := l.Record(0, l.Next(0), e.Append(nil, 40)); err != nil {
			return err
		}
	}
	return nil
}

func TestLedgerHoldsTheOrderThatTheKindPromises(t *testing.T) {
	began := map[string]int64{"d1": 0, "d2": 2, "d3": 2, "d4": 9}
	first := func(source string, conn int64) (int64, bool) {
		seq, ok := began[fmt.Sprint(source, conn)]
		return seq, ok
	}
	for _, c := range []struct {
		name, records, broken string
	}{
		{"devices in order", "m d 1 0;m d 1 1;m e 1 0", "which never was"},
		{"device in order", "m d 1 0;m d 1 1;m d 1 2", ""},
		{"device sends again after a cut", "m d 1 0;m d 1 1;m d 1 2;m d 2 2;m d 2 3", ""},
		{"two cuts without a record between", "m d 1 0;m d 1 1;m d 3 2", ""},
		{"device loses an acknowledged record", "m d 1 0;m d 2 2", "1 acknowledged are missing"},
		{"device skips within a connection", "m d 1 0;m d 1 2", "1 are missing"},
		{"device doubled within a connection", "m d 1 0;m d 1 0", "within connection"},
		{"connection does not begin where it began", "m d 1 0;m d 1 1;m d 1 2;m d 2 1", "began with 2"},
		{"an old connection speaks again", "m d 1 0;m d 1 1;m d 3 2;m d 2 2", "follows connection 3"},
		{"plain in order", "p a 0 0;p a 0 1", ""},
		{"plain sends a batch again", "p a 0 0;p a 0 1;p a 0 2;p a 0 1;p a 0 2;p a 0 3", ""},
		{"plain loses one", "p a 0 0;p a 0 2", "1 are missing"},
		{"plain starts late", "p a 0 1", "1 are missing"},
		{"idempotent in order", "i a 0 0;i a 0 1;i b 0 0", ""},
		{"idempotent doubled", "i a 0 0;i a 0 1;i a 0 1", "again"},
		{"idempotent batch doubled", "i a 0 0;i a 0 1;i a 0 0;i a 0 1", "again"},
		{"idempotent loses one", "i a 0 0;i a 0 1;i a 0 3", "1 are missing"},
		{"kind changes", "i a 0 0;p a 0 1", "moved from"},
	} {
		err := feed(NewLedger(first), c.records)
		switch {
		case c.broken == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.broken != "" && (!errors.Is(err, ErrLedger) || !strings.Contains(err.Error(), c.broken)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.broken)
		}
	}
}

func TestLedgerRefusesWhatWasAcknowledgedBeforeTheKill(t *testing.T) {
	l := NewLedger(nil)
	if err := feed(l, "p a 0 0;p a 0 1;p a 0 2"); err != nil {
		t.Fatal(err)
	}
	l.SetFloor("a", 2)
	if err := feed(l, "p a 0 2"); err != nil {
		t.Fatal(err)
	}
	if err := feed(l, "p a 0 1"); !errors.Is(err, ErrLedger) {
		t.Fatalf("a record below the floor came again: %v", err)
	}
}

func TestLedgerNoticesOffsetsThatSkipOrRepeat(t *testing.T) {
	for _, offset := range []int64{0, 2} {
		l := NewLedger(nil)
		if err := feed(l, "p a 0 0"); err != nil {
			t.Fatal(err)
		}
		err := l.Record(0, offset, Entry{Kind: Plain, Source: "a", Seq: 1}.Append(nil, 0))
		if !errors.Is(err, ErrLedger) {
			t.Errorf("offset %d after 0: %v", offset, err)
		}
	}
}

func TestLedgerNoticesAPartitionChange(t *testing.T) {
	l := NewLedger(nil)
	if err := feed(l, "p a 0 0"); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(1, 0, Entry{Kind: Plain, Source: "a", Seq: 1}.Append(nil, 0)); !errors.Is(err, ErrLedger) {
		t.Errorf("a source moved to another partition: %v", err)
	}
}

func TestLedgerRefusesForeignAndDamagedValues(t *testing.T) {
	good := Entry{Kind: Plain, Source: "a"}.Append(nil, 40)
	bad := append([]byte(nil), good...)
	bad[len(bad)-1] ^= 1
	for _, value := range [][]byte{nil, []byte("hello"), bad, []byte("p a x 0 ."), []byte("p a 0 ")} {
		if err := NewLedger(nil).Record(0, 0, value); !errors.Is(err, ErrEntry) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestDiffTellsLossAndChange(t *testing.T) {
	one, same, shorter, other := NewLedger(nil), NewLedger(nil), NewLedger(nil), NewLedger(nil)
	for _, c := range []struct {
		l       *Ledger
		records string
	}{
		{one, "p a 0 0;p b 0 0"}, {same, "p a 0 0;p b 0 0"}, {shorter, "p a 0 0"}, {other, "p b 0 0;p a 0 0"},
	} {
		if err := feed(c.l, c.records); err != nil {
			t.Fatal(err)
		}
	}
	if d := one.Diff(same); d != "" {
		t.Error(d)
	}
	if one.Diff(shorter) == "" || one.Diff(other) == "" {
		t.Errorf("differences not told: %q %q", one.Diff(shorter), one.Diff(other))
	}
	if d := shorter.Diff(one); d != "" {
		t.Errorf("more records than before are no difference: %s", d)
	}
}

func TestEntriesRoundTrip(t *testing.T) {
	for _, e := range []Entry{{Device, "lamp-17", 3, 99}, {Idempotent, "x", 0, 1 << 40}} {
		for _, size := range []int{0, 20, 150} {
			got, err := ParseEntry(e.Append([]byte{}, size))
			if err != nil || got != e {
				t.Errorf("%+v came back as %+v, %v", e, got, err)
			}
		}
	}
}
