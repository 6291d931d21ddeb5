package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxElements is how many array elements and tagged fields one request may hold in all. The decoder makes room for a whole
// array before it reads the first element, about a hundred bytes for each.
const maxElements = 100_000

var (
	errShape    = errors.New("kafka: request does not have the shape of its version")
	errElements = fmt.Errorf("kafka: request holds more than %d elements", maxElements)
)

// shape describes the fields of a request on the wire, so that its lengths can be checked before the decoder trusts them:
// the decoder allocates arrays by the length they claim, and counts tagged fields down one by one.
//
// It is written as text, fields in order: b h i q u are numbers of 1, 2, 4, 8 and 16 bytes, s is a string (null or not), B
// is bytes. [..] is an array of structs, <..> an array of numbers or strings, {..} a struct that may be null. A field may
// be followed by the versions that have it: 4+, -12, 8-10. #1(..) is a tagged field whose value is a struct.
type shape struct {
	fields []field
	tagged map[uint64]*shape
}

type field struct {
	kind     byte
	min, max int16
	elem     *shape // of [ < {
}

// mustShape parses the text of a shape that stands in the code.
func mustShape(text string) *shape {
	p := shapeParser{text: text}
	s := p.fields(0)
	if p.at != len(text) {
		panic("kafka: shape " + strconv.Quote(text) + " ends too early") // a bug: shapes stand in the code
	}
	return s
}

type shapeParser struct {
	text string
	at   int
}

func (p *shapeParser) fields(end byte) *shape {
	s := &shape{}
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		f := field{kind: c, max: math.MaxInt16}
		switch c {
		case ' ':
			continue
		case end:
			return s
		case 'b', 'h', 'i', 'q', 'u', 's', 'B':
		case '[':
			f.elem = p.fields(']')
		case '<':
			f.elem = p.fields('>')
		case '{':
			f.elem = p.fields('}')
		case '#':
			tag := p.number(0)
			p.at++ // the opening parenthesis
			if s.tagged == nil {
				s.tagged = map[uint64]*shape{}
			}
			s.tagged[uint64(tag)] = p.fields(')') //nolint:gosec // a small number that stands in the code
			continue
		default:
			panic("kafka: shape " + strconv.Quote(p.text) + ": unknown kind " + strconv.Quote(string(c))) // a bug: shapes stand in the code
		}
		p.versions(&f)
		s.fields = append(s.fields, f)
	}
	return s
}

// versions reads "4+", "-12" or "8-10".
func (p *shapeParser) versions(f *field) {
	f.min = p.number(0)
	rest := p.text[p.at:]
	switch {
	case strings.HasPrefix(rest, "+"):
		p.at++
	case strings.HasPrefix(rest, "-"):
		p.at++
		f.max = p.number(math.MaxInt16)
	}
}

func (p *shapeParser) number(none int16) int16 {
	from := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		p.at++
	}
	if n, err := strconv.ParseInt(p.text[from:p.at], 10, 16); err == nil {
		return int16(n)
	}
	return none
}

// check walks the body of a request of that version without allocating. Errors: errShape, errElements.
func (s *shape) check(body []byte, version int16, flexible bool) error {
	w := shapeWalk{rest: body, version: version, flexible: flexible, left: maxElements}
	w.fieldsOf(s, true)
	return w.err
}

type shapeWalk struct {
	rest     []byte
	err      error
	left     int // elements that may still come
	version  int16
	flexible bool
}

func (w *shapeWalk) fieldsOf(s *shape, tags bool) {
	for i := range s.fields {
		f := &s.fields[i]
		if w.err != nil {
			return
		}
		if w.version >= f.min && w.version <= f.max {
			w.field(f)
		}
	}
	if tags && w.flexible {
		w.tags(s.tagged)
	}
}

func (w *shapeWalk) field(f *field) {
	switch f.kind {
	case 'b':
		w.skip(1)
	case 'h':
		w.skip(2)
	case 'i':
		w.skip(4)
	case 'q':
		w.skip(8)
	case 'u':
		w.skip(16)
	case 's':
		w.skip(max(w.length(2), 0))
	case 'B':
		w.skip(max(w.length(4), 0))
	case '{':
		if len(w.rest) > 0 && int8(w.rest[0]) >= 0 {
			w.skip(1)
			w.fieldsOf(f.elem, true)
		} else {
			w.skip(1)
		}
	default:
		for range w.length(4) {
			w.count()
			w.fieldsOf(f.elem, f.kind == '[')
			if w.err != nil {
				return
			}
		}
	}
}

// length reads what stands before a string, bytes or an array; -1 is null.
func (w *shapeWalk) length(size int) int64 {
	var n int64
	switch {
	case w.flexible:
		n = int64(w.uvarint()) - 1 //nolint:gosec // uvarint returns no more than 32 bits
	case len(w.rest) < size:
		w.fail(errShape)
		return 0
	case size == 2:
		n = int64(int16(binary.BigEndian.Uint16(w.rest)))
		w.skip(2)
	default:
		n = int64(int32(binary.BigEndian.Uint32(w.rest)))
		w.skip(4)
	}
	if n < -1 || n > int64(len(w.rest)) {
		w.fail(errShape)
		return 0
	}
	return n
}

func (w *shapeWalk) tags(known map[uint64]*shape) {
	for n := w.uvarint(); n > 0 && w.err == nil; n-- {
		w.count()
		tag, size := w.uvarint(), w.uvarint()
		value := w.rest
		w.skip(int64(size)) //nolint:gosec // uvarint returns no more than 32 bits
		if s := known[tag]; s != nil && w.err == nil {
			inner := *w
			inner.rest = value[:size]
			inner.fieldsOf(s, true)
			w.left, w.err = inner.left, inner.err
		}
	}
}

func (w *shapeWalk) uvarint() uint64 {
	n, size := binary.Uvarint(w.rest)
	if size <= 0 || n > math.MaxUint32 {
		w.fail(errShape)
		return 0
	}
	w.rest = w.rest[size:]
	return n
}

func (w *shapeWalk) skip(n int64) {
	if n > int64(len(w.rest)) {
		w.fail(errShape)
		return
	}
	w.rest = w.rest[n:]
}

func (w *shapeWalk) count() {
	if w.left--; w.left < 0 {
		w.fail(errElements)
	}
}

func (w *shapeWalk) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.rest = nil
}
