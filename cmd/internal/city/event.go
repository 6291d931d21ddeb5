package city

import (
	"strconv"
	"time"
)

// Kind says what an event is.
type Kind uint8

// The kinds of events.
const (
	Value   Kind = iota // a reading to be published
	Offline             // the device loses its network
	Online              // and has it back
)

// Measure is something that devices measure.
type Measure struct {
	Name string // last level of the topic, and "n" of the payload
	Unit string // SenML unit (RFC 8428), "" without one
	Text bool   // the values are words, not numbers
}

// Event is one thing that happens to one device.
type Event struct {
	Kind    Kind
	Device  []byte    // id: one level of an MQTT topic; valid until the next event
	At      time.Time // when it happens, on the clock of the recording
	Measure *Measure
	Time    time.Time // when the value was measured: At, or earlier for what a device held back
	Number  float64
	Text    []byte // with Measure.Text; valid until the next event
}

// Source yields events in the order of At, those of a device in the order of Time.
type Source interface {
	// Next fills e; io.EOF ends the source.
	Next(e *Event) error
}

// appendPayload appends the JSON of a reading: n name, v number or vs text, u unit, t seconds since 1970, seq the device's
// own count.
func appendPayload(dst []byte, e *Event, seq int64) []byte {
	dst = append(dst, `{"n":`...)
	dst = appendJSONString(dst, e.Measure.Name)
	if e.Measure.Text {
		dst = append(dst, `,"vs":`...)
		dst = appendJSONString(dst, e.Text)
	} else {
		dst = append(dst, `,"v":`...)
		dst = strconv.AppendFloat(dst, e.Number, 'f', -1, 64)
	}
	if e.Measure.Unit != "" {
		dst = append(dst, `,"u":`...)
		dst = appendJSONString(dst, e.Measure.Unit)
	}
	dst = append(dst, `,"t":`...)
	ms := e.Time.UnixMilli()
	dst = strconv.AppendInt(dst, ms/1000, 10)
	if part := ms % 1000; part > 0 && ms > 0 {
		dst = append(dst, '.', byte('0'+part/100), byte('0'+part/10%10), byte('0'+part%10))
	}
	dst = append(dst, seqField...)
	dst = strconv.AppendInt(dst, seq, 10)
	return append(dst, '}')
}

const seqField = `,"seq":`

// appendJSONString appends a quoted string. What is not UTF-8 comes out as the bytes it was: the values of a recording are
// passed on, not judged.
func appendJSONString[T ~string | ~[]byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// payloadSeq reads the sequence back from a payload that appendPayload made.
func payloadSeq(payload []byte) (int64, bool) {
	end := len(payload) - 1
	if end < 0 || payload[end] != '}' {
		return 0, false
	}
	from := end
	for from > 0 && end-from < 19 && payload[from-1] >= '0' && payload[from-1] <= '9' {
		from--
	}
	if from < len(seqField) || string(payload[from-len(seqField):from]) != seqField {
		return 0, false
	}
	n, err := strconv.ParseInt(string(payload[from:end]), 10, 64)
	return n, err == nil
}
