package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestRecordsArePrintedAsAskedFor(t *testing.T) {
	r := &kgo.Record{Topic: "mqtt", Partition: 2, Offset: 41, Timestamp: time.UnixMilli(1700000000123), Key: []byte("lamp-17"),
		Value: []byte("21.5"), Headers: []kgo.RecordHeader{{Key: "mqtt.topic", Value: []byte("city/lamp-17")}, {Key: "empty"}}}
	for format, want := range map[string]string{
		`%s\n`:                   "21.5\n",
		`%k %h %s\n`:             "lamp-17 mqtt.topic=city/lamp-17,empty= 21.5\n",
		`%t[%p]@%o %T%%\t\\\r\0`: "mqtt[2]@41 1700000000123%\t\\\r\x00",
		``:                       "",
		`plain`:                  "plain",
		`json`: `{"topic":"mqtt","partition":2,"offset":41,"timestamp":1700000000123,"key":"lamp-17","value":"21.5",` +
			`"headers":[{"key":"mqtt.topic","value":"city/lamp-17"},{"key":"empty","value":null}]}` + "\n",
	} {
		f, err := parseFormat(format)
		if err != nil {
			t.Errorf("%q: %v", format, err)
			continue
		}
		if got := string(f(nil, r)); got != want {
			t.Errorf("%q prints %q, want %q", format, got, want)
		}
	}
	r.Key, r.Value = nil, []byte("\xff\x00")
	if got, want := string(formatJSON(nil, r)), `"key":null,"value":null,"value_base64":"/wA=",`; !strings.Contains(got, want) {
		t.Errorf("bytes that are no text: %s, want %s", got, want)
	}
}

func TestPositionsAreRead(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.FixedZone("there", 2*3600))
	for text, want := range map[string]position{
		"beginning":                 {kind: fromStart},
		"start":                     {kind: fromStart},
		"end":                       {kind: fromEnd},
		"-10":                       {kind: fromEnd, value: 10},
		"0":                         {kind: fromOffset},
		"578335":                    {kind: fromOffset, value: 578335},
		"@1700000000":               {kind: fromTime, value: 1700000000000},
		"@1700000000.5":             {kind: fromTime, value: 1700000000500},
		"2026-05-01T12:00:00Z":      {kind: fromTime, value: now.Add(2 * time.Hour).UnixMilli()},
		"2026-05-01T12:00:00+02:00": {kind: fromTime, value: now.UnixMilli()},
		"2026-05-01":                {kind: fromTime, value: now.Add(-12 * time.Hour).UnixMilli()},
		"2026-05-01 12:00":          {kind: fromTime, value: now.UnixMilli()},
		"90m":                       {kind: fromTime, value: now.Add(-90 * time.Minute).UnixMilli()},
		"7d":                        {kind: fromTime, value: now.Add(-7 * 24 * time.Hour).UnixMilli()},
	} {
		if got, err := parseFrom(text, now); err != nil || got != want {
			t.Errorf("%q = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "@", "@-5", "1.5", "unlimited", "2026-13-01", "99999999999999999999"} {
		if got, err := parseFrom(text, now); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func TestLinesOfAnyLengthAreReadUpToTheLimit(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		input string
		most  int
		want  []string
		err   error
	}{
		{"", 10, nil, io.EOF},
		{"a\nb\n", 10, []string{"a", "b"}, io.EOF},
		{"a\r\n\n\nb", 10, []string{"a", "", "", "b"}, io.EOF},
		{long + "\nb\n", 5000, []string{long, "b"}, io.EOF},
		{long, 5000, []string{long}, io.EOF},
		{"a\n" + long + "\n", 4999, []string{"a"}, bufio.ErrTooLong},
		{"a\n" + long, 100, []string{"a"}, bufio.ErrTooLong},
	} {
		r := bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(c.input)), 16)
		var got []string
		var err error
		for {
			var line []byte
			if line, err = readLine(r, c.most); err != nil {
				break
			}
			got = append(got, string(line))
		}
		if strings.Join(got, "|") != strings.Join(c.want, "|") || len(got) != len(c.want) || !errors.Is(err, c.err) {
			t.Errorf("%.20q of %d bytes: %d lines, %v; want %d lines, %v", c.input, len(c.input), len(got), err, len(c.want), c.err)
		}
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	for n, want := range map[int64]string{-1: "unknown", 0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 102400: "100 KiB", 1 << 30: "1.0 GiB", 1<<63 - 1: "8.0 EiB"} {
		if got := humanBytes(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
	for s, want := range map[float64]string{0: "0s", 0.00025: "250µs", 0.0123: "12.3ms", 2.345: "2.3s", 90: "1m30s", 7200: "2h0m0s", 200000: "2d7h"} {
		if got := humanSeconds(s); got != want {
			t.Errorf("%v seconds are %q, want %q", s, got, want)
		}
	}
}
