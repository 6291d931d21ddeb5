package city

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Recording is a CSV file as a Source: each row one device at one time, each measured column one event.
type Recording struct {
	table   *table
	layout  Layout
	clock   *clockReader
	id      int // columns
	time    int
	columns []recordedColumn

	now   time.Time // of the row
	value int       // the next of columns, len(columns) when the row is done
	bad   int64
}

type recordedColumn struct {
	index   int
	measure *Measure
}

// OpenRecording opens a file and reads its header.
func OpenRecording(path string, l Layout) (*Recording, error) {
	if l.Separator == 0 {
		l.Separator = ','
	}
	clock, err := newClockReader(l.TimeForm, l.Zone)
	if err != nil {
		return nil, err
	}
	t, err := openTable(path, l.Separator)
	if err != nil {
		return nil, err
	}
	r := &Recording{table: t, layout: l, clock: clock}
	if err := r.readHeader(); err != nil {
		_ = t.close()
		return nil, err
	}
	return r, nil
}

func (r *Recording) readHeader() error {
	if err := r.table.next(); err != nil {
		if errors.Is(err, io.EOF) {
			return r.table.at(0, fmt.Errorf("%w: the file is empty, where a line with the columns' names belongs", ErrColumn))
		}
		return err
	}
	names := make([]string, 0, len(r.table.fields))
	for i, f := range r.table.fields {
		name := strings.TrimSpace(string(f))
		if slices.Contains(names, name) {
			return r.table.atField(i, fmt.Errorf("%w %q stands twice", ErrColumn, name))
		}
		names = append(names, name)
	}
	find := func(what, name string) (int, error) {
		i := slices.Index(names, name)
		if name == "" {
			return 0, fmt.Errorf("%w of the %s is not named; the file has %s", ErrColumn, what, strings.Join(names, ", "))
		}
		if i < 0 {
			return 0, r.table.at(0, fmt.Errorf("%w %q of the %s is missing; the file has %s", ErrColumn, name, what, strings.Join(names, ", ")))
		}
		return i, nil
	}
	var err error
	if r.id, err = find("device", r.layout.ID); err != nil {
		return err
	}
	if r.time, err = find("time", r.layout.Time); err != nil {
		return err
	}
	columns := r.layout.Columns
	if len(columns) == 0 {
		for i, name := range names {
			if i != r.id && i != r.time {
				columns = append(columns, Column{Name: name, Measure: Measure{Name: name}})
			}
		}
	}
	for _, c := range columns {
		i, err := find("measure", c.Name)
		if err != nil {
			return err
		}
		if err := checkLevel(c.Measure.Name); err != nil {
			return r.table.atField(i, err)
		}
		measure := c.Measure
		r.columns = append(r.columns, recordedColumn{i, &measure})
	}
	if len(r.columns) == 0 {
		return r.table.at(0, fmt.Errorf("%w: none is left that is measured", ErrColumn))
	}
	r.value = len(r.columns)
	return nil
}

// Bad is how many rows were passed over.
func (r *Recording) Bad() int64 { return r.bad }

// Close closes the file.
func (r *Recording) Close() error { return r.table.close() }

// Next yields the next reading; empty fields are none. Errors are PositionErrors.
func (r *Recording) Next(e *Event) error {
	for {
		for r.value == len(r.columns) {
			if err := r.readRow(); err != nil {
				if !r.layout.SkipBad || errors.Is(err, io.EOF) || errors.Is(err, errUnreadable) {
					return err
				}
				r.bad++
			}
		}
		c := r.columns[r.value]
		r.value++
		field := r.table.fields[c.index]
		if len(field) == 0 {
			continue
		}
		*e = Event{Kind: Value, Device: r.table.fields[r.id], At: r.now, Time: r.now, Measure: c.measure}
		if c.measure.Text {
			e.Text = field
			return nil
		}
		// The row was checked.
		e.Number, _ = strconv.ParseFloat(string(field), 64)
		return nil
	}
}

// readRow reads and checks a row, so that a bad one yields nothing at all.
func (r *Recording) readRow() error {
	if err := r.table.next(); err != nil {
		return err
	}
	t := r.table
	if want := 1 + max(r.id, r.time, r.lastColumn()); len(t.fields) < want {
		return t.at(len(t.raw), fmt.Errorf("%w: %d, at least %d are needed", ErrFieldCount, len(t.fields), want))
	}
	if err := checkLevel(t.fields[r.id]); err != nil {
		return t.atField(r.id, err)
	}
	now, err := r.clock.read(t.fields[r.time])
	if err != nil {
		return t.atField(r.time, err)
	}
	if now.Before(r.now) {
		return t.atField(r.time, fmt.Errorf("%w: %s after %s; a recording is replayed in the order of time", ErrOrder,
			now.Format(time.RFC3339), r.now.Format(time.RFC3339)))
	}
	for _, c := range r.columns {
		field := t.fields[c.index]
		if len(field) == 0 || c.measure.Text {
			continue
		}
		if v, err := strconv.ParseFloat(string(field), 64); err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return t.atField(c.index, fmt.Errorf("%w: %q is no number", ErrValue, string(field)))
		}
	}
	r.now, r.value = now, 0
	return nil
}

func (r *Recording) lastColumn() int {
	last := 0
	for _, c := range r.columns {
		last = max(last, c.index)
	}
	return last
}
