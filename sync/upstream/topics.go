package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// centralTopic is a topic at the centre, for all the partitions that go there. Before the first record is sent, and
// after the centre said that it does not know it, it is looked up and, if that is wanted, created.
type centralTopic struct {
	name    string
	illegal error // the name is none; it stays that way

	mu       sync.Mutex
	ready    bool
	busy     bool // being looked up
	purge    bool // the producer must forget what it knows of it
	err      error
	failures int
	retryAt  time.Time
	askedAt  time.Time // when the last lookup ended without an answer; zero when it had one
	warnedAt time.Time
}

// ErrTopicMissing tells that the centre does not have the topic and that it may not be created.
var ErrTopicMissing = errors.New("upstream: topic is missing at the centre and is not to be created")

// state tells whether records may be sent, and if not, whether it is time to look the topic up, or when it will be.
// A lookup that had no answer is repeated as soon as the centre has answered anything.
func (t *centralTopic) state(now, answered time.Time) (ready, due bool, retryAt time.Time, err error) {
	if t.illegal != nil {
		return false, false, time.Time{}, t.illegal
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	back := !t.askedAt.IsZero() && answered.After(t.askedAt)
	return t.ready, !t.ready && !t.busy && (back || !now.Before(t.retryAt)), t.retryAt, t.err
}

// missing takes note that the centre does not know the topic, or knows another one by its name.
func (t *centralTopic) missing(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready, t.purge, t.err = false, true, err
}

// mayWarn tells whether a warning about the topic is due: it has one a minute, however many partitions.
func (t *centralTopic) mayWarn(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.warnedAt) < time.Minute {
		return false
	}
	t.warnedAt = now
	return true
}

// lookupTimeout bounds one look at the centre's topics. A centre that is away takes longer; it is asked again.
const lookupTimeout = 30 * time.Second

// lookup looks the topics up and creates what is missing. One runs at a time.
func (w *Forwarder) lookup(ctx context.Context, cl *kgo.Client, topics []*centralTopic) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	byName := map[string]*centralTopic{}
	names := make([]string, 0, len(topics))
	for _, t := range topics {
		byName[t.name] = t
		names = append(names, t.name)
		t.mu.Lock()
		purge := t.purge
		t.purge = false
		t.mu.Unlock()
		if purge {
			cl.PurgeTopicsFromProducing(t.name)
		}
	}
	results, err := w.ensure(ctx, kadm.NewClient(cl), names)
	now := time.Now()
	for name, t := range byName {
		terr := results[name]
		t.mu.Lock()
		t.busy, t.askedAt = false, time.Time{}
		switch {
		case err != nil: // nothing was learnt
			t.failures++
			t.askedAt = now
			t.retryAt = now.Add(backoff(t.failures, dialBackoff, w.cfg.MaxBackoff))
		case terr != nil:
			t.err = terr
			t.failures++
			t.retryAt = now.Add(backoff(t.failures, holdBackoff, w.cfg.MaxBackoff))
		default:
			t.ready, t.err, t.failures = true, nil, 0
		}
		t.mu.Unlock()
		if terr != nil {
			w.metrics.errors.WithLabelValues(reason(terr)).Inc()
			if t.mayWarn(now) {
				w.log.Warn("a topic at the centre cannot be used; its partitions wait", "topic", name, "err", terr)
			}
		}
	}
	if err != nil && ctx.Err() == nil && w.link.quietFor() < askAfter { // else the link tells
		w.metrics.errors.WithLabelValues(reason(err)).Inc()
		w.log.Warn("cannot look up topics at the centre", "err", err)
	}
}

// ensure returns what keeps each of the topics from being used, nil for those that exist now.
func (w *Forwarder) ensure(ctx context.Context, adm *kadm.Client, names []string) (map[string]error, error) {
	found, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("upstream: looking topics up: %w", err)
	}
	results := map[string]error{}
	var create []string
	for _, name := range names {
		td, ok := found[name]
		switch {
		case ok && td.Err == nil:
			results[name] = nil
		case ok && !errors.Is(td.Err, kerr.UnknownTopicOrPartition):
			if kerr.IsRetriable(td.Err) {
				results[name] = nil // it exists; the producer waits for its leaders
			} else {
				results[name] = td.Err
			}
		case !w.cfg.Create.Enabled:
			results[name] = ErrTopicMissing
		default:
			create = append(create, name)
		}
	}
	if len(create) == 0 {
		return results, nil
	}
	made, err := adm.CreateTopics(ctx, w.cfg.Create.Partitions, w.cfg.Create.Replication, nil, create...)
	if err != nil {
		return nil, fmt.Errorf("upstream: creating topics: %w", err)
	}
	for _, name := range create {
		switch r, ok := made[name]; {
		case !ok:
			results[name] = fmt.Errorf("upstream: the centre did not answer for topic %s", name)
		case r.Err == nil:
			w.log.Info("created a topic at the centre", "topic", name, "partitions", r.NumPartitions)
			results[name] = nil
		case errors.Is(r.Err, kerr.TopicAlreadyExists):
			results[name] = nil
		default:
			results[name] = fmt.Errorf("upstream: creating topic %s: %w", name, errors.Join(r.Err, messageOf(r.ErrMessage)))
		}
	}
	return results, nil
}

func messageOf(s string) error {
	if s == "" {
		return nil
	}
	return errors.New(s)
}
