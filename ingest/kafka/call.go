package kafka

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// call is one request on its way from its frame to its answer. The reading goroutine owns it until its answer is queued,
// then the writing one does.
type call struct {
	conn        *conn
	api         *api
	version     int16
	unsupported bool // ApiVersions of a version that is not served; version is 0 then
	correlation int32
	clientID    string
	frame       *frameReader
	body        []byte // what follows the header; nil if the handler reads it from the frame
	size        int64  // of body, held in the budget
	arrived     time.Time
	code        errorCode // the first error in the answer
	slot        bool      // holds a place among the requests to Fetch
}

// fail notes the first error of an answer, for the metrics, and returns it as it stands in the answer. Success may be
// passed, too.
func (q *call) fail(code errorCode) int16 {
	if q.code == codeNone {
		q.code = code
	}
	return int16(code)
}

// answer is what a handler leaves for the writing goroutine.
type answer interface {
	// write encodes the answer, waiting for what it depends on. It is called once, when all answers before it are
	// written. An error costs the connection.
	write(w *writer, q *call) error
}

// message is an answer that depends on nothing more.
type message struct{ kmsg.Response }

func (m message) write(w *writer, q *call) error {
	w.message(q, m.Response)
	return nil
}

// handler runs a request on the reading goroutine. An error costs the connection, after the answers to the requests before
// this one; ctx ends with the connection.
type handler func(s *Server, ctx context.Context, q *call) (answer, error)

// typed makes a handler of one that answers at once: it decodes the request.
func typed[Q any, P interface {
	*Q
	kmsg.Request
}](fn func(s *Server, ctx context.Context, q *call, req P) kmsg.Response) handler {
	return func(s *Server, ctx context.Context, q *call) (answer, error) {
		req := P(new(Q))
		if err := q.decode(req); err != nil {
			return nil, err
		}
		return message{fn(s, ctx, q, req)}, nil
	}
}

// decode reads the body into req, after its shape was checked. Byte fields of req point into the frame.
func (q *call) decode(req kmsg.Request) error {
	req.SetVersion(q.version)
	if err := q.api.shape.check(q.body, q.version, req.IsFlexible()); err != nil {
		return &frameError{reason: "shape", err: err}
	}
	if err := req.ReadFrom(q.body); err != nil {
		return &frameError{reason: "shape", err: err}
	}
	q.body = nil
	return nil
}

// frameError is a frame that cannot be served and costs its connection.
type frameError struct {
	reason string // label of a metric
	err    error
}

func (e *frameError) Error() string { return e.err.Error() }
func (e *frameError) Unwrap() error { return e.err }

// fixedHeader is what every request begins with: key, version, correlation id.
const fixedHeader = 8

func requestKey(b []byte) int16     { return int16(binary.BigEndian.Uint16(b)) }
func requestVersion(b []byte) int16 { return int16(binary.BigEndian.Uint16(b[2:])) }

// header reads the header of the request, whose api is known. A request of a flexible version has header version 2, any
// other version 1 (KIP-482); the client id has the old encoding in both.
func (q *call) header(f *frameReader) {
	f.fixed(2)
	q.version, q.correlation = f.int16(), f.int32()
	if !q.api.serves(q.version) {
		// Of ApiVersions alone: a client of the future may have changed everything that follows.
		q.version, q.unsupported = 0, true
		return
	}
	if n := f.length(2); n <= readBuffer {
		q.clientID = string(f.peek(int(max(n, 0))))
		f.skip(n)
	} else {
		f.skip(n)
	}
	f.flexible = q.version >= q.api.flexible
	f.tags()
}
