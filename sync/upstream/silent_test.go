package upstream

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestStoppingGivesASilentCentreUpAndTellsWhatItWaitsFor(t *testing.T) {
	centre := newCentre(t)
	r := newRig(t, centre)
	r.cfg.DrainTimeout = tellDraining + 500*time.Millisecond
	var said bytes.Buffer // read when the forwarder has ended
	r.log = slog.New(slog.NewTextHandler(&said, nil))
	f := newFiller(r.source.topic("air", 1), 4, 0)
	f.add(40)
	r.start()
	r.caughtUp()
	silence := make(chan struct{})
	var once sync.Once
	speak := func() { once.Do(func() { close(silence) }) }
	t.Cleanup(speak)
	centre.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		<-silence
		return nil, nil, false
	})
	f.add(40)
	eventually(t, func() string {
		if n := r.w.onWay.Load(); n != 40 {
			return fmt.Sprintf("%d records are on their way", n)
		}
		return ""
	})
	start := time.Now()
	r.stop()
	if d := time.Since(start); d < r.cfg.DrainTimeout || d > r.cfg.DrainTimeout+2*time.Second {
		t.Errorf("it took %v", d)
	}
	for _, want := range []string{
		`level=INFO msg="waiting for the centre to confirm what is on its way" records=40 longest=1.5s`,
		`level=WARN msg="the centre has not confirmed what is on its way; it is sent again later" records=40 waited=1.5s`,
	} {
		if strings.Count(said.String(), want) != 1 {
			t.Errorf("not once %s\n%s", want, said.String())
		}
	}
	speak()
	r.start()
	r.caughtUp()
	checkLastCopies(t, r.consume("north.air"), 4, 20)
}

// mute listens, and answers nothing.
func mute(t *testing.T) (address string) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}

func TestStoppingIsQuickWhileAConnectionBegins(t *testing.T) {
	r := newRig(t, nil)
	r.cfg.Brokers = []string{mute(t)}
	newFiller(r.source.topic("air", 1), 4, 0).add(40)
	r.start()
	eventually(t, func() string {
		if s := r.w.Status(); s.State != StateConnecting || len(s.Partitions) != 1 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	start := time.Now()
	r.stop()
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("it took %v", d)
	}
}
