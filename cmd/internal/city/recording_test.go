package city

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

const roads = `status,avgMeasuredTime,avgSpeed,extID,medianMeasuredTime,TIMESTAMP,vehicleCount,_id,REPORT_ID
OK,51,72,668,51,2014-09-01T00:00:00,0,24466620,158324
OK,45,95.5,690,,2014-09-01T00:00:00,3,24466642,158355
OK,50,70,668,50,2014-09-01T00:05:00,1,24467160,158324
`

func open(t testing.TB, content []byte, l Layout) (*Recording, error) {
	t.Helper()
	r, err := OpenRecording(writeFile(t, "recording.csv", content), l)
	if err == nil {
		t.Cleanup(func() { r.Close() })
	}
	return r, err
}

func layout(t testing.TB, name string) Layout {
	t.Helper()
	l, err := FindLayout(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRecordingYieldsEveryValueInOrderPlainAndGzipped(t *testing.T) {
	for form, content := range map[string][]byte{
		"plain": []byte(roads), "gzip": gzipped(t, roads), "no last line break": []byte(strings.TrimSpace(roads)),
		"line ends of windows": []byte("\xef\xbb\xbf" + strings.ReplaceAll(roads, "\n", "\r\n")),
		"empty lines":          []byte(strings.ReplaceAll(roads, "\n", "\n\n")),
	} {
		r, err := open(t, content, layout(t, "aarhus"))
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		var got []string
		drain(t, r, func(e Event) {
			got = append(got, fmt.Sprintf("%s %s %s", e.Device, e.Time.UTC().Format("02T15:04"), appendPayload(nil, &e, 7)))
		})
		want := []string{
			`158324 31T22:00 {"n":"avgSpeed","v":72,"u":"km/h","t":1409522400,"seq":7}`,
			`158324 31T22:00 {"n":"vehicleCount","v":0,"t":1409522400,"seq":7}`,
			`158324 31T22:00 {"n":"avgMeasuredTime","v":51,"u":"s","t":1409522400,"seq":7}`,
			`158324 31T22:00 {"n":"medianMeasuredTime","v":51,"u":"s","t":1409522400,"seq":7}`,
			`158355 31T22:00 {"n":"avgSpeed","v":95.5,"u":"km/h","t":1409522400,"seq":7}`,
			`158355 31T22:00 {"n":"vehicleCount","v":3,"t":1409522400,"seq":7}`,
			`158355 31T22:00 {"n":"avgMeasuredTime","v":45,"u":"s","t":1409522400,"seq":7}`,
			`158324 31T22:05 {"n":"avgSpeed","v":70,"u":"km/h","t":1409522700,"seq":7}`,
			`158324 31T22:05 {"n":"vehicleCount","v":1,"t":1409522700,"seq":7}`,
			`158324 31T22:05 {"n":"avgMeasuredTime","v":50,"u":"s","t":1409522700,"seq":7}`,
			`158324 31T22:05 {"n":"medianMeasuredTime","v":50,"u":"s","t":1409522700,"seq":7}`,
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s", form, strings.Join(got, "\n"))
		}
	}
}

func TestGenericLayoutTakesEveryOtherColumnAndMappedNames(t *testing.T) {
	l := layout(t, "generic")
	l.ID, l.Time, l.Separator = "id", "when", ';'
	r, err := open(t, []byte("when;id;a;b\n2024-01-02 03:04;\"x\"\"y\";1;-2.5\n"), l)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	drain(t, r, func(e Event) { got = append(got, fmt.Sprintf("%s %s %g", e.Device, e.Measure.Name, e.Number)) })
	if strings.Join(got, ",") != `x"y a 1,x"y b -2.5` {
		t.Errorf("%q", got)
	}
	c, err := ParseColumn("b=state:text")
	if err != nil {
		t.Fatal(err)
	}
	l.Columns, l.Separator = []Column{c}, ','
	r, err = open(t, []byte("id,when,a,b\nx,1700000000,not a number,\"say \"\"no\"\"\"\n"), l)
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	drain(t, r, func(e Event) { got = append(got, string(appendPayload(nil, &e, 0))) })
	if strings.Join(got, ",") != `{"n":"state","vs":"say \"no\"","t":1700000000,"seq":0}` {
		t.Errorf("%q", got)
	}
}

func TestBadFilesAreRefusedWithTheirPlace(t *testing.T) {
	head := "id,time,v\n"
	row := "a,2024-01-01T00:00:00Z,1\n"
	for name, tc := range map[string]struct {
		content string
		line    int64
		column  int
		want    error
	}{
		"an empty file":                {"", 1, 1, ErrColumn},
		"a column is missing":          {"id,when,v\n", 1, 1, ErrColumn},
		"a column stands twice":        {"id,time,v,id\n", 1, 11, ErrColumn},
		"nothing is measured":          {"id,time\n", 1, 1, ErrColumn},
		"a column that is no level":    {"id,time,a/b\n", 1, 9, ErrValue},
		"a short row":                  {head + row + "a,2024-01-01T00:00:00Z\n", 3, 23, ErrFieldCount},
		"a time that is none":          {head + "a,yesterday,1\n", 2, 3, ErrValue},
		"a time without a year":        {head + "a,99999999999999999,1\n", 2, 3, ErrValue},
		"a time that goes back":        {head + row + "b,2023-12-31T23:59:59Z,1\n", 3, 3, ErrOrder},
		"no number":                    {head + row + "a,2024-01-01T00:00:00Z,fast\n", 3, 24, ErrValue},
		"a number that is none":        {head + "a,2024-01-01T00:00:00Z,NaN\n", 2, 24, ErrValue},
		"an endless number":            {head + "a,2024-01-01T00:00:00Z,-inf\n", 2, 24, ErrValue},
		"a device without a name":      {head + ",2024-01-01T00:00:00Z,1\n", 2, 1, ErrValue},
		"a device with a wildcard":     {head + "a+b,2024-01-01T00:00:00Z,1\n", 2, 1, ErrValue},
		"a device with a long name":    {head + strings.Repeat("x", 300) + ",2024-01-01T00:00:00Z,1\n", 2, 1, ErrValue},
		"a quote that stays open":      {head + row + "a,\"2024\n", 3, 3, ErrQuote},
		"a quote inside a field":       {head + "a,20\"24,1\n", 2, 5, ErrQuote},
		"something behind a quote":     {head + "\"a\"b,2024,1\n", 2, 4, ErrQuote},
		"a field that is too long":     {head + row + "a," + strings.Repeat("1", maxField+1) + ",1\n", 3, 3, ErrFieldTooLong},
		"a line that is too long":      {head + row + strings.Repeat("1", maxLine+1) + "\n", 3, maxLine + 1, ErrLineTooLong},
		"a line without end":           {head + strings.Repeat("1", 5*maxLine), 2, maxLine + 1, ErrLineTooLong},
		"more columns than there may":  {head + strings.Repeat(",", maxColumns+1) + "\n", 2, maxColumns + 1, ErrColumns},
		"a header with too many names": {strings.Repeat("a,", maxColumns+1) + "\n", 1, 2*maxColumns + 1, ErrColumns},
	} {
		l := layout(t, "generic")
		l.ID, l.Time = "id", "time"
		r, err := open(t, []byte(tc.content), l)
		for err == nil {
			err = r.Next(new(Event))
		}
		var at *PositionError
		if !errors.Is(err, tc.want) || !errors.As(err, &at) || at.Line != tc.line || at.Column != tc.column {
			t.Errorf("%s: %v; line %d, column %d is the place", name, err, tc.line, tc.column)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("recording.csv:%d:%d: ", tc.line, tc.column)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamagedGzipIsRefused(t *testing.T) {
	whole := gzipped(t, strings.Repeat("id,time,v\n", 1000))
	for name, content := range map[string][]byte{
		"cut off": whole[:len(whole)/2], "only its magic": whole[:2], "a flipped bit": append(append([]byte{}, whole[:len(whole)-6]...), 1, 2, 3, 4, 5, 6),
	} {
		l := layout(t, "generic")
		l.ID, l.Time, l.SkipBad = "id", "time", true
		r, err := open(t, content, l)
		for err == nil {
			err = r.Next(new(Event))
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: read as a whole file", name)
		}
	}
}

func TestBadRowsCanBePassedOver(t *testing.T) {
	l := layout(t, "generic")
	l.ID, l.Time, l.SkipBad = "id", "time", true
	r, err := open(t, []byte("id,time,v\na,1000,1\nbroken\na,x,2\na,1001,y\n"+strings.Repeat("z", 3*maxLine)+"\na,\"1002\na,1003,3\n"), l)
	if err != nil {
		t.Fatal(err)
	}
	var got []float64
	drain(t, r, func(e Event) { got = append(got, e.Number) })
	if fmt.Sprint(got) != "[1 3]" || r.Bad() != 5 {
		t.Errorf("values %v, %d rows passed over", got, r.Bad())
	}
}

func TestTimesAreReadInTheirZone(t *testing.T) {
	for _, tc := range []struct{ form, zone, text, want string }{
		{"", "", "2014-09-01T00:00:00Z", "2014-09-01T00:00:00Z"},
		{"", "", "2014-09-01T00:00:00+02:00", "2014-08-31T22:00:00Z"},
		{"", "+02:00", "2014-09-01T00:00:00", "2014-08-31T22:00:00Z"},
		{"", "", "1409529600", "2014-09-01T00:00:00Z"},
		{"", "", "1409529600000", "2014-09-01T00:00:00Z"},
		{"unixms", "", "1409529600000", "2014-09-01T00:00:00Z"},
		{"02.01.2006 15:04", "+01:00", "01.09.2014 01:30", "2014-09-01T00:30:00Z"},
	} {
		c, err := newClockReader(tc.form, tc.zone)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := c.read([]byte(tc.text)); err != nil || got.UTC().Format(time.RFC3339) != tc.want {
				t.Errorf("%+v: %s %v", tc, got, err)
			}
		}
	}
	if _, err := newClockReader("", "Nowhere/City"); err == nil {
		t.Error("a zone that does not exist was taken")
	}
}

func TestParseColumnAndFindLayoutRefuseNonsense(t *testing.T) {
	for _, s := range []string{"", ":C", "a=", "a=b/c", "=x"} {
		if c, err := ParseColumn(s); err == nil {
			t.Errorf("%q: %+v", s, c)
		}
	}
	if _, err := FindLayout("atlantis"); err == nil {
		t.Error("a layout that does not exist was found")
	}
	for _, name := range LayoutNames() {
		layout(t, name)
	}
}

func FuzzRecording(f *testing.F) {
	f.Add([]byte(roads))
	f.Add([]byte("REPORT_ID,TIMESTAMP,avgSpeed,vehicleCount,avgMeasuredTime,medianMeasuredTime\n\"a\"\"b\",2014-09-01T00:00:00,1,2,3,4\n"))
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0})
	f.Fuzz(func(t *testing.T, content []byte) {
		tab, err := newTable("fuzz", strings.NewReader(string(content)), ',')
		if err != nil {
			return
		}
		clock, _ := newClockReader("2006-01-02T15:04:05", "+02:00")
		r := &Recording{table: tab, layout: layout(t, "aarhus"), clock: clock}
		if r.readHeader() != nil {
			return
		}
		var e Event
		for r.Next(&e) == nil {
			if p := appendPayload(nil, &e, 1); len(p) > 2*maxField {
				t.Fatalf("payload of %d bytes", len(p))
			}
		}
	})
}
