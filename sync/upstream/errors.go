package upstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// failure is what an error of a record asks for.
type failure int

const (
	// failClosed: the producer was closed under the record. Try again soon, or not at all when we are stopping.
	failClosed failure = iota
	// failRecord: the centre does not take one of the records in the batch.
	failRecord
	// failTopic: the topic is missing, or another than it was. Look at it again before sending.
	failTopic
	// failHeld: anything else, most of which somebody at the centre can put right.
	failHeld
	// failProducer: likewise, but the producer does not recover from it by itself.
	failProducer
)

// errLarge drains a partition in front of a record that does not fit into a batch of the usual size.
var errLarge = fmt.Errorf("upstream: record is larger than a batch: %w", kerr.MessageTooLarge)

// errNotSent marks a record that was not handed to the producer because one before it had failed.
var errNotSent = errors.New("upstream: a record before this one failed")

func classify(err error) failure {
	switch {
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting), errors.Is(err, context.Canceled), errors.Is(err, errNotSent):
		return failClosed
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.InvalidRecord),
		errors.Is(err, kerr.InvalidTimestamp):
		return failRecord
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID):
		return failTopic
	case errors.Is(err, kerr.ClusterAuthorizationFailed), errors.Is(err, kerr.TransactionalIDAuthorizationFailed),
		errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.ProducerFenced), errors.Is(err, kerr.UnsupportedVersion):
		return failProducer
	}
	return failHeld
}

// reason is the protocol's name of an error, for metric labels: a small set.
func reason(err error) string {
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return ke.Message
	}
	return "OTHER"
}
