package load

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/culvert-mq/culvert/cmd/internal/load/child"
	"github.com/culvert-mq/culvert/node/soak/rig"
)

const idleConnections = 5000

// memory measures a fresh node: idle, and with idle connections.
func (s *suite) memory(ctx context.Context) error {
	idle := s.figure(Figure{Section: SectionMemory, Name: "resident memory, idle", Unit: "MB", Target: 25, AtMost: true})
	more := s.figure(Figure{Section: SectionMemory, Name: "more with 5,000 idle MQTT connections", Unit: "MB", Target: 25, AtMost: true})
	for range min(s.Repetitions, 3) {
		if err := s.measureMemory(ctx, idle, more); err != nil {
			return err
		}
		s.Progress("memory: %.1f MB idle, +%.1f MB with %d connections", idle.Measured, more.Measured, idleConnections)
	}
	return nil
}

func (s *suite) measureMemory(ctx context.Context, idle, more *Figure) error {
	n, dir, err := s.node(ctx, nil)
	if err != nil {
		return err
	}
	defer drop(n, dir)
	if err := s.settle(ctx); err != nil {
		return err
	}
	r, err := RunIdle(ctx, IdleOptions{Addr: n.MQTT, Connections: idleConnections, PID: n.PID(), Settle: s.Settle})
	if err != nil {
		more.Failure = err.Error()
		return ctx.Err()
	}
	idle.add(float64(r.Before) / 1e6)
	more.add(float64(r.After-r.Before) / 1e6)
	more.Detail = fmt.Sprintf("%d bytes a connection", r.PerConnection)
	return nil
}

// binary measures the size of the program for arm64.
func (s *suite) binary(ctx context.Context) error {
	file := s.ARM64
	if file == "" {
		file = filepath.Join(s.dir, "culvert-arm64")
		if err := buildARM64(ctx, file); err != nil {
			s.skip("size of the arm64 binary: no binary was named, and none could be built here: %v", err)
			return ctx.Err()
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	f := s.figure(Figure{Section: SectionBinary, Name: "arm64, stripped", Unit: "MB", Target: 20, AtMost: true})
	f.add(float64(info.Size()) / 1e6)
	return nil
}

// buildARM64 builds the program from the sources at or above the working directory, as make cross does.
func buildARM64(ctx context.Context, file string) error {
	root, err := rig.Root()
	if err != nil {
		return err
	}
	return rig.Build(ctx, root, file, "bench", "GOOS=linux", "GOARCH=arm64", "GOARM64=v8.0")
}

// open fills a node, kills it under load, and measures how long it takes until it serves again.
func (s *suite) open(ctx context.Context) error {
	f := s.figure(Figure{Section: SectionOpen, Name: fmt.Sprintf("open and serve after SIGKILL with %.1f GB on disk", float64(s.OpenBytes)/1e9),
		Unit: "s", Target: 2, AtMost: true})
	n, dir, err := s.node(ctx, map[string]string{"log": "retention = \"unlimited\""})
	if err != nil {
		return err
	}
	defer func() { drop(n, dir) }()
	o := s.bulk(n, "bulk")
	o.Warmup, o.Count = 0, s.OpenBytes/int64(o.RecordSize)
	s.Progress("open: producing %.1f GB", float64(s.OpenBytes)/1e9)
	r, err := RunProduce(ctx, o)
	if err != nil {
		return err
	}
	if !r.Ok() {
		f.Failure = fmt.Sprintf("producing: refused %v, %s", r.Errors, r.Failure)
		return nil
	}
	for rep := range s.Repetitions {
		began, next, err := s.killAndOpen(ctx, n, dir)
		if err != nil {
			return err
		}
		n = next
		f.add(began.Seconds())
		status, err := n.Status(ctx)
		if err != nil {
			return err
		}
		f.Detail = fmt.Sprintf("%d segments, %.2f GB", status.Log.Segments, float64(status.Log.DiskBytes)/1e9)
		if have, err := s.recordsOf(ctx, n); err != nil || have < r.TotalRecords {
			f.Failure = fmt.Sprintf("%d of %d acknowledged records are there after the kill: %v", have, r.TotalRecords, err)
		}
		s.Progress("open, %d/%d: %.2f s (%s)", rep+1, s.Repetitions, began.Seconds(), f.Detail)
	}
	return nil
}

// killAndOpen kills the node while messages come in, starts it again, and returns how long it took until a client was
// served.
func (s *suite) killAndOpen(ctx context.Context, n *child.Node, dir string) (time.Duration, *child.Node, error) {
	loadCtx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o := DefaultMQTTOptions()
		o.Addr, o.Duration = n.MQTT, time.Hour
		_, _ = RunMQTT(loadCtx, o) // it ends by the kill
	}()
	select {
	case <-time.After(s.Span / 2):
	case <-ctx.Done():
	}
	n.Kill()
	stop()
	<-ended
	if ctx.Err() != nil {
		return 0, n, ctx.Err()
	}
	began := time.Now()
	next, err := child.StartNode(ctx, child.NodeOptions{Binary: s.Binary, Dir: dir, Name: "bench",
		Settings: map[string]string{"log": "retention = \"unlimited\""}})
	if err != nil {
		return 0, n, err
	}
	if _, err := s.recordsOf(ctx, next); err != nil {
		return 0, next, err
	}
	return time.Since(began), next, nil
}

// recordsOf asks for the offsets of the bulk topic.
func (s *suite) recordsOf(ctx context.Context, n *child.Node) (int64, error) {
	ranges, err := listRanges(ctx, n.Kafka, "bulk")
	total := int64(0)
	for _, r := range ranges {
		total += r.to - r.from
	}
	return total, err
}
