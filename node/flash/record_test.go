package flash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"
)

func aRecord() *Record {
	r := &Record{Saved: 1_800_000_000_000, Boot: [16]byte{1, 2, 15: 9}, Uptime: 3_600_000, LogTotal: 1 << 41, DeviceTotal: 1 << 42}
	r.Log.Add(time.Hour, 1000)
	r.Log.Add(7*time.Minute, 2000)
	r.Device.Add(Day, 5000)
	return r
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	want := aRecord()
	b := want.Encode()
	if len(b) != RecordSize || RecordSize != 1644 {
		t.Fatalf("%d bytes", len(b))
	}
	got, err := Decode(b)
	if err != nil || *got != *want {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, at := range map[string]int{"log total": 40, "device total": 48, "log's newest slot": 56 + 16 + 96*8, "device's span": 848 + 8} {
		value := int64(binary.BigEndian.Uint64(b[at:]))
		if want := map[string]int64{"log total": 1 << 41, "device total": 1 << 42, "log's newest slot": 3000, "device's span": int64(Day)}[name]; value != want {
			t.Errorf("%s at %d is %d, want %d", name, at, value, want)
		}
	}
}

func TestADamagedRecordIsNoRecord(t *testing.T) {
	good := aRecord().Encode()
	for i := range len(good) {
		if _, err := Decode(good[:i]); !errors.Is(err, ErrRecord) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := Decode(bad); !errors.Is(err, ErrRecord) {
			t.Fatalf("flipped at %d: %v", i, err)
		}
	}
	if _, err := Decode(append(bytes.Clone(good), 0)); !errors.Is(err, ErrRecord) {
		t.Errorf("too long: %v", err)
	}
}

// resum gives a record the sum that its bytes have.
func resum(b []byte) []byte {
	binary.BigEndian.PutUint32(b[RecordSize-4:], crc32.Checksum(b[:RecordSize-4], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func TestNumbersThatCannotBeAreRefused(t *testing.T) {
	for _, at := range []int{40, 48, 56, 64, 72, 848, 856, 864, 864 + 96*8} {
		b := aRecord().Encode()
		binary.BigEndian.PutUint64(b[at:], 1<<63)
		if _, err := Decode(resum(b)); !errors.Is(err, ErrRecord) {
			t.Errorf("negative at %d: %v", at, err)
		}
		binary.BigEndian.PutUint64(b[at:], 1<<63-1)
		if _, err := Decode(resum(b)); at >= 56 && !errors.Is(err, ErrRecord) {
			t.Errorf("huge at %d: %v", at, err)
		}
	}
}

func TestTheTimeAwayIsThatOfTheBootOrOfTheClock(t *testing.T) {
	r := &Record{Saved: 1000_000, Boot: [16]byte{1}, Uptime: 500_000}
	for name, c := range map[string]struct {
		now    int64
		boot   [16]byte
		uptime int64
		want   time.Duration
	}{
		"same boot, clock stepped": {9_000_000_000, [16]byte{1}, 560_000, time.Minute},
		"same boot, backwards":     {1000_000, [16]byte{1}, 400_000, 0},
		"another boot":             {1060_000, [16]byte{2}, 10, time.Minute},
		"boot unknown":             {1060_000, [16]byte{}, 560_000, time.Minute},
		"clock not set yet":        {5, [16]byte{2}, 10, 0},
		"years later":              {1 << 50, [16]byte{2}, 10, 2 * Day},
	} {
		if got := r.Away(c.now, c.boot, c.uptime); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	unknown := &Record{Saved: 1000_000}
	if got := unknown.Away(1060_000, [16]byte{}, 99); got != time.Minute {
		t.Errorf("boot never known: %v", got)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(aRecord().Encode())
	f.Add([]byte("CVFB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == RecordSize {
			resum(b)
		}
		r, err := Decode(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.Encode(), b) {
			t.Error("it is written differently")
		}
		if n := r.Log.Bytes(); n < 0 {
			t.Errorf("%d bytes in a day", n)
		}
	})
}
