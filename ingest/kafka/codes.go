package kafka

import "strconv"

// errorCode is an error of the protocol as it stands in an answer. Zero is success.
type errorCode int16

// The codes that culvert answers with.
const (
	codeNone                         errorCode = 0
	codeUnknownServerError           errorCode = -1
	codeOffsetOutOfRange             errorCode = 1
	codeCorruptMessage               errorCode = 2
	codeUnknownTopicOrPartition      errorCode = 3
	codeLeaderNotAvailable           errorCode = 5
	codeNotLeaderOrFollower          errorCode = 6
	codeRequestTimedOut              errorCode = 7
	codeMessageTooLarge              errorCode = 10
	codeOffsetMetadataTooLarge       errorCode = 12
	codeCoordinatorLoadInProgress    errorCode = 14
	codeCoordinatorNotAvailable      errorCode = 15
	codeNotCoordinator               errorCode = 16
	codeInvalidTopic                 errorCode = 17
	codeInvalidRequiredAcks          errorCode = 21
	codeIllegalGeneration            errorCode = 22
	codeInvalidGroupID               errorCode = 24
	codeUnknownMemberID              errorCode = 25
	codeInvalidTimestamp             errorCode = 32
	codeUnsupportedVersion           errorCode = 35
	codeTopicAlreadyExists           errorCode = 36
	codeInvalidPartitions            errorCode = 37
	codeInvalidReplicationFactor     errorCode = 38
	codeInvalidReplicaAssignment     errorCode = 39
	codeInvalidConfig                errorCode = 40
	codeNotController                errorCode = 41
	codeInvalidRequest               errorCode = 42
	codePolicyViolation              errorCode = 44
	codeOutOfOrderSequence           errorCode = 45
	codeInvalidProducerEpoch         errorCode = 47
	codeInvalidTxnState              errorCode = 48
	codeTransactionalIDAuthorization errorCode = 53
	codeKafkaStorageError            errorCode = 56
	codeFetchSessionIDNotFound       errorCode = 70
	codeInvalidFetchSessionEpoch     errorCode = 71
	codeTopicDeletionDisabled        errorCode = 73
	codeFencedLeaderEpoch            errorCode = 74
	codeUnknownLeaderEpoch           errorCode = 75
	codeUnsupportedCompressionType   errorCode = 76
	codeInvalidRecord                errorCode = 87
	codeThrottlingQuotaExceeded      errorCode = 89
	codeUnknownTopicID               errorCode = 100
	codeBrokerIDNotRegistered        errorCode = 102
	codeInconsistentTopicID          errorCode = 103
	codeInconsistentClusterID        errorCode = 104
	codeFetchSessionTopicIDError     errorCode = 106
	codeMismatchedEndpointType       errorCode = 114
	codeUnsupportedEndpointType      errorCode = 115
)

var codeNames = map[errorCode]string{
	codeNone:                         "NONE",
	codeUnknownServerError:           "UNKNOWN_SERVER_ERROR",
	codeOffsetOutOfRange:             "OFFSET_OUT_OF_RANGE",
	codeCorruptMessage:               "CORRUPT_MESSAGE",
	codeUnknownTopicOrPartition:      "UNKNOWN_TOPIC_OR_PARTITION",
	codeLeaderNotAvailable:           "LEADER_NOT_AVAILABLE",
	codeNotLeaderOrFollower:          "NOT_LEADER_OR_FOLLOWER",
	codeRequestTimedOut:              "REQUEST_TIMED_OUT",
	codeMessageTooLarge:              "MESSAGE_TOO_LARGE",
	codeOffsetMetadataTooLarge:       "OFFSET_METADATA_TOO_LARGE",
	codeCoordinatorLoadInProgress:    "COORDINATOR_LOAD_IN_PROGRESS",
	codeCoordinatorNotAvailable:      "COORDINATOR_NOT_AVAILABLE",
	codeNotCoordinator:               "NOT_COORDINATOR",
	codeInvalidTopic:                 "INVALID_TOPIC_EXCEPTION",
	codeInvalidRequiredAcks:          "INVALID_REQUIRED_ACKS",
	codeIllegalGeneration:            "ILLEGAL_GENERATION",
	codeInvalidGroupID:               "INVALID_GROUP_ID",
	codeUnknownMemberID:              "UNKNOWN_MEMBER_ID",
	codeInvalidTimestamp:             "INVALID_TIMESTAMP",
	codeUnsupportedVersion:           "UNSUPPORTED_VERSION",
	codeTopicAlreadyExists:           "TOPIC_ALREADY_EXISTS",
	codeInvalidPartitions:            "INVALID_PARTITIONS",
	codeInvalidReplicationFactor:     "INVALID_REPLICATION_FACTOR",
	codeInvalidReplicaAssignment:     "INVALID_REPLICA_ASSIGNMENT",
	codeInvalidConfig:                "INVALID_CONFIG",
	codeNotController:                "NOT_CONTROLLER",
	codeInvalidRequest:               "INVALID_REQUEST",
	codePolicyViolation:              "POLICY_VIOLATION",
	codeOutOfOrderSequence:           "OUT_OF_ORDER_SEQUENCE_NUMBER",
	codeInvalidProducerEpoch:         "INVALID_PRODUCER_EPOCH",
	codeInvalidTxnState:              "INVALID_TXN_STATE",
	codeTransactionalIDAuthorization: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
	codeKafkaStorageError:            "KAFKA_STORAGE_ERROR",
	codeFetchSessionIDNotFound:       "FETCH_SESSION_ID_NOT_FOUND",
	codeInvalidFetchSessionEpoch:     "INVALID_FETCH_SESSION_EPOCH",
	codeTopicDeletionDisabled:        "TOPIC_DELETION_DISABLED",
	codeFencedLeaderEpoch:            "FENCED_LEADER_EPOCH",
	codeUnknownLeaderEpoch:           "UNKNOWN_LEADER_EPOCH",
	codeUnsupportedCompressionType:   "UNSUPPORTED_COMPRESSION_TYPE",
	codeInvalidRecord:                "INVALID_RECORD",
	codeThrottlingQuotaExceeded:      "THROTTLING_QUOTA_EXCEEDED",
	codeUnknownTopicID:               "UNKNOWN_TOPIC_ID",
	codeBrokerIDNotRegistered:        "BROKER_ID_NOT_REGISTERED",
	codeInconsistentTopicID:          "INCONSISTENT_TOPIC_ID",
	codeInconsistentClusterID:        "INCONSISTENT_CLUSTER_ID",
	codeFetchSessionTopicIDError:     "FETCH_SESSION_TOPIC_ID_ERROR",
	codeMismatchedEndpointType:       "MISMATCHED_ENDPOINT_TYPE",
	codeUnsupportedEndpointType:      "UNSUPPORTED_ENDPOINT_TYPE",
}

// String returns the name that Kafka has for the code.
func (e errorCode) String() string {
	if name, ok := codeNames[e]; ok {
		return name
	}
	return "code " + strconv.Itoa(int(e))
}
