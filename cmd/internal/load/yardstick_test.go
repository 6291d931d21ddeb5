package load

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

func TestDiskYardstickMeasuresAndLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	r, err := RunDisk(t.Context(), DiskOptions{Dir: dir, Overwrites: 20, CommitSize: 10_000, Bytes: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	if r.Overwrite.Count != 20 || r.Overwrite.P50 <= 0 || r.Commit.Count != 10 || r.MBPerSecond <= 0 {
		t.Errorf("%+v", r)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := RunDisk(t.Context(), DiskOptions{Dir: dir, CommitSize: -1}); !errors.Is(err, ErrOptions) {
		t.Error(err)
	}
}

func TestCopyYardstickCopiesAllBytes(t *testing.T) {
	r, err := RunCopy(t.Context(), 10_000_001)
	if err != nil || r.Bytes != 10_000_001 || r.MBPerSecond <= 0 {
		t.Errorf("%+v %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := RunCopy(ctx, 1<<40); err == nil {
		t.Error("a copy under an ended context went through")
	}
}

func TestIdleReportsMemoryAndTime(t *testing.T) {
	s := startSink(t, nil)
	r, err := RunIdle(t.Context(), IdleOptions{Addr: s.Addr(), Connections: 50, PID: os.Getpid(), Settle: time.Millisecond})
	if err != nil || r.Connections != 50 || r.Before < 1<<20 || r.After < 1<<20 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestProcessAndDeviceFiguresAreRead(t *testing.T) {
	if cpu, err := processCPU(os.Getpid()); err != nil || cpu < 0 || cpu > 1e6 {
		t.Errorf("cpu %g: %v", cpu, err)
	}
	stats := " 254       0 vda 10 20 30 40 50 60 70 80 0\n 254       1 vda1 1 2 3 4 5 6 7 8 0\n 8 0 sda\n"
	if n, err := writtenIn(stats, 254, 1); err != nil || n != 7*512 {
		t.Errorf("written %d: %v", n, err)
	}
	if _, err := writtenIn(stats, 8, 0); err == nil {
		t.Error("a short line was read")
	}
}

func TestCheckFindsLossAndDuplicates(t *testing.T) {
	// The sink delivers nothing back, so the streams are fed by hand.
	o := DefaultMQTTOptions()
	o.Connections, o.TopicsPerConnection = 2, 3
	c := newChecker(o, 7)
	flows := []*flow{newFlow(o, 7, 0, &meter{}), newFlow(o, 7, 1, &meter{})}
	for conn, f := range flows {
		f.next, f.head = 100, 100
		for n := range int64(100) {
			payload, _, _ := newPayload(50, 7, uint32(conn), FillReading)
			payload[seqOffset+7] = byte(n)
			c.note(payload)
			if conn == 1 && n == 50 {
				c.note(payload)
			}
		}
	}
	c.note([]byte("foreign"))
	r := c.tally(flows)
	if r.Expected != 200 || r.Received != 201 || r.Duplicates != 1 || r.Missing != 0 || r.OutOfOrder != 0 || r.Foreign != 1 || r.Ok() {
		t.Errorf("%+v", r)
	}
	flows[0].next, flows[0].head = 110, 105 // five more acknowledged, five in flight
	if r := c.tally(flows); r.Missing != 5 || r.Unexpected != 0 {
		t.Errorf("%+v", r)
	}
}
