package load

import (
	"context"
	"fmt"

	"github.com/culvert-mq/culvert/cmd/internal/load/child"
)

// native compares bulk production with a plain file, and fetching with a bare copy.
func (s *suite) native(ctx context.Context) error {
	n, dir, err := s.node(ctx, nil)
	if err != nil {
		return err
	}
	defer drop(n, dir)
	produce := s.figure(Figure{Section: SectionNative, Name: "produce, acks=-1, 1 kB records, 16 partitions", Unit: "of a plain file", Target: 0.8})
	fetch := s.figure(Figure{Section: SectionNative, Name: "fetch from the start", Unit: "of a bare TCP copy", Target: 0.6})
	for rep := range s.Repetitions {
		if err := s.compareProduce(ctx, n, produce); err != nil {
			return err
		}
		s.Progress("native, produce, %d/%d: %.2f (%s)", rep+1, s.Repetitions, produce.Measured, produce.Detail)
	}
	for rep := range s.Repetitions {
		if err := s.compareFetch(ctx, n, fetch); err != nil {
			return err
		}
		s.Progress("native, fetch, %d/%d: %.2f (%s)", rep+1, s.Repetitions, fetch.Measured, fetch.Detail)
	}
	return nil
}

// bulk is the production of the comparison: batches as clients build them when there is much to send.
func (s *suite) bulk(n *child.Node, topic string) ProduceOptions {
	o := DefaultProduceOptions()
	o.Addr, o.Topic, o.Duration, o.Warmup = n.Kafka, topic, s.Span, s.Span/4
	return o
}

// compareProduce produces, asks the node how large its commits were, and writes a plain file in commits of that size.
func (s *suite) compareProduce(ctx context.Context, n *child.Node, f *Figure) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	before, err := n.Status(ctx)
	if err != nil {
		return err
	}
	r, err := RunProduce(ctx, s.bulk(n, "bulk"))
	if err != nil {
		return err
	}
	after, err := n.Status(ctx)
	if err != nil {
		return err
	}
	commits := after.Log.Commits - before.Log.Commits
	if !r.Ok() || r.Bytes == 0 || commits <= 0 {
		f.Failure = fmt.Sprintf("%d bytes in %d commits, refused %v, %s", r.Bytes, commits, r.Errors, r.Failure)
		return nil
	}
	size := min(max((after.Log.BatchBytes-before.Log.BatchBytes)/commits, blockSize), 64<<20)
	if err := s.settle(ctx); err != nil {
		return err
	}
	disk, err := RunDisk(ctx, DiskOptions{Dir: s.dir, CommitSize: size, Bytes: max(r.Bytes, size)})
	if err != nil {
		return err
	}
	f.add(r.MBPerSecond / disk.MBPerSecond)
	f.Detail = fmt.Sprintf("%.0f MB/s, the file %.0f MB/s, commits of %.0f kB", r.MBPerSecond, disk.MBPerSecond, float64(size)/1e3)
	return nil
}

// compareFetch reads what was produced, and copies as many bytes over a bare connection.
func (s *suite) compareFetch(ctx context.Context, n *child.Node, f *Figure) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	o := DefaultFetchOptions()
	o.Addr, o.Topic, o.Duration = n.Kafka, "bulk", s.Span
	r, err := RunFetch(ctx, o)
	if err != nil {
		return err
	}
	if !r.Ok() || r.Bytes == 0 {
		f.Failure = fmt.Sprintf("%d bytes read, %d corrupt batches, %d gaps: %s", r.Bytes, r.Corrupt, r.Gaps, r.Failure)
		return nil
	}
	c, err := RunCopy(ctx, r.Bytes)
	if err != nil {
		return err
	}
	f.add(r.MBPerSecond / c.MBPerSecond)
	f.Detail = fmt.Sprintf("%.0f MB/s, the copy %.0f MB/s", r.MBPerSecond, c.MBPerSecond)
	return nil
}
