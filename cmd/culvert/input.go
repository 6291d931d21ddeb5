package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// input is one record to be, or what reading ended with.
type input struct {
	key, value []byte
	err        error
}

// read reads records in a goroutine of its own, since reading cannot be interrupted. The channel is closed at the end of
// the input and after an error. The goroutine ends with the input, or when it has a record that nobody takes any more.
func (o *produceOptions) read(ctx context.Context, r io.Reader) <-chan input {
	out := make(chan input)
	send := func(in input) bool {
		select {
		case out <- in:
			return in.err == nil
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		defer close(out)
		if o.whole {
			send(o.readWhole(r))
			return
		}
		lines := bufio.NewReaderSize(r, 64<<10)
		for n := 1; ; n++ {
			line, err := readLine(lines, int(o.maxLine))
			if errors.Is(err, io.EOF) || !send(o.record(line, n, err)) {
				return
			}
		}
	}()
	return out
}

// readWhole makes one record of the whole input.
func (o *produceOptions) readWhole(r io.Reader) input {
	value, err := io.ReadAll(io.LimitReader(r, int64(o.maxLine)+1))
	if err == nil && len(value) > int(o.maxLine) {
		err = fmt.Errorf("the input is longer than %s; raise --max-record", &o.maxLine)
	}
	in := input{value: value, err: err}
	if o.hasKey {
		in.key = []byte(o.key)
	}
	return in
}

// record makes a record of the line with number n, or tells why there is none.
func (o *produceOptions) record(line []byte, n int, err error) input {
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		return input{err: fmt.Errorf("line %d is longer than %s; raise --max-record", n, &o.maxLine)}
	case err != nil:
		return input{err: fmt.Errorf("input: %w", err)}
	case o.hasKey:
		return input{key: []byte(o.key), value: line}
	case o.separator == "":
		return input{value: line}
	}
	key, value, ok := bytes.Cut(line, []byte(o.separator))
	if !ok {
		return input{err: fmt.Errorf("line %d has no %q to separate the key", n, o.separator)}
	}
	return input{key: key, value: value}
}

// readLine reads a line of any length up to most, without its end. The memory is the caller's.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	line := []byte{}
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		end := errors.Is(err, io.EOF) && len(line) > 0
		if err == nil || end {
			line = bytes.TrimSuffix(line, []byte("\n"))
			if len(line) > most {
				return nil, bufio.ErrTooLong
			}
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(line) > most {
			return nil, bufio.ErrTooLong
		}
	}
}
