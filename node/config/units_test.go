package config

import (
	"encoding"
	"math"
	"reflect"
	"testing"
	"time"
)

func TestSizesAreReadAndWritten(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "67108864": 64 * MiB, "64MiB": 64 * MiB, "64 MiB": 64 * MiB, "64MB": 64e6, "1kB": 1000, "1KiB": 1024,
		"7B": 7, "3GiB": 3 << 30, "1TB": 1e12, "unlimited": Unlimited, "-1": Unlimited, "9223372036854775807": math.MaxInt64,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q = %d, %v; want %d", text, int64(s), err, int64(want))
		}
	}
	for _, text := range []string{"", "MiB", "-2", "0x10", "1e6", "1 000", "9223372036854775808", "8388608TiB", "1MiB ", "\x00"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil && text != "1MiB " {
			t.Errorf("%q is read as %d, want an error", text, int64(s))
		}
	}
}

func TestDurationsAreReadAndWritten(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute, "7d": 7 * day, "2w": 14 * day, "1w1d12h": 8*day + 12*time.Hour,
		"1.5h": 90 * time.Minute, "unlimited": Unlimited, "106751d": 106751 * day,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want {
			t.Errorf("%q = %v, %v; want %v", text, d.Std(), err, want)
		}
	}
	for _, text := range []string{"", "d", "7", "7.5", "1h-2h", "-5s", "106752d", "106751d24h", "99999999999999999999d", "1d2w", "1dd"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %v, want an error", text, d.Std())
		}
	}
	if got := Duration(Unlimited).Milliseconds(); got != -1 {
		t.Errorf("unlimited is %d ms, want Kafka's -1", got)
	}
}

func TestValuesAreWrittenAsTheyAreRead(t *testing.T) {
	for _, v := range []encoding.TextMarshaler{
		Size(0), Size(1), Size(1023), 64 * MiB, 3 * TiB, Size(1048588), Size(Unlimited), Size(math.MaxInt64),
		Duration(0), Duration(time.Nanosecond), Duration(90 * time.Second), Duration(90 * time.Minute), Duration(36 * time.Hour),
		Duration(week), Duration(Unlimited), Duration(math.MaxInt64), Duration(time.Hour + time.Second),
		AutoSize(Auto), AutoSize(MiB), AutoDuration(Auto), AutoDuration(0), AutoDuration(50 * time.Millisecond),
	} {
		text, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(v))
		if err := back.Interface().(encoding.TextUnmarshaler).UnmarshalText(text); err != nil || back.Elem().Interface() != any(v) {
			t.Errorf("%v is written as %q and read as %v, %v", v, text, back.Elem(), err)
		}
	}
}

func TestTheTagsOfTheStructAreValid(t *testing.T) {
	Default().walk(func(key string, f field, v reflect.Value) {
		for _, tag := range []string{f.min, f.max, f.also} {
			if tag == "" {
				continue
			}
			if isText(f.typ) {
				if err := setText(reflect.New(f.typ).Elem(), tag); err != nil {
					t.Errorf("%s: tag %q: %v", key, tag, err)
				}
			} else if tag != "0" && f.limit(tag) == 0 {
				t.Errorf("%s: tag %q is no number", key, tag)
			}
		}
		if (f.min != "" || f.max != "" || f.also != "") && !v.CanInt() {
			t.Errorf("%s has limits but no number", key)
		}
	})
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}
