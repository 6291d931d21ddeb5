package kafka

import (
	"errors"
	"fmt"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/sync/meta"
)

const (
	// inflateLimit is how large the records of a batch may become when they are decompressed. It is below what reading
	// them again allows.
	inflateLimit = 32 << 20
	// maxErrorRecords is how many records of a batch an answer tells the error of.
	maxErrorRecords = 1000
)

// Why a producer's records are refused, beside what record.Batch.Check finds.
var (
	errOldFormat          = errors.New("message formats before magic 2 are not stored")
	errNoTransactions     = errors.New("transactions are not served")
	errAcks               = errors.New("acks must be -1, 0 or 1")
	errOneBatch           = errors.New("exactly one record batch is needed for each partition")
	errMessageTooLarge    = errors.New("the record batch is larger than max.message.bytes")
	errZstdTooEarly       = errors.New("zstd needs version 7 of Produce")
	errTransactionalBatch = errors.New("the record batch belongs to a transaction, of which there are none")
	errInternalTopic      = errors.New("the topic is internal")
)

// rejected tells which records of a batch are to blame.
type rejected struct {
	code    errorCode
	reason  string
	records []int32
}

func (e *rejected) Error() string { return "one or more records have been rejected: " + e.reason }

// checkRecords returns the one batch that records must be, ready to be appended to the partition.
func (s *Server) checkRecords(q *call, part Partition, records []byte) (record.Batch, error) {
	if len(records) == 0 {
		return nil, errOneBatch
	}
	b, rest, err := record.Split(records)
	cfg := part.Config()
	switch {
	case err != nil:
		return nil, err
	case len(rest) > 0:
		return nil, errOneBatch
	case len(b) > int(cfg.MaxMessageBytes):
		return nil, fmt.Errorf("%w: %d bytes, %d are allowed", errMessageTooLarge, len(b), cfg.MaxMessageBytes)
	case b.Attributes().Codec() == record.Zstd && q.version < 7:
		return nil, errZstdTooEarly
	}
	facts, err := b.Examine(inflateLimit)
	switch {
	case err != nil:
		return nil, err
	case b.Attributes().Transactional():
		return nil, errTransactionalBatch
	case cfg.Compact && facts.NullKeys > 0:
		return nil, blame(b, codeInvalidRecord, "a compacted topic needs keys", func(r *record.Record) bool { return r.Key == nil })
	}
	if cfg.TimestampType == meta.CreateTime {
		if err := s.checkTimes(b, cfg, facts); err != nil {
			return nil, err
		}
		if facts.MaxTimestamp != b.MaxTimestamp() {
			b.SetMaxTimestamp(facts.MaxTimestamp)
		}
	}
	if cfg.CompressionType == "producer" {
		return b, nil
	}
	return recompressed(b, cfg)
}

// checkTimes compares the records' timestamps with the broker's clock. -1 stands for none and is allowed.
func (s *Server) checkTimes(b record.Batch, cfg *meta.TopicConfig, facts record.Facts) error {
	now := s.cfg.Now().UnixMilli()
	oldest := now - cfg.TimestampBeforeMaxMs
	if facts.MinTimestamp >= oldest && facts.MaxTimestamp-cfg.TimestampAfterMaxMs <= now {
		return nil
	}
	return blame(b, codeInvalidTimestamp, "the timestamp is too far from the broker's clock", func(r *record.Record) bool {
		return r.Timestamp != -1 && (r.Timestamp < oldest || r.Timestamp-cfg.TimestampAfterMaxMs > now)
	})
}

// blame finds the records that are to blame, and returns no error if there are none.
func blame(b record.Batch, code errorCode, reason string, bad func(*record.Record) bool) error {
	e := &rejected{code: code, reason: reason}
	var r record.Reader
	defer r.Close()
	if err := r.Reset(b, inflateLimit); err != nil {
		return err
	}
	for i := int32(0); r.Next() && len(e.records) < maxErrorRecords; i++ {
		if bad(r.Record()) {
			e.records = append(e.records, i)
		}
	}
	switch {
	case r.Err() != nil:
		return r.Err()
	case len(e.records) == 0:
		return nil
	}
	return e
}

// recompressed returns b as the topic's compression.type asks.
func recompressed(b record.Batch, cfg *meta.TopicConfig) (record.Batch, error) {
	codec, err := record.ParseCodec(cfg.CompressionType)
	if err != nil {
		return nil, err
	}
	if b, err = record.Recompress(b, codec, nil, inflateLimit); err != nil {
		return nil, err
	}
	if len(b) > int(cfg.MaxMessageBytes) {
		return nil, fmt.Errorf("%w: %d bytes after recompression, %d are allowed", errMessageTooLarge, len(b), cfg.MaxMessageBytes)
	}
	return b, nil
}
