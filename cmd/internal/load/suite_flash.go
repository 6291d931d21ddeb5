package load

import (
	"context"
	"fmt"
	"time"

	"github.com/culvert-mq/culvert/cmd/internal/load/child"
)

// flash measures what reaches the device: cards wear by the byte.
func (s *suite) flash(ctx context.Context) error {
	for _, c := range []struct {
		linger string
		target float64
	}{{"0s", 5300}, {"50ms", 240}} {
		f := s.figure(Figure{Section: SectionFlash, Name: "device bytes per 150-byte reading at 1,000/s, linger " + c.linger, Unit: "bytes",
			Target: c.target, AtMost: true})
		n, dir, err := s.node(ctx, map[string]string{"commit": fmt.Sprintf("linger = %q", c.linger)})
		if err != nil {
			return err
		}
		err = s.repeat(ctx, f, func() error { return s.flashReadings(ctx, n, f) })
		drop(n, dir)
		if err != nil {
			return err
		}
	}
	n, dir, err := s.node(ctx, nil)
	if err != nil {
		return err
	}
	defer drop(n, dir)
	for _, c := range []struct {
		size   int
		target float64
	}{{300_000, 1.2}, {1_000_000, 1.05}} {
		f := s.figure(Figure{Section: SectionFlash, Name: fmt.Sprintf("device bytes per byte of batches, bulk in groups of %d kB", c.size/1000),
			Target: c.target, AtMost: true})
		if err := s.repeat(ctx, f, func() error { return s.flashBulk(ctx, n, c.size, f) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) repeat(ctx context.Context, f *Figure, measure func() error) error {
	for rep := range s.Repetitions {
		if err := s.settle(ctx); err != nil {
			return err
		}
		if err := measure(); err != nil {
			return err
		}
		s.Progress("%s, %s, %d/%d: %.2f (%s)", f.Section, f.Name, rep+1, s.Repetitions, f.Measured, f.Detail+f.Failure)
	}
	return nil
}

// absorbed is how long the node may take to write what its journal holds; then all that a load caused is written.
const absorbed = 1500 * time.Millisecond

// written runs a load and returns what the device wrote meanwhile and until all of it was absorbed, and what the node
// itself handed to the file system: the difference is the file system's own, and everybody else's.
func (s *suite) written(ctx context.Context, n *child.Node, load func() error) (device, handed int64, err error) {
	syncAll()
	before, err := deviceWritten(s.dir)
	if err != nil {
		return 0, 0, err
	}
	status, err := n.Status(ctx)
	if err != nil {
		return 0, 0, err
	}
	handed = -status.Log.WrittenBytes
	if err := load(); err != nil {
		return 0, 0, err
	}
	select {
	case <-time.After(absorbed):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	if status, err = n.Status(ctx); err != nil {
		return 0, 0, err
	}
	syncAll()
	after, err := deviceWritten(s.dir)
	return after - before, handed + status.Log.WrittenBytes, err
}

func (s *suite) flashReadings(ctx context.Context, n *child.Node, f *Figure) error {
	o := DefaultMQTTOptions()
	o.Addr, o.Rate, o.Duration, o.Warmup = n.MQTT, 1000, 2*s.Span, 0
	var r *MQTTReport
	bytes, handed, err := s.written(ctx, n, func() (err error) {
		r, err = RunMQTT(ctx, o)
		return err
	})
	if err != nil {
		return err
	}
	if !r.Ok() || r.Acked == 0 {
		f.Failure = fmt.Sprintf("%d acknowledged, %d not: %s", r.Acked, r.Unacked, r.Failure)
		return nil
	}
	f.add(float64(bytes) / float64(r.Sent))
	f.Detail = fmt.Sprintf("%.2f MB for %d readings, of these %.2f MB from the node; p50 %.0f us", float64(bytes)/1e6, r.Sent,
		float64(handed)/1e6, r.Latency.P50)
	return nil
}

// flashBulk produces one batch at a time, so that each is a group.
func (s *suite) flashBulk(ctx context.Context, n *child.Node, size int, f *Figure) error {
	o := s.bulk(n, fmt.Sprintf("bulk-%d", size))
	o.Window, o.BatchBytes, o.Warmup = 1, size, 0
	var r *ProduceReport
	bytes, handed, err := s.written(ctx, n, func() (err error) {
		r, err = RunProduce(ctx, o)
		return err
	})
	if err != nil {
		return err
	}
	if !r.Ok() || r.TotalBytes == 0 {
		f.Failure = fmt.Sprintf("%d bytes, refused %v, %s", r.TotalBytes, r.Errors, r.Failure)
		return nil
	}
	f.add(float64(bytes) / float64(r.TotalBytes))
	f.Detail = fmt.Sprintf("%.1f MB for %.1f MB of batches, of these %.1f MB from the node", float64(bytes)/1e6,
		float64(r.TotalBytes)/1e6, float64(handed)/1e6)
	return nil
}
