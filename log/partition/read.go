package partition

import (
	"errors"
	"fmt"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// decodeLimit bounds what a batch may decompress to when it is searched for a time, in bytes.
const decodeLimit = 64 << 20

// Read returns whole batches from the one that holds offset from, about size bytes, at least one; an empty span at the
// end. Only what is before limit, and durable, is returned. Errors: ErrOffsetOutOfRange, ErrGone.
func (p *Partition) Read(from, limit int64, size int) (*store.Span, error) {
	start, end := p.start.Load(), p.end.Load()
	if from < start || from > end {
		return nil, fmt.Errorf("%w: offset %d of %d to %d", ErrOffsetOutOfRange, from, start, end)
	}
	s, err := p.log.Read(from, min(limit, end), size)
	return s, dropped(err)
}

// dropped tells that the partition was deleted in this package's words.
func dropped(err error) error {
	if errors.Is(err, store.ErrDropped) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// OffsetForTime returns the first record with a timestamp at or past ts (ms): its offset, its timestamp and the leader
// epoch it was written under. All are -1 when there is none.
func (p *Partition) OffsetForTime(ts int64) (offset, timestamp int64, epoch int32, err error) {
	for from := p.start.Load(); from < p.end.Load(); {
		s, err := p.log.ReadTime(ts, from, p.end.Load())
		if err != nil {
			return -1, -1, -1, dropped(err)
		}
		if len(s.Batches) == 0 {
			s.Release()
			break
		}
		b := s.Batches[0]
		from = b.NextOffset() // where to go on if the batch's records are all older than it says
		offset, timestamp, err = search(b, ts, p.start.Load())
		epoch = b.LeaderEpoch()
		s.Release()
		if err != nil || offset >= 0 {
			return offset, timestamp, epoch, err
		}
	}
	return -1, -1, -1, nil
}

func search(b record.Batch, ts, start int64) (offset, timestamp int64, err error) {
	var r record.Reader
	defer r.Close()
	if err := r.Reset(b, decodeLimit); err != nil {
		return -1, -1, err
	}
	for r.Next() {
		if rec := r.Record(); rec.Timestamp >= ts && rec.Offset >= start {
			return rec.Offset, rec.Timestamp, nil
		}
	}
	return -1, -1, r.Err()
}

// MaxTime returns the record with the largest timestamp: its offset and timestamp, -1 for both where there is none.
func (p *Partition) MaxTime() (offset, timestamp int64, err error) {
	ts := p.log.MaxTime()
	if ts < 0 {
		return -1, -1, nil
	}
	offset, timestamp, _, err = p.OffsetForTime(ts)
	return offset, timestamp, err
}
