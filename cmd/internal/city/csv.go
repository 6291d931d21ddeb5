package city

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

// Caps of a CSV file: what is larger is an error, not memory.
const (
	maxLine    = 64 << 10 // bytes
	maxColumns = 1024
	maxField   = 4 << 10 // bytes
)

// Errors of CSV files, always inside a PositionError.
var (
	ErrLineTooLong  = fmt.Errorf("line of more than %d bytes", maxLine)
	ErrFieldTooLong = fmt.Errorf("field of more than %d bytes", maxField)
	ErrColumns      = fmt.Errorf("more than %d columns", maxColumns)
	ErrFieldCount   = errors.New("wrong number of fields")
	ErrQuote        = errors.New("quote")
	ErrColumn       = errors.New("column")
	ErrValue        = errors.New("bad value")
	ErrOrder        = errors.New("out of order")
)

// PositionError says where in a file something is wrong.
type PositionError struct {
	File   string
	Line   int64 // from 1
	Column int   // byte in the line, from 1
	Err    error
}

func (e *PositionError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err)
}

func (e *PositionError) Unwrap() error { return e.Err }

// table reads the rows of a CSV file, gzipped or not. Quoted fields may hold separators and doubled quotes, but no line
// breaks: recordings have none, and so a broken quote costs one line.
type table struct {
	name      string
	separator byte
	file      io.Closer
	in        *bufio.Reader

	line   int64
	raw    []byte   // the row as it stands in the file
	fields [][]byte // of the row, valid until the next one
	starts []int    // where each field begins in the line
	quoted []byte   // fields whose quotes had to be undone
}

// openTable opens a file and recognises gzip by its first bytes.
func openTable(path string, separator byte) (*table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t, err := newTable(path, f, separator)
	if err != nil {
		f.Close()
		return nil, err
	}
	t.file = f
	return t, nil
}

func newTable(name string, r io.Reader, separator byte) (*table, error) {
	t := &table{name: name, separator: separator, in: bufio.NewReaderSize(r, maxLine)}
	if magic, _ := t.in.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(t.in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		t.in = bufio.NewReaderSize(z, maxLine)
	}
	if bom, _ := t.in.Peek(3); string(bom) == "\xef\xbb\xbf" {
		_, _ = t.in.Discard(3)
	}
	return t, nil
}

func (t *table) close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// at is an error at a byte of the current line, counted from 0.
func (t *table) at(column int, err error) error {
	return &PositionError{File: t.name, Line: t.line, Column: column + 1, Err: err}
}

// atField is an error at a field of the current row.
func (t *table) atField(i int, err error) error { return t.at(t.starts[i], err) }

// next reads a row, skipping empty lines; io.EOF ends the file. After an error other than one of reading, the next row can
// still be read.
func (t *table) next() error {
	for {
		t.line++
		raw, err := t.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return errors.Join(t.at(maxLine, ErrLineTooLong), t.skipLine())
		}
		if err != nil && (!errors.Is(err, io.EOF) || len(raw) == 0) {
			if errors.Is(err, io.EOF) {
				return io.EOF
			}
			return t.at(0, fmt.Errorf("%w: %w", errUnreadable, err))
		}
		raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte{'\n'}), []byte{'\r'})
		if len(raw) == 0 {
			continue
		}
		t.raw = raw
		return t.split()
	}
}

// errUnreadable marks errors after which no further row comes.
var errUnreadable = errors.New("reading")

// skipLine reads on to the end of a line that is too long.
func (t *table) skipLine() error {
	for {
		_, err := t.in.ReadSlice('\n')
		switch {
		case err == nil, errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return t.at(0, fmt.Errorf("%w: %w", errUnreadable, err))
		}
	}
}

// split cuts the row into fields.
func (t *table) split() error {
	t.fields, t.starts, t.quoted = t.fields[:0], t.starts[:0], t.quoted[:0]
	for at := 0; ; {
		if len(t.fields) == maxColumns {
			return t.at(at, ErrColumns)
		}
		field, end, err := t.field(at)
		if err != nil {
			return err
		}
		if len(field) > maxField {
			return t.at(at, ErrFieldTooLong)
		}
		t.fields, t.starts = append(t.fields, field), append(t.starts, at)
		if end == len(t.raw) {
			return nil
		}
		at = end + 1
	}
}

// field reads the field that begins at a byte of the row and says where it ends: at a separator, or at the line's end.
func (t *table) field(at int) (field []byte, end int, err error) {
	rest := t.raw[at:]
	if len(rest) == 0 || rest[0] != '"' {
		n := bytes.IndexByte(rest, t.separator)
		if n < 0 {
			n = len(rest)
		}
		if q := bytes.IndexByte(rest[:n], '"'); q >= 0 {
			return nil, 0, t.at(at+q, fmt.Errorf("%w inside a field that does not begin with one", ErrQuote))
		}
		return rest[:n], at + n, nil
	}
	// The row is at most maxLine bytes, and so is what its quotes come to: quoted never moves under earlier fields.
	if cap(t.quoted) == 0 {
		t.quoted = make([]byte, 0, maxLine)
	}
	from := len(t.quoted)
	for i := 1; i < len(rest); i++ {
		if rest[i] != '"' {
			t.quoted = append(t.quoted, rest[i])
			continue
		}
		if i+1 < len(rest) && rest[i+1] == '"' {
			t.quoted = append(t.quoted, '"')
			i++
			continue
		}
		if i+1 < len(rest) && rest[i+1] != t.separator {
			return nil, 0, t.at(at+i+1, fmt.Errorf("%w: something behind the end of a quoted field", ErrQuote))
		}
		return t.quoted[from:], at + i + 1, nil
	}
	return nil, 0, t.at(at, fmt.Errorf("%w that is not closed on its line", ErrQuote))
}
