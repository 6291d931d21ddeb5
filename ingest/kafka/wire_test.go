package kafka

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/record"
)

// wire is a connection on which a test speaks the protocol by itself.
type wire struct {
	t    testing.TB
	nc   net.Conn
	br   *bufio.Reader
	corr int32
}

func (r *rig) wire() *wire {
	r.t.Helper()
	nc := dial(r.t, r.addr)
	r.t.Cleanup(func() { _ = nc.Close() })
	return &wire{t: r.t, nc: nc, br: bufio.NewReader(nc)}
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// pipeTo returns one end of a connection to nobody.
func pipeTo(t testing.TB) net.Conn {
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a
}

// send writes a request and returns its correlation id.
func (w *wire) send(req kmsg.Request) int32 {
	w.t.Helper()
	w.corr++
	w.raw(kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, w.corr))
	return w.corr
}

func (w *wire) raw(b []byte) {
	w.t.Helper()
	_ = w.nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := w.nc.Write(b); err != nil {
		w.t.Fatalf("write: %v", err)
	}
}

// receive reads the answer to req.
func (w *wire) receive(req kmsg.Request, corr int32) kmsg.Response {
	w.t.Helper()
	body := w.frame()
	if got := int32(binary.BigEndian.Uint32(body)); got != corr {
		w.t.Fatalf("answer to request %d, expected %d", got, corr)
	}
	body = body[4:]
	resp := req.ResponseKind()
	if resp.IsFlexible() && req.Key() != keyApiVersions {
		if body[0] != 0 {
			w.t.Fatalf("tags in the header: %x", body[0])
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		w.t.Fatalf("%s %d: %v in %x", kmsg.NameForKey(req.Key()), req.GetVersion(), err, body)
	}
	if again := resp.AppendTo(nil); req.Key() != 1 && string(again) != string(body) {
		w.t.Fatalf("%s %d: answer is not what decodes to the same:\n%x\n%x", kmsg.NameForKey(req.Key()), req.GetVersion(), body, again)
	}
	return resp
}

func (w *wire) frame() []byte {
	w.t.Helper()
	_ = w.nc.SetDeadline(time.Now().Add(20 * time.Second))
	var size [4]byte
	if _, err := io.ReadFull(w.br, size[:]); err != nil {
		w.t.Fatalf("read: %v", err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(w.br, body); err != nil {
		w.t.Fatalf("read: %v", err)
	}
	return body
}

// closed waits for the broker to close the connection, and fails if it answers instead.
func (w *wire) closed() {
	w.t.Helper()
	_ = w.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := io.Copy(io.Discard, w.br)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatal("the connection stays open")
	}
	if n > 0 {
		w.t.Fatalf("%d bytes of an answer where the connection should end", n)
	}
}

// ask sends a request of a version and returns the answer.
func ask[R kmsg.Response](w *wire, req kmsg.Request, version int16) R {
	w.t.Helper()
	req.SetVersion(version)
	resp := w.receive(req, w.send(req))
	r, ok := resp.(R)
	if !ok {
		w.t.Fatalf("answer is a %T", resp)
	}
	return r
}

// batchOf builds a batch of records with these values and no keys.
func batchOf(values ...string) record.Batch {
	var b record.Builder
	b.Reset(nil)
	for _, v := range values {
		b.Append(time.Now().UnixMilli(), nil, []byte(v), nil)
	}
	return b.Finish(0, -1, record.None, nil)
}

// produceRequest is one batch for partition 0.
func produceRequest(topic string, acks int16, batch []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// fetchRequest asks for one partition.
func fetchRequest(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.MinBytes, req.MaxWaitMillis, req.SessionEpoch, req.ReplicaID = 1<<20, 1, 0, -1, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = partition, offset, 1<<20, -1, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func TestEveryVersionOfEveryKeyIsAnsweredInItsOwnEncoding(t *testing.T) {
	r := newRig(t)
	r.topic("t", 2)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := r.wire()
	for i := range apis {
		a := &apis[i]
		for v := a.min; v <= a.max; v++ {
			for round := range 20 {
				req := kmsg.RequestForKey(a.key)
				if round > 0 {
					fillRandom(reflect.ValueOf(req).Elem(), rnd)
				}
				switch q := req.(type) {
				case *kmsg.ProduceRequest:
					q.Acks = -1
				case *kmsg.FetchRequest:
					q.MaxWaitMillis = int32(rnd.IntN(3))
					q.SessionEpoch = int32(rnd.IntN(3) - 1)
				case *kmsg.ApiVersionsRequest:
					q.ClientSoftwareName, q.ClientSoftwareVersion = "a-b.c", "1.2"
				}
				req.SetVersion(v)
				w.receive(req, w.send(req))
			}
		}
	}
}
