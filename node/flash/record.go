package flash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

// Record is what outlives a process, so that a restart neither forgets what a day has cost nor how much was written in
// all. FORMAT.md has its bytes.
type Record struct {
	Saved  int64    // ms since 1970, by the machine's clock
	Boot   [16]byte // the boot it was saved in; zero: unknown
	Uptime int64    // ms since that boot

	Log    Window // what the log wrote
	Device Window // what the device wrote, whoever asked for it

	LogTotal    int64 // bytes, since the first record
	DeviceTotal int64 // likewise
}

// ErrRecord says that bytes are no record: damaged, cut off, or of another version.
var ErrRecord = errors.New("flash: no record of written bytes")

const (
	recordMagic   = "CVFB"
	recordVersion = 1
	recordHead    = 56
	windowSize    = 16 + 8*slots
	// RecordSize is the size of a record in bytes.
	RecordSize = recordHead + 2*windowSize + 4
)

// Encode returns the record's bytes.
func (r *Record) Encode() []byte {
	b := make([]byte, 0, RecordSize)
	b = append(b, recordMagic...)
	b = binary.BigEndian.AppendUint16(b, recordVersion)
	b = binary.BigEndian.AppendUint16(b, uint16(slots))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Saved))
	b = append(b, r.Boot[:]...)
	for _, n := range []int64{r.Uptime, r.LogTotal, r.DeviceTotal} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for _, w := range []*Window{&r.Log, &r.Device} {
		b = binary.BigEndian.AppendUint64(b, uint64(w.age))
		b = binary.BigEndian.AppendUint64(b, uint64(w.span))
		for _, n := range w.slot {
			b = binary.BigEndian.AppendUint64(b, uint64(n))
		}
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// Decode reads what [Record.Encode] wrote. Errors: ErrRecord.
func Decode(b []byte) (*Record, error) {
	switch {
	case len(b) < 8 || string(b[:4]) != recordMagic:
		return nil, fmt.Errorf("%w: %d bytes without its magic", ErrRecord, len(b))
	case binary.BigEndian.Uint16(b[4:]) != recordVersion:
		return nil, fmt.Errorf("%w: version %d", ErrRecord, binary.BigEndian.Uint16(b[4:]))
	case len(b) != RecordSize || binary.BigEndian.Uint16(b[6:]) != uint16(slots):
		return nil, fmt.Errorf("%w: %d bytes in place of %d", ErrRecord, len(b), RecordSize)
	case crc32.Checksum(b[:RecordSize-4], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b[RecordSize-4:]):
		return nil, fmt.Errorf("%w: its sum is wrong", ErrRecord)
	}
	number := func() int64 {
		n := int64(binary.BigEndian.Uint64(b))
		b = b[8:]
		return n
	}
	r := &Record{}
	b = b[8:]
	r.Saved = number()
	b = b[copy(r.Boot[:], b):]
	r.Uptime, r.LogTotal, r.DeviceTotal = number(), number(), number()
	sane := r.LogTotal >= 0 && r.DeviceTotal >= 0
	for _, w := range []*Window{&r.Log, &r.Device} {
		w.age, w.span = time.Duration(number()), time.Duration(number())
		sane = sane && w.age >= 0 && w.age < SlotLength && w.span >= 0 && w.span <= Day
		for i := range w.slot {
			w.slot[i] = number()
			sane = sane && w.slot[i] >= 0 && w.slot[i] <= math.MaxInt64/int64(slots)
		}
	}
	if !sane {
		return nil, fmt.Errorf("%w: a number is out of range", ErrRecord)
	}
	return r, nil
}

// Away returns how long ago the record was saved: within one boot by the time since it, else by the machine's clock, as
// far as that can be. A clock that stands before the time of saving has not been set yet: then no time has passed, and
// nothing is forgotten.
func (r *Record) Away(now int64, boot [16]byte, uptime int64) time.Duration {
	ms := now - r.Saved
	if boot != [16]byte{} && boot == r.Boot {
		ms = uptime - r.Uptime
	}
	return time.Duration(min(max(ms, 0), 2*Day.Milliseconds())) * time.Millisecond
}
