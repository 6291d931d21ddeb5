package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"

	"github.com/culvert-mq/culvert/sync/meta"
)

func frameOf(body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestBadFrameClosesItsOwnConnectionOnly(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.MaxRequestBytes = 4 << 20 })
	other := r.wire()
	flexible := kmsg.NewPtrMetadataRequest()
	flexible.SetVersion(9)
	good := kmsg.NewRequestFormatter().AppendRequest(nil, flexible, 1)
	for name, frame := range map[string][]byte{
		"negative size":             {0xff, 0xff, 0xff, 0xff, 0, 3, 0, 1, 0, 0, 0, 1},
		"size above the limit":      {0x00, 0x50, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1},
		"large without records":     {0x00, 0x30, 0, 0, 0, 3, 0, 1, 0, 0, 0, 1},
		"shorter than a header":     frameOf(0, 3, 0, 1, 0, 0, 0),
		"unknown key":               frameOf(0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff),
		"key that is not served":    frameOf(0, 11, 0, 0, 0, 0, 0, 1, 0xff, 0xff),
		"version that is too new":   frameOf(0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0),
		"negative version":          frameOf(0, 3, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0),
		"Fetch of an old format":    frameOf(0, 1, 0, 3, 0, 0, 0, 1, 0xff, 0xff),
		"no client id":              frameOf(0, 3, 0, 1, 0, 0, 0, 1),
		"client id beyond the end":  frameOf(0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff),
		"client id of length -2":    frameOf(0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xfe, 0, 0, 0, 0),
		"header tags beyond end":    frameOf(0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 1, 0, 99),
		"array beyond the end":      frameOf(0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff),
		"body cut short":            append(binary.BigEndian.AppendUint32(nil, uint32(len(good)-5)), good[4:len(good)-1]...),
		"endless tags":              frameOf(0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f),
		"Produce of nothing at all": frameOf(0, 0, 0, 7, 0, 0, 0, 1, 0xff, 0xff),
	} {
		t.Run(name, func(t *testing.T) {
			w := r.wire()
			w.raw(frame)
			w.closed()
			ask[*kmsg.MetadataResponse](other, kmsg.NewPtrMetadataRequest(), 4)
		})
	}
	if n := testutil.ToFloat64(r.srv.metrics.panics); n != 0 {
		t.Errorf("%v panics", n)
	}
}

func TestRequestsBeforeABadFrameAreAnswered(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	w := r.wire()
	req := produceRequest("t", -1, batchOf("x"))
	req.SetVersion(7)
	corr := w.send(req)
	w.raw(frameOf(0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff))
	if resp := w.receive(req, corr).(*kmsg.ProduceResponse); resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("error %d", resp.Topics[0].Partitions[0].ErrorCode)
	}
	w.closed()
}

func TestAnswersComeInTheOrderOfTheRequests(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	w := r.wire()
	var reqs []kmsg.Request
	var corrs []int32
	for i := range 300 {
		var req kmsg.Request
		switch i % 4 {
		case 0, 1:
			req = produceRequest("t", -1, batchOf("x"))
			req.SetVersion(9)
		case 2:
			f := fetchRequest("t", 0, 1_000_000) // out of range at once
			f.MaxWaitMillis = 20_000
			f.SetVersion(12)
			req = f
		case 3:
			req = kmsg.NewPtrMetadataRequest()
			req.SetVersion(12)
		}
		reqs, corrs = append(reqs, req), append(corrs, w.send(req))
	}
	offset := int64(0)
	for i := range reqs {
		if resp, ok := w.receive(reqs[i], corrs[i]).(*kmsg.ProduceResponse); ok {
			if got := resp.Topics[0].Partitions[0].BaseOffset; got != offset {
				t.Fatalf("answer %d: offset %d, expected %d", i, got, offset)
			}
			offset++
		}
	}
}

func TestUnsupportedApiVersionsIsAnsweredInVersionZeroWithItsRange(t *testing.T) {
	r := newRig(t)
	w := r.wire()
	w.raw(frameOf(0, 18, 0x7f, 0xff, 0, 0, 0, 9, 0xde, 0xad, 0xbe, 0xef)) // what follows the correlation id is not looked at
	req := kmsg.NewPtrApiVersionsRequest()
	resp := w.receive(req, 9).(*kmsg.ApiVersionsResponse)
	if resp.ErrorCode != int16(codeUnsupportedVersion) || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 || resp.ApiKeys[0].MaxVersion != 4 {
		t.Errorf("%+v", resp)
	}
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
	if resp := ask[*kmsg.ApiVersionsResponse](w, req, 4); resp.ErrorCode != 0 || len(resp.ApiKeys) != len(apis) {
		t.Errorf("the connection does not go on: %+v", resp)
	}
}

func TestApiVersionsRefusesABadSoftwareName(t *testing.T) {
	w := newRig(t).wire()
	for name, want := range map[string]errorCode{
		"apache-kafka-java": codeNone, "a": codeNone, "": codeInvalidRequest, "-a": codeInvalidRequest, "a.": codeInvalidRequest, "a b": codeInvalidRequest, "ä": codeInvalidRequest,
	} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = name, "1.0"
		if resp := ask[*kmsg.ApiVersionsResponse](w, req, 3); resp.ErrorCode != int16(want) {
			t.Errorf("%q: %v, want %v", name, errorCode(resp.ErrorCode), want)
		}
	}
}

// panicking is metadata that have a bug.
type panicking struct{ Metadata }

func (panicking) Propose(context.Context, meta.Command) (meta.Result, error) { panic("bug") }

func TestPanicCostsItsOwnConnection(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.wrap = func(d *Deps) { d.Metadata = panicking{d.Metadata} } })
	other, w := r.wire(), r.wire()
	first := kmsg.NewPtrMetadataRequest()
	first.SetVersion(1)
	corr := w.send(first)
	bad := kmsg.NewPtrInitProducerIDRequest()
	bad.SetVersion(4)
	w.send(bad)
	w.receive(first, corr)
	w.closed()
	if n := testutil.ToFloat64(r.srv.metrics.panics); n != 1 {
		t.Errorf("%v panics counted", n)
	}
	ask[*kmsg.MetadataResponse](other, kmsg.NewPtrMetadataRequest(), 4)
}

func TestIdleConnectionIsClosedAndAWaitingOneIsNot(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.IdleTimeout = 50 * time.Millisecond })
	r.topic("t", 1)
	idle, waiting := r.wire(), r.wire()
	req := fetchRequest("t", 0, 0)
	req.MaxWaitMillis = 400
	req.SetVersion(11)
	corr := waiting.send(req)
	idle.closed()
	waiting.receive(req, corr)
	waiting.closed()
}

func TestConnectionsBeyondTheLimitAreClosed(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.MaxConnections = 2 })
	a, b := r.wire(), r.wire()
	ask[*kmsg.MetadataResponse](a, kmsg.NewPtrMetadataRequest(), 4)
	ask[*kmsg.MetadataResponse](b, kmsg.NewPtrMetadataRequest(), 4)
	r.wire().closed()
	if n := r.srv.Connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
	_ = a.nc.Close()
	eventually(t, "place for another", func() bool { return r.srv.Connections() == 1 })
	ask[*kmsg.MetadataResponse](r.wire(), kmsg.NewPtrMetadataRequest(), 4)
}

func TestLargeRequestsThatArriveSlowlyGiveWay(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.MaxInflightBytes = 1 << 20 })
	r.topic("t", 1)
	slow := r.wire()
	large := produceRequest("t", -1, make([]byte, 900_000))
	large.SetVersion(7)
	slow.raw(kmsg.NewRequestFormatter().AppendRequest(nil, large, 1)[:2*readBuffer])
	eventually(t, "the budget is taken", func() bool { return !idleBudget(r.srv.budget.large, 1) })
	// Small requests have a share of their own.
	w := r.wire()
	ask[*kmsg.MetadataResponse](w, kmsg.NewPtrMetadataRequest(), 4)
	if resp := ask[*kmsg.ProduceResponse](w, produceRequest("t", -1, sized(200_000)), 9); resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("%+v", resp)
	}
	slow.closed()
}

func TestShutdownAnswersWhatIsOutstanding(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	w, idle := r.wire(), r.wire()
	ask[*kmsg.MetadataResponse](idle, kmsg.NewPtrMetadataRequest(), 4)
	p := produceRequest("t", -1, batchOf("x"))
	p.SetVersion(9)
	f := fetchRequest("t", 0, 1)
	f.SetVersion(12)
	f.MaxWaitMillis = 60_000
	pc, fc := w.send(p), w.send(f)
	w.receive(p, pc)
	eventually(t, "the fetch waits", func() bool { return !idleBudget(r.srv.parked, r.srv.cfg.MaxInflightBytes/4) })
	done := make(chan error)
	go func() { done <- r.srv.Shutdown(t.Context()) }()
	w.receive(f, fc)
	w.closed()
	idle.closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.addr); err == nil {
		_ = nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("still served: %v", err)
		}
		_ = nc.Close()
	}
}

// idleBudget tells whether nobody holds any of the size bytes.
func idleBudget(sem *semaphore.Weighted, size int64) bool {
	if !sem.TryAcquire(size) {
		return false
	}
	sem.Release(size)
	return true
}

func TestClientThatDoesNotReadIsClosed(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.WriteTimeout = 100 * time.Millisecond })
	r.topic("t", 1)
	w := r.wire()
	for range 20 {
		if resp := ask[*kmsg.ProduceResponse](w, produceRequest("t", -1, batchOf(string(make([]byte, 1_000_000)))), 9); resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("%+v", resp)
		}
	}
	_ = w.nc.(*net.TCPConn).SetReadBuffer(4096)
	f := fetchRequest("t", 0, 0)
	f.MaxBytes, f.Topics[0].Partitions[0].PartitionMaxBytes = 50<<20, 50<<20
	f.SetVersion(12)
	w.send(f)
	eventually(t, "the connection is closed", func() bool { return r.srv.Connections() == 0 })
}
