package record

import (
	"errors"
	"fmt"
)

// What can be wrong with a batch, each with the protocol's error that a producer is told.
var (
	// ErrShort: the bytes end before the batch does (CORRUPT_MESSAGE).
	ErrShort = errors.New("record: batch is cut short")
	// ErrMagic: a message format other than 2 (INVALID_RECORD). The error is a MagicError.
	ErrMagic = errors.New("record: batch is not of magic 2")
	// ErrCorrupt: the length, the CRC or the compressed bytes are damaged (CORRUPT_MESSAGE).
	ErrCorrupt = errors.New("record: batch is corrupt")
	// ErrInvalid: the bytes arrived as they were sent, but a broker may not store them (INVALID_RECORD).
	ErrInvalid = errors.New("record: batch is invalid")
	// ErrTimestamp: the producer set a timestamp type that only the broker may set (INVALID_TIMESTAMP).
	ErrTimestamp = errors.New("record: batch has an invalid timestamp type")
	// ErrCodec: no such codec (UNSUPPORTED_COMPRESSION_TYPE).
	ErrCodec = errors.New("record: unknown compression codec")
	// ErrTooLarge: the records are larger than the limit when decompressed (MESSAGE_TOO_LARGE).
	ErrTooLarge = errors.New("record: batch is too large when decompressed")
)

// MagicError is the message format that was found in place of 2; it is ErrMagic.
type MagicError int8

func (e MagicError) Error() string {
	return fmt.Sprintf("record: batch is of magic %d, not 2", int8(e))
}

// Is makes errors.Is(e, ErrMagic) true.
func (e MagicError) Is(target error) bool { return target == ErrMagic }

// Error tells what is wrong with a batch and where. errors.Is finds its Kind.
type Error struct {
	Kind   error  // one of the sentinels of this package
	Record int32  // index of the record in the batch, -1 when it is the batch itself
	Reason string // what was expected and found
	Cause  error  // of a decompressor, or nil
}

func (e *Error) Error() string {
	s := e.Kind.Error()
	if e.Record >= 0 {
		s = fmt.Sprintf("%s: record %d", s, e.Record)
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the kind and, if there is one, the cause.
func (e *Error) Unwrap() []error {
	if e.Cause != nil {
		return []error{e.Kind, e.Cause}
	}
	return []error{e.Kind}
}

// atRecord returns err, if it is an Error, as that of the record at index i.
func atRecord(err error, i int32) error {
	if e, ok := errors.AsType[*Error](err); ok {
		at := *e
		at.Record = i
		return &at
	}
	return err
}

func batchError(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Record: -1, Reason: fmt.Sprintf(format, args...)}
}
