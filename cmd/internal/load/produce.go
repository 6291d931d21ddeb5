package load

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ProduceOptions say what load RunProduce makes.
type ProduceOptions struct {
	Addr        string
	Topic       string
	Partitions  int32 // of the topic, when it must be created
	Connections int
	Window      int    // requests in flight on each connection
	BatchBytes  int    // of a batch before compression
	PerRequest  int    // batches of different partitions in one request
	RecordSize  int    // bytes of a value
	Fill        Filler // what the values consist of
	Compression string
	Acks        int16         // 0, 1 or -1
	Rate        float64       // records/s over all connections; 0: as fast as they are acknowledged
	Warmup      time.Duration // before anything is measured
	Duration    time.Duration // of the measurement, when Count is 0
	Count       int64         // records in all, rounded up to whole requests
}

// DefaultProduceOptions is bulk production into 16 partitions.
func DefaultProduceOptions() ProduceOptions {
	return ProduceOptions{Addr: "127.0.0.1:9092", Topic: "bench", Partitions: 16, Connections: 1, Window: 16, BatchBytes: 64 << 10,
		PerRequest: 1, RecordSize: 1000, Fill: FillRandom, Compression: "none", Acks: -1, Warmup: time.Second,
		Duration: 10 * time.Second}
}

func (o ProduceOptions) validate() error {
	var problem string
	switch {
	case o.Topic == "":
		problem = "no topic"
	case o.Partitions < 0 || o.Partitions > 10_000:
		problem = fmt.Sprintf("%d partitions", o.Partitions)
	case o.Connections < 1 || o.Connections > 10_000:
		problem = fmt.Sprintf("%d connections", o.Connections)
	case o.Window < 1 || o.Window > 100_000:
		problem = fmt.Sprintf("a window of %d", o.Window)
	case o.RecordSize < 1 || o.RecordSize > 16<<20 || o.BatchBytes < 1 || o.BatchBytes > 64<<20:
		problem = fmt.Sprintf("batches of %d bytes with records of %d bytes", o.BatchBytes, o.RecordSize)
	case o.PerRequest < 1:
		problem = fmt.Sprintf("%d batches in a request", o.PerRequest)
	case o.Fill != FillReading && o.Fill != FillRandom:
		problem = fmt.Sprintf("payload %q: %q and %q are possible", o.Fill, FillReading, FillRandom)
	case o.Acks < -1 || o.Acks > 1:
		problem = fmt.Sprintf("acks=%d: 0, 1 and -1 are possible", o.Acks)
	case o.Rate < 0:
		problem = fmt.Sprintf("a rate of %g records/s", o.Rate)
	case o.Count < 0 || o.Count == 0 && o.Duration <= 0:
		problem = "neither a count nor a duration"
	}
	if problem != "" {
		return fmt.Errorf("%w: %s", ErrOptions, problem)
	}
	_, err := ParseCompression(o.Compression)
	return err
}

// ProduceReport is what came of it. Bytes are those of record batches as they go over the wire.
type ProduceReport struct {
	Addr             string           `json:"addr"`
	Topic            string           `json:"topic"`
	Connections      int              `json:"connections"`
	Window           int              `json:"window"`
	BatchBytes       int              `json:"batch_bytes"`
	Seconds          float64          `json:"seconds"`
	Records          int64            `json:"records"` // acknowledged within the measured time
	Bytes            int64            `json:"bytes"`
	RecordsPerSecond float64          `json:"records_per_second"`
	MBPerSecond      float64          `json:"mb_per_second"`
	TotalRecords     int64            `json:"total_records"` // acknowledged in all
	TotalBytes       int64            `json:"total_bytes"`
	Latency          *Latency         `json:"latency,omitempty"` // of a request
	Errors           map[string]int64 `json:"errors,omitempty"`  // batches refused, by the protocol's error
	Failure          string           `json:"failure,omitempty"`
	CPU              float64          `json:"own_cpu_us_per_record"`
}

// Ok reports whether everything was acknowledged.
func (r *ProduceReport) Ok() bool { return r.Failure == "" && len(r.Errors) == 0 }

// RunProduce produces and measures. What the broker did wrong stands in the report.
func RunProduce(ctx context.Context, o ProduceOptions) (*ProduceReport, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	found, err := prepareTopic(ctx, o.Addr, o.Topic, o.Partitions)
	if err != nil {
		return nil, err
	}
	plans := found.spread(o.Connections)
	producers := make([]*producer, len(plans))
	defer func() {
		for _, p := range producers {
			if p != nil {
				p.conn.Close()
			}
		}
	}()
	for i, plan := range plans {
		if producers[i], err = newProducer(ctx, o, plan); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() {
		for _, p := range producers {
			_ = p.conn.SetDeadline(time.Unix(1, 0))
		}
	})
	defer stop()

	runtime.GC()
	c := clock{start: time.Now()}
	from, until := c.now(), int64(math.MaxInt64)
	if o.Count == 0 {
		from += int64(o.Warmup)
		until = from + int64(o.Duration)
	}
	cpu := ownCPU()
	var wg sync.WaitGroup
	for i, p := range producers {
		p.clock, p.from, p.until = c, from, until
		p.left = math.MaxInt64
		if o.Count > 0 {
			p.left = (o.Count-int64(i)-1)/int64(len(producers)) + 1
		}
		if o.Rate > 0 {
			p.perRecord = 1e9 * float64(len(producers)) / o.Rate
		}
		wg.Go(p.write)
		wg.Go(p.read)
	}
	wg.Wait()
	cpu = ownCPU() - cpu
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return reportProduce(o, producers, from, until, cpu), nil
}

func reportProduce(o ProduceOptions, producers []*producer, from, until int64, cpu float64) *ProduceReport {
	r := &ProduceReport{Addr: o.Addr, Topic: o.Topic, Connections: len(producers), Window: o.Window, BatchBytes: o.BatchBytes}
	total, end := newHistogram(), from
	for _, p := range producers {
		r.Records += p.records
		r.Bytes += p.bytes
		r.TotalRecords += p.totalRecords
		r.TotalBytes += p.totalBytes
		total.Merge(p.latencies)
		if o.Rate == 0 {
			p.endedAt = min(p.endedAt, until)
		}
		end = max(end, p.endedAt)
		for name, n := range p.errors {
			if r.Errors == nil {
				r.Errors = make(map[string]int64)
			}
			r.Errors[name] += n
		}
		if r.Failure == "" && p.failure != nil {
			r.Failure = p.failure.Error()
		}
	}
	r.Seconds = float64(max(end-from, 1)) / 1e9
	r.RecordsPerSecond = float64(r.Records) / r.Seconds
	r.MBPerSecond = float64(r.Bytes) / r.Seconds / 1e6
	if o.Acks != 0 {
		l := newLatency(total)
		r.Latency = &l
	}
	r.CPU = cpu * 1e6 / float64(max(r.TotalRecords, 1))
	return r
}

// producer is one connection: write sends prebuilt requests, read takes the responses, which come in order.
type producer struct {
	conn      net.Conn
	acks      int16
	requests  []produceRequest
	window    chan struct{} // a slot for every request in flight
	pending   chan inFlight // in the order of sending
	clock     clock
	from      int64 // when measuring begins
	until     int64 // when it ends
	left      int64 // records still to be sent
	perRecord float64

	// Of read, except with acks=0.
	records, bytes           int64
	totalRecords, totalBytes int64
	latencies                *hdrhistogram.Histogram
	errors                   map[string]int64
	endedAt                  int64

	mu      sync.Mutex
	failure error
}

// produceRequest is a request ready to be sent: heads and batches in turn. Batches are shared between requests.
type produceRequest struct {
	parts   [][]byte
	records int64
	bytes   int64
}

type inFlight struct {
	since   int64
	request *produceRequest
}

func newProducer(ctx context.Context, o ProduceOptions, plan connPlan) (*producer, error) {
	codec, err := ParseCompression(o.Compression)
	if err != nil {
		return nil, err
	}
	p := &producer{acks: o.Acks, window: make(chan struct{}, o.Window),
		pending: make(chan inFlight, o.Window), latencies: newHistogram(), errors: make(map[string]int64)}
	for partitions := range slices.Chunk(plan.partitions, o.PerRequest) {
		req, err := buildProduce(o, partitions, func(seed uint64) ([]byte, int32, error) {
			return buildBatch(o.BatchBytes, o.RecordSize, codec, o.Fill, seed)
		})
		if err != nil {
			return nil, err
		}
		p.requests = append(p.requests, req)
	}
	p.conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", plan.addr)
	return p, err
}

func buildProduce(o ProduceOptions, partitions []int32, batch func(seed uint64) ([]byte, int32, error)) (produceRequest, error) {
	var r produceRequest
	head := appendRequestHeader(nil, produceKey, produceVersion)
	head = append(head, 0xff, 0xff) // no transactional id
	head = binary.BigEndian.AppendUint16(head, uint16(o.Acks))
	head = binary.BigEndian.AppendUint32(head, 30_000) // timeout, ms
	head = binary.BigEndian.AppendUint32(head, 1)
	head = appendKafkaString(head, o.Topic)
	head = binary.BigEndian.AppendUint32(head, uint32(len(partitions)))
	for _, p := range partitions {
		b, records, err := batch(uint64(p) + 1)
		if err != nil {
			return r, err
		}
		head = binary.BigEndian.AppendUint32(head, uint32(p))
		head = binary.BigEndian.AppendUint32(head, uint32(len(b)))
		r.parts = append(r.parts, head, b)
		head = nil
		r.records += int64(records)
		r.bytes += int64(len(b))
	}
	more := 0
	for _, part := range r.parts[1:] {
		more += len(part)
	}
	finishRequest(r.parts[0], more)
	return r, nil
}

func (p *producer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure == nil {
		p.failure = err
	}
	p.conn.Close()
}

func (p *producer) broken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure != nil
}

func (p *producer) write() {
	defer close(p.pending)
	buffers, sent, start := make(net.Buffers, 0, 64), int64(0), p.clock.now()
	for n := 0; p.left > 0; n++ {
		req := &p.requests[n%len(p.requests)]
		if p.acks != 0 {
			p.window <- struct{}{}
		}
		since := p.clock.now()
		if p.perRecord > 0 {
			since = start + int64(float64(sent)*p.perRecord)
			if wait := min(since, p.until) - p.clock.now(); wait > 0 {
				time.Sleep(time.Duration(wait))
			}
		}
		// With a rate, what should have been sent in time is sent and measured, however late.
		if since >= p.until {
			break
		}
		if p.acks != 0 {
			p.pending <- inFlight{since, req}
		}
		binary.BigEndian.PutUint32(req.parts[0][correlationAt:], uint32(n))
		buffers = append(buffers[:0], req.parts...)
		if _, err := buffers.WriteTo(p.conn); err != nil {
			p.fail(fmt.Errorf("sending: %w", err))
			return
		}
		sent += req.records
		p.left -= req.records
		if p.acks == 0 {
			p.count(p.clock.now(), since, req)
		}
	}
	if p.acks == 0 {
		p.askWhetherRead()
	}
}

// askWhetherRead sends a request that is answered: requests of one connection are served in order.
func (p *producer) askWhetherRead() {
	req := finishRequest(appendRequestHeader(nil, apiVersionsKey, 0), 0)
	if _, err := p.conn.Write(req); err != nil {
		p.fail(fmt.Errorf("sending: %w", err))
		return
	}
	if _, err := readFrame(p.conn, make([]byte, 4)); err != nil {
		p.fail(fmt.Errorf("reading: %w", err))
	}
	p.endedAt = p.clock.now()
}

func (p *producer) read() {
	if p.acks == 0 {
		return
	}
	in, buf := bufio.NewReaderSize(p.conn, 4<<10), make([]byte, 256)
	for f := range p.pending {
		var err error
		if p.broken() {
			<-p.window
			continue // the writer may be waiting for a slot before it notices
		}
		if buf, err = readFrame(in, buf); err == nil {
			err = p.response(buf, f)
		}
		if err != nil {
			p.fail(fmt.Errorf("reading: %w", err))
		}
		<-p.window
	}
}

// response takes the answer to the request in flight.
func (p *producer) response(b []byte, f inFlight) error {
	now, refused := p.clock.now(), false
	c := cursor{b: b}
	c.int32() // correlation id
	for range c.count(6) {
		c.skipString()
		for range c.count(30) {
			c.int32() // partition
			if code := c.int16(); code != 0 {
				p.errors[errorName(code)]++
				refused = true
			}
			c.take(24) // base offset, append time, log start
		}
	}
	c.int32() // throttle time
	if c.short {
		return fmt.Errorf("%w: Produce, %d bytes", ErrFrame, len(b))
	}
	if !refused {
		p.count(now, f.since, f.request)
	}
	p.endedAt = now
	return nil
}

func (p *producer) count(now, since int64, r *produceRequest) {
	p.totalRecords += r.records
	p.totalBytes += r.bytes
	at := now
	if p.perRecord > 0 {
		at = since
	}
	if at < p.from || at >= p.until {
		return
	}
	p.records += r.records
	p.bytes += r.bytes
	_ = p.latencies.RecordValue(min(max(now-since, 0), maxLatency))
}

const maxFrame = 256 << 20 // bytes of a response

// readFrame reads a size-prefixed response into buf, growing it as the bytes come in.
func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return buf, err
	}
	size := int64(binary.BigEndian.Uint32(head[:]))
	if size < 4 || size > maxFrame {
		return buf, fmt.Errorf("%w: a frame of %d bytes", ErrFrame, size)
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	_, err := io.ReadFull(r, buf[:size])
	return buf[:size], err
}
