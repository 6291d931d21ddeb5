package kafka

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/group"
	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/quorum"
	"github.com/culvert-mq/culvert/sync/replica"
)

var (
	errDeletionDisabled = errors.New("delete.topic.enable is false")
	errUnknownTopicID   = errors.New("unknown topic id")
	errCommitTimeout    = errors.New("the records are not durable yet")
)

// codeOf is the only mapping from errors of the domain to codes of the protocol. What it does not know is an
// UNKNOWN_SERVER_ERROR, which clients take as final.
func codeOf(err error) errorCode {
	if err == nil {
		return codeNone
	}
	if r, ok := errors.AsType[*rejected](err); ok {
		return r.code
	}
	if _, ok := errors.AsType[*store.DamageError](err); ok {
		return codeKafkaStorageError
	}
	for i := range codesByError {
		if errors.Is(err, codesByError[i].err) {
			return codesByError[i].code
		}
	}
	return codeUnknownServerError
}

var codesByError = []struct {
	err  error
	code errorCode
}{
	{record.ErrShort, codeCorruptMessage},
	{record.ErrCorrupt, codeCorruptMessage},
	{record.ErrMagic, codeInvalidRecord},
	{record.ErrInvalid, codeInvalidRecord},
	{record.ErrTimestamp, codeInvalidTimestamp},
	{record.ErrCodec, codeUnsupportedCompressionType},
	{record.ErrTooLarge, codeMessageTooLarge},

	{group.ErrInvalidGroup, codeInvalidGroupID}, // before meta.ErrInvalidRequest, which it wraps

	{meta.ErrTopicExists, codeTopicAlreadyExists},
	{meta.ErrUnknownTopic, codeUnknownTopicOrPartition},
	{meta.ErrUnknownTopicID, codeUnknownTopicID},
	{meta.ErrInvalidTopic, codeInvalidTopic},
	{meta.ErrInvalidPartitions, codeInvalidPartitions},
	{meta.ErrInvalidReplicationFactor, codeInvalidReplicationFactor},
	{meta.ErrInvalidReplicaAssignment, codeInvalidReplicaAssignment},
	{meta.ErrInvalidConfig, codeInvalidConfig},
	{meta.ErrInvalidRequest, codeInvalidRequest},
	{meta.ErrPolicyViolation, codePolicyViolation},
	{meta.ErrUnknownBroker, codeBrokerIDNotRegistered},
	{meta.ErrClusterID, codeInconsistentClusterID},

	{group.ErrUnknownMember, codeUnknownMemberID}, // before the error that it wraps
	{group.ErrIllegalGeneration, codeIllegalGeneration},

	{quorum.ErrNotLeader, codeNotController}, // retriable: clients look for the controller
	{quorum.ErrClosed, codeNotController},
	{quorum.ErrUnknownOutcome, codeRequestTimedOut},

	{replica.ErrUnknownTopicOrPartition, codeUnknownTopicOrPartition},
	{replica.ErrNotLeader, codeNotLeaderOrFollower},
	{replica.ErrGone, codeUnknownTopicOrPartition},
	{replica.ErrOffsetOutOfRange, codeOffsetOutOfRange},
	{replica.ErrTooLarge, codeMessageTooLarge},
	{store.ErrFull, codeKafkaStorageError}, // retriable: clients wait for space
	{store.ErrFailed, codeKafkaStorageError},
	{store.ErrClosed, codeNotLeaderOrFollower}, // shutting down: clients look for the leader and come back
	{store.ErrOutOfOrderSequence, codeOutOfOrderSequence},
	{store.ErrInvalidProducerEpoch, codeInvalidProducerEpoch},

	{errOldFormat, codeUnsupportedVersion},
	{errNoTransactions, codeTransactionalIDAuthorization},
	{errAcks, codeInvalidRequiredAcks},
	{errOneBatch, codeInvalidRecord},
	{errMessageTooLarge, codeMessageTooLarge},
	{errZstdTooEarly, codeUnsupportedCompressionType},
	{errTransactionalBatch, codeInvalidTxnState},
	{errInternalTopic, codeInvalidTopic},
	{errUnknownTopicID, codeUnknownTopicID},
	{errCommitTimeout, codeRequestTimedOut},

	{errDeletionDisabled, codeTopicDeletionDisabled},
	{errKeepsRecords, codePolicyViolation},
	{context.DeadlineExceeded, codeRequestTimedOut},
}

// errorText is the message that goes with a code where the protocol has a field for it.
func errorText(err error) *string {
	if err == nil {
		return nil
	}
	text := err.Error()
	if codeOf(err) == codeUnknownServerError {
		text = "internal error" // what it was stands in the log of the node
	}
	return &text
}

// errorRecords tells which records of a batch were the cause, where that is known.
func errorRecords(err error) []kmsg.ProduceResponseTopicPartitionErrorRecord {
	var at []int32
	var reason string
	if r, ok := errors.AsType[*rejected](err); ok {
		at, reason = r.records, r.reason
	} else if e, ok := errors.AsType[*record.Error](err); ok && e.Record >= 0 {
		at, reason = []int32{e.Record}, e.Reason
	}
	out := make([]kmsg.ProduceResponseTopicPartitionErrorRecord, len(at))
	for i := range at {
		out[i].Default()
		out[i].RelativeOffset, out[i].ErrorMessage = at[i], &reason
	}
	return out
}
