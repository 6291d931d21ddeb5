package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// FetchOptions say how RunFetch reads.
type FetchOptions struct {
	Addr        string
	Topic       string
	Connections int
	Window      int           // requests in flight on each connection, each for another partition
	MaxBytes    int32         // of one request
	Verify      bool          // check CRC and offsets of every batch
	Duration    time.Duration // read from the start again and again for so long; 0: once
}

// DefaultFetchOptions reads everything once.
func DefaultFetchOptions() FetchOptions {
	return FetchOptions{Addr: "127.0.0.1:9092", Topic: "bench", Connections: 1, Window: 4, MaxBytes: 1 << 20}
}

func (o FetchOptions) validate() error {
	var problem string
	switch {
	case o.Topic == "":
		problem = "no topic"
	case o.Connections < 1 || o.Connections > 10_000:
		problem = fmt.Sprintf("%d connections", o.Connections)
	case o.Window < 1 || o.Window > 10_000:
		problem = fmt.Sprintf("a window of %d", o.Window)
	case o.MaxBytes < 1 || o.MaxBytes > maxFrame/2:
		problem = fmt.Sprintf("%d bytes a request", o.MaxBytes)
	case o.Duration < 0:
		problem = fmt.Sprintf("a duration of %s", o.Duration)
	}
	if problem != "" {
		return fmt.Errorf("%w: %s", ErrOptions, problem)
	}
	return nil
}

// FetchReport is what came of it. Bytes are those of record batches as they came over the wire.
type FetchReport struct {
	Addr        string  `json:"addr"`
	Topic       string  `json:"topic"`
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"`
	Bytes       int64   `json:"bytes"`
	Batches     int64   `json:"batches"`
	Records     int64   `json:"records"`
	MBPerSecond float64 `json:"mb_per_second"`
	Corrupt     int64   `json:"corrupt_batches,omitempty"` // wrong CRC, when verified
	Gaps        int64   `json:"gaps,omitempty"`            // batches that did not begin where the one before ended, when verified
	Failure     string  `json:"failure,omitempty"`
	CPU         float64 `json:"own_cpu_seconds"`
}

// Ok reports whether all was read and whole.
func (r *FetchReport) Ok() bool { return r.Failure == "" && r.Corrupt == 0 && r.Gaps == 0 }

// RunFetch reads every partition from its start to the end it has now, and discards.
func RunFetch(ctx context.Context, o FetchOptions) (*FetchReport, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	found, err := prepareTopic(ctx, o.Addr, o.Topic, 0)
	if err != nil {
		return nil, err
	}
	ranges, err := listRanges(ctx, o.Addr, o.Topic)
	if err != nil {
		return nil, err
	}
	var fetchers []*fetcher
	defer func() {
		for _, f := range fetchers {
			f.conn.Close()
		}
	}()
	for _, plan := range found.spread(o.Connections) {
		conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", plan.addr)
		if err != nil {
			return nil, err
		}
		f := &fetcher{conn: conn, options: o}
		fetchers = append(fetchers, f)
		for _, p := range plan.partitions {
			if r := ranges[p]; r.from < r.to {
				f.all = append(f.all, fetchRange{partition: p, from: r.from, next: r.from, to: r.to})
			}
		}
	}
	stop := context.AfterFunc(ctx, func() {
		for _, f := range fetchers {
			_ = f.conn.SetDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	runtime.GC()
	cpu, start := ownCPU(), time.Now()
	var wg sync.WaitGroup
	for _, f := range fetchers {
		f.until = start.Add(o.Duration)
		wg.Go(func() { f.err = f.run() })
	}
	wg.Wait()
	r := &FetchReport{Addr: o.Addr, Topic: o.Topic, Connections: len(fetchers), Seconds: time.Since(start).Seconds(), CPU: ownCPU() - cpu}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, f := range fetchers {
		r.Bytes += f.bytes
		r.Batches += f.batches
		r.Records += f.records
		r.Corrupt += f.corrupt
		r.Gaps += f.gaps
		if f.err != nil && r.Failure == "" {
			r.Failure = f.err.Error()
		}
	}
	r.MBPerSecond = float64(r.Bytes) / r.Seconds / 1e6
	return r, nil
}

// offsetRange is a partition's start and end offset.
type offsetRange struct{ from, to int64 }

func listRanges(ctx context.Context, addr, topic string) (map[int32]offsetRange, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ClientID(clientID))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = errors.Join(starts.Error(), ends.Error())
	}
	if err != nil {
		return nil, fmt.Errorf("offsets of topic %s: %w", topic, err)
	}
	ranges := make(map[int32]offsetRange)
	ends.Each(func(e kadm.ListedOffset) {
		if s, ok := starts.Lookup(topic, e.Partition); ok {
			ranges[e.Partition] = offsetRange{s.Offset, e.Offset}
		}
	})
	return ranges, nil
}

// fetcher is one connection. Requests for different partitions are in flight at the same time; their answers come in order.
type fetcher struct {
	conn    net.Conn
	options FetchOptions
	until   time.Time
	all     []fetchRange

	bytes, batches, records int64
	corrupt, gaps           int64
	err                     error
}

type fetchRange struct {
	partition      int32
	from, next, to int64
}

func (f *fetcher) run() error {
	// ready are ranges to be asked for, asked those whose answers are awaited, both in order.
	ready, asked := make([]*fetchRange, 0, len(f.all)), make([]*fetchRange, 0, len(f.all))
	for i := range f.all {
		ready = append(ready, &f.all[i])
	}
	var req, buf []byte
	for len(ready)+len(asked) > 0 {
		req = req[:0]
		for len(ready) > 0 && len(asked) < f.options.Window {
			r := ready[0]
			ready = append(ready[:0], ready[1:]...)
			asked = append(asked, r)
			req = f.appendFetch(req, r)
		}
		if len(req) > 0 {
			if _, err := f.conn.Write(req); err != nil {
				return fmt.Errorf("sending: %w", err)
			}
		}
		var err error
		if buf, err = readFrame(f.conn, buf); err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		r := asked[0]
		asked = append(asked[:0], asked[1:]...)
		if err := f.response(buf, r); err != nil {
			return err
		}
		if r.next >= r.to && f.options.Duration > 0 && time.Now().Before(f.until) {
			r.next = r.from
		}
		if r.next < r.to && (f.options.Duration == 0 || time.Now().Before(f.until)) {
			ready = append(ready, r)
		}
	}
	return nil
}

func (f *fetcher) appendFetch(dst []byte, r *fetchRange) []byte {
	at := len(dst)
	dst = appendRequestHeader(dst, fetchKey, fetchVersion)
	dst = binary.BigEndian.AppendUint32(dst, 0xffffffff) // not a replica
	dst = binary.BigEndian.AppendUint32(dst, 500)        // wait at most, ms
	dst = binary.BigEndian.AppendUint32(dst, 1)          // for at least this many bytes
	dst = binary.BigEndian.AppendUint32(dst, uint32(f.options.MaxBytes))
	dst = append(dst, 0)                                 // read uncommitted
	dst = binary.BigEndian.AppendUint32(dst, 0)          // no session
	dst = binary.BigEndian.AppendUint32(dst, 0xffffffff) // and none wanted
	dst = binary.BigEndian.AppendUint32(dst, 1)
	dst = appendKafkaString(dst, f.options.Topic)
	dst = binary.BigEndian.AppendUint32(dst, 1)
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.partition))
	dst = binary.BigEndian.AppendUint32(dst, 0xffffffff) // leader epoch unknown
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.next))
	dst = binary.BigEndian.AppendUint64(dst, 0xffffffffffffffff) // log start: of followers only
	dst = binary.BigEndian.AppendUint32(dst, uint32(f.options.MaxBytes))
	dst = binary.BigEndian.AppendUint32(dst, 0) // no forgotten topics
	finishRequest(dst[at:], 0)
	return dst
}

func (f *fetcher) response(b []byte, r *fetchRange) error {
	c := cursor{b: b}
	c.int32() // correlation id
	c.int32() // throttle time
	if code := c.int16(); code != 0 {
		return fmt.Errorf("fetching: %s", errorName(code))
	}
	c.int32() // session
	for range c.count(6) {
		c.skipString()
		for range c.count(38) {
			partition, code := c.int32(), c.int16()
			c.take(24) // high watermark, last stable offset, log start
			for range c.count(16) {
				c.take(16) // an aborted transaction
			}
			records := c.take(max(int(c.int32()), 0))
			if c.short {
				break
			}
			if code != 0 {
				return fmt.Errorf("fetching partition %d from offset %d: %s", partition, r.next, errorName(code))
			}
			if partition != r.partition {
				return fmt.Errorf("%w: an answer for partition %d where one for %d belongs", ErrFrame, partition, r.partition)
			}
			if err := f.walk(records, r); err != nil {
				return err
			}
		}
	}
	if c.short {
		return fmt.Errorf("%w: Fetch, %d bytes", ErrFrame, len(b))
	}
	return nil
}

const batchHeader = 61 // bytes of a record batch before its records

// walk goes from batch to batch. A batch that is cut off at the end is asked for again.
func (f *fetcher) walk(b []byte, r *fetchRange) error {
	f.bytes += int64(len(b))
	for len(b) >= batchHeader {
		size := int64(binary.BigEndian.Uint32(b[8:])) + 12
		if size < batchHeader || b[16] != 2 {
			return fmt.Errorf("%w: a batch of %d bytes with magic %d in partition %d after offset %d", ErrFrame, size, b[16], r.partition, r.next)
		}
		if size > int64(len(b)) {
			break
		}
		base, delta := int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint32(b[23:]))
		if f.options.Verify {
			if crc32.Checksum(b[21:size], castagnoli) != binary.BigEndian.Uint32(b[17:]) {
				f.corrupt++
			}
			if base != r.next {
				f.gaps++
			}
		}
		if base+delta+1 <= r.next {
			return fmt.Errorf("%w: a batch up to offset %d where %d was asked for", ErrFrame, base+delta, r.next)
		}
		r.next = base + delta + 1
		f.batches++
		f.records += int64(binary.BigEndian.Uint32(b[57:]))
		b = b[size:]
	}
	f.bytes -= int64(len(b))
	return nil
}
