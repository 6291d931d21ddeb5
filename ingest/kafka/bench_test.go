package kafka

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/record"
)

// Reading a topic from the start, against BenchmarkBareTCPCopy: the same bytes through a bare connection. 16 partitions, a
// megabyte of each at a time.
func BenchmarkFetchFromTheStart(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10, 1_000_000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			const partitions, each = 16, 4 << 20
			r := newRig(b)
			r.topic("t", partitions)
			for i := range int32(partitions) {
				p, _ := r.mgr.Partition("t", i)
				var last Commit
				for n := 0; n < each; n += size {
					a, err := p.AppendBatch(sized(size - 100))
					if err != nil {
						b.Fatal(err)
					}
					last = a.Commit
				}
				<-last.Done()
			}
			waitUntilAbsorbed()
			w := r.wire()
			next := make([]int64, partitions)
			b.ResetTimer()
			for n := 0; n < b.N; {
				req := kmsg.NewPtrFetchRequest()
				req.MaxBytes, req.MinBytes, req.SessionEpoch = 50<<20, 1, -1
				req.SetVersion(12)
				rt := kmsg.NewFetchRequestTopic()
				rt.Topic = "t"
				for i := range next {
					p := fetchRequest("t", int32(i), next[i]).Topics[0].Partitions[0]
					p.PartitionMaxBytes = 1 << 20
					rt.Partitions = append(rt.Partitions, p)
				}
				req.Topics = append(req.Topics, rt)
				w.send(req)
				got, batches := w.skim(b)
				n += got
				for i := range next {
					next[i] += int64(batches / partitions)
					if got < partitions<<19 {
						next[i] = 0 // from the start again
					}
				}
			}
			b.SetBytes(1)
		})
	}
}

// skim reads an answer to Fetch as a client would, into memory that is used again, and returns its size and about how many
// batches it holds.
func (w *wire) skim(b *testing.B) (bytes, batches int) {
	var size [4]byte
	if _, err := io.ReadFull(w.br, size[:]); err != nil {
		b.Fatal(err)
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if cap(skimmed) < n {
		skimmed = make([]byte, n)
	}
	body := skimmed[:n]
	if _, err := io.ReadFull(w.br, body); err != nil {
		b.Fatal(err)
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = 12
	if err := resp.ReadFrom(body[5:]); err != nil {
		b.Fatal(err)
	}
	for _, p := range resp.Topics[0].Partitions {
		for rest := p.RecordBatches; len(rest) > 0; batches++ {
			_, next, err := record.Split(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = next
		}
	}
	return n, batches
}

var skimmed []byte

func BenchmarkBareTCPCopy(b *testing.B) {
	l := listen(b)
	defer func() { _ = l.Close() }()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		all := make([]byte, 64<<20) // as much as there is in the log
		for i := range all {
			all[i] = byte(i)
		}
		for n := 0; n < b.N; {
			from := n & (len(all) - 1)
			m, err := nc.Write(all[from:min(from+1<<20, from+b.N-n)])
			if err != nil {
				return
			}
			n += m
		}
		_ = nc.Close()
	}()
	nc := dial(b, l.Addr().String())
	buf := make([]byte, 16<<20) // as large as an answer
	b.SetBytes(1)
	b.ResetTimer()
	for {
		if _, err := io.ReadFull(nc, buf); err != nil {
			break
		}
	}
	_ = nc.Close()
}

// nullLog takes everything and keeps nothing.
type nullLog struct{ Log }

type nullPartition struct{ Partition }

type doneCommit chan struct{}

func (c doneCommit) Done() <-chan struct{} { return c }
func (c doneCommit) Err() error            { return nil }
func (c doneCommit) Direct() bool          { return false }

var alreadyDone = func() doneCommit { c := make(doneCommit); close(c); return c }()

func (l nullLog) Partition(topic string, index int32) (Partition, error) {
	p, err := l.Log.Partition(topic, index)
	return nullPartition{p}, err
}

func (nullPartition) AppendBatch(record.Batch) (Appended, error) {
	return Appended{Commit: alreadyDone}, nil
}

// The way of a Produce request from the socket to the log and back, without the log: reading, decoding, checking.
func BenchmarkProduce(b *testing.B) {
	for _, size := range []int{200, 16 << 10, 1_000_000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			r := newRig(b, func(c *rigConfig) { c.wrap = func(d *Deps) { d.Log = nullLog{d.Log} } })
			r.topic("t", 1)
			w := r.wire()
			var bd record.Builder
			bd.Reset(nil)
			for bd.Len() < size-100 {
				bd.Append(time.Now().UnixMilli(), nil, make([]byte, min(1000, size-170)), nil)
			}
			req := produceRequest("t", -1, bd.Finish(0, -1, record.None, nil))
			req.SetVersion(9)
			frame := kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				for range b.N {
					if _, err := w.nc.Write(frame); err != nil {
						return
					}
				}
			}()
			answer := make([]byte, 4)
			for range b.N {
				if _, err := io.ReadFull(w.br, answer[:4]); err != nil {
					b.Fatal(err)
				}
				if _, err := w.br.Discard(int(binary.BigEndian.Uint32(answer))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type nowhere struct{ net.Conn }

func (nowhere) Write(b []byte) (int, error)      { return len(b), nil }
func (nowhere) SetWriteDeadline(time.Time) error { return nil }
func (nowhere) Close() error                     { return nil }
func (nowhere) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// Encoding an answer of 1,000 partitions with four batches each.
func BenchmarkFetchEncode(b *testing.B) {
	a := (&Server{apis: apis}).lookup(1)
	s := &Server{cfg: Config{WriteTimeout: time.Minute}, metrics: NewMetrics(prometheus.NewRegistry())}
	for _, size := range []int{300, 16 << 10} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			w := newWriter(&conn{srv: s, nc: nowhere{}, abort: func() {}})
			parts := make([]*fetchPart, 1000)
			for i := range parts {
				batch := make(record.Batch, size)
				parts[i] = &fetchPart{fetchAsk: fetchAsk{fetchKey: fetchKey{topic: "telemetry", index: int32(i)}}, divergeAt: -1, hint: -1, batches: []record.Batch{batch, batch, batch, batch}, size: 4 * size}
			}
			h := &fetchHead{version: 12, nullAborted: true}
			q := &call{api: a, version: 12}
			b.ReportAllocs()
			b.SetBytes(int64(4000 * size))
			for b.Loop() {
				start := w.begin(q)
				w.appendFetch(h, parts)
				w.end(start)
				w.flush()
			}
		})
	}
}

// waitUntilAbsorbed waits longer than anything stays in the journal alone.
func waitUntilAbsorbed() { time.Sleep(1500 * time.Millisecond) }
