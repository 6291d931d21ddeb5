package mqtt

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// retainedIndex knows where in the log the retained message of each MQTT topic is. It is nothing but what RetainedTopic
// says when it is read from its start, so it is built by reading it, on start as well as later: follow reads what was
// committed since the last time. A SUBSCRIBE follows first, hence finds every message that was acknowledged before.
// Payloads stay in the log.
type retainedIndex struct {
	srv *Server

	count atomic.Int64 // topics
	bytes atomic.Int64 // sum of the places' sizes

	mu      sync.Mutex
	sources []Source // partitions of RetainedTopic
	read    []int64  // how far each was read
	root    retainedNode
}

// retainedNode is a level of the topics that lead to it.
type retainedNode struct {
	children branches[retainedNode]
	at       *place
}

// place is where a retained message is.
type place struct {
	source int32 // index into the sources
	size   int32 // of topic and payload, and what the index itself takes
	offset int64
}

// found is a retained message that a subscription asks for.
type found struct {
	place
	qos byte // granted
}

// retainedChunk is how much of RetainedTopic is read at a time.
const retainedChunk = 1 << 20

// stale tells whether there is something to follow that nobody follows just now.
func (x *retainedIndex) stale() bool {
	sources := retainedSources(x.srv.log.Sources())
	if !x.mu.TryLock() {
		return false
	}
	defer x.mu.Unlock()
	if !slices.Equal(sources, x.sources) {
		return true
	}
	for i, src := range sources {
		if _, end := src.Bounds(); end > x.read[i] {
			return true
		}
	}
	return false
}

// retainedSources picks the partitions of RetainedTopic.
func retainedSources(all []Source) []Source {
	var out []Source
	for _, src := range all {
		if src.Topic() == RetainedTopic {
			out = append(out, src)
		}
	}
	return out
}

// follow reads what was committed to RetainedTopic since the last time. When its partitions changed it starts anew.
func (x *retainedIndex) follow() {
	sources := retainedSources(x.srv.log.Sources())
	x.mu.Lock()
	defer x.mu.Unlock()
	if !slices.Equal(sources, x.sources) {
		x.sources = sources
		x.read = make([]int64, len(sources))
		x.root = retainedNode{}
		x.count.Store(0)
		x.bytes.Store(0)
		for i, src := range sources {
			x.read[i], _ = src.Bounds()
		}
	}
	for i, src := range sources {
		x.followSource(int32(i), src)
	}
	x.srv.metrics.Retained.Set(float64(x.count.Load()))
}

// followSource reads one partition to its end.
func (x *retainedIndex) followSource(i int32, src Source) {
	for {
		start, end := src.Bounds()
		from := max(x.read[i], start)
		if from >= end {
			x.read[i] = from
			return
		}
		next, err := src.Read(from, retainedChunk, func(r *Record) bool {
			x.apply(i, r)
			return true
		})
		if err != nil {
			x.srv.limited.warn(x.srv.logger, "mqtt: reading retained messages", "partition", src.Index(), "offset", from, "error", err)
			if errors.Is(err, ErrOutOfRange) {
				continue // the start moved in between
			}
		}
		if next <= from {
			return
		}
		x.read[i] = next
	}
}

// apply takes one record of RetainedTopic.
func (x *retainedIndex) apply(source int32, r *Record) {
	if checkTopicName(typePublish, r.Key) != nil || len(r.Key) > maxTopicBytes {
		return // not written by a server
	}
	topic := string(r.Key)
	if len(r.Value) == 0 {
		x.forget(topic)
		return
	}
	size := levelsCost(topic) + len(r.Value)
	old := 0
	if n := x.root.find(topic, false); n != nil && n.at != nil {
		old = int(n.at.size)
	}
	if !x.fits(size, old) {
		x.forget(topic) // what it replaces is not the retained message any more [MQTT-3.3.1-7]
		x.refused()
		return
	}
	n := x.root.find(topic, true)
	if n.at == nil {
		x.count.Add(1)
	}
	n.at = &place{source: source, offset: r.Offset, size: int32(size)} //nolint:gosec // G115: records are smaller than 2 GiB
	x.bytes.Add(int64(size - old))
}

// refused counts a message that is not retained.
func (x *retainedIndex) refused() {
	x.srv.metrics.RetainedRefused.Inc()
	x.srv.limited.warn(x.srv.logger, "mqtt: the bound for retained messages is reached; a message is stored but not retained",
		"messages", x.count.Load(), "bytes", x.bytes.Load())
}

// forget removes a topic.
func (x *retainedIndex) forget(topic string) {
	if at := x.root.remove(topic); at != nil {
		x.count.Add(-1)
		x.bytes.Add(-int64(at.size))
	}
}

// fits tells whether the bounds allow a message of some size in place of one of size old, 0 if there is none.
func (x *retainedIndex) fits(size, old int) bool {
	cfg := &x.srv.cfg
	return (old > 0 || x.count.Load() < int64(cfg.MaxRetained)) && x.bytes.Load()+int64(size-old) <= cfg.MaxRetainedBytes
}

// accepts tells whether a message is to be retained: whether it deletes one, replaces one, or the bounds leave room.
func (x *retainedIndex) accepts(topic string, payload int) bool {
	size := levelsCost(topic) + payload
	if payload == 0 || x.fits(size, 0) {
		return true
	}
	x.mu.Lock()
	n := x.root.find(topic, false)
	ok := n != nil && n.at != nil && x.fits(size, int(n.at.size))
	x.mu.Unlock()
	if !ok {
		x.refused()
	}
	return ok
}

// find returns the node of topic, which it makes if asked to.
func (n *retainedNode) find(topic string, create bool) *retainedNode {
	for rest, more := topic, true; more; {
		var level string
		level, rest, more = cutLevel(rest)
		c := n.children.get(level)
		if c == nil {
			if !create {
				return nil
			}
			c = &retainedNode{}
			n.children.add(level, c)
		}
		n = c
	}
	return n
}

// remove removes topic below n and returns where it was.
func (n *retainedNode) remove(topic string) *place {
	level, rest, more := cutLevel(topic)
	c := n.children.get(level)
	if c == nil {
		return nil
	}
	var at *place
	if more {
		at = c.remove(rest)
	} else {
		at, c.at = c.at, nil
	}
	if at != nil && c.at == nil && c.children.empty() {
		n.children.remove(level)
	}
	return at
}

// match calls visit for every topic below n that matches filter. wild is false for the first level of topics that begin
// with $.
func (n *retainedNode) match(filter string, first bool, visit func(*place)) {
	level, rest, more := cutLevel(filter)
	switch level {
	case "#":
		if !first && n.at != nil {
			visit(n.at) // sport/# matches sport
		}
		n.all(first, visit)
	case "+":
		n.children.each(func(name string, c *retainedNode) {
			if !first || !strings.HasPrefix(name, "$") { // [MQTT-4.7.2-1]
				c.matched(rest, more, visit)
			}
		})
	default:
		if c := n.children.get(level); c != nil {
			c.matched(rest, more, visit)
		}
	}
}

func (n *retainedNode) matched(rest string, more bool, visit func(*place)) {
	if more {
		n.match(rest, false, visit)
	} else if n.at != nil {
		visit(n.at)
	}
}

// all visits every topic below n.
func (n *retainedNode) all(first bool, visit func(*place)) {
	n.children.each(func(name string, c *retainedNode) {
		if first && strings.HasPrefix(name, "$") {
			return
		}
		if c.at != nil {
			visit(c.at)
		}
		c.all(false, visit)
	})
}

// retainedJob is the delivery of retained messages to a session after a SUBSCRIBE: it goes through the places that match
// in the order in which they are in the log, and keeps no more than where it is. A session has at most two: one that has
// started, and one for all filters that came since.
type retainedJob struct {
	filters map[string]byte // QoS granted
	after   place           // the last one dealt with; source -1 at the beginning
	started bool
}

// retainedBatch is how many places a job looks up at a time.
const retainedBatch = 1024

// next returns the places after job.after, in order, at most retainedBatch, and the partitions that they are in. A topic
// that matches several filters is there once, with the highest QoS.
func (x *retainedIndex) next(job *retainedJob) ([]found, []Source) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []found
	for filter, qos := range job.filters {
		x.root.match(filter, true, func(at *place) {
			if !less(job.after, *at) {
				return
			}
			out = append(out, found{*at, qos})
			if len(out) >= 8*retainedBatch {
				out = firstPlaces(out)
			}
		})
	}
	return firstPlaces(out), x.sources
}

// firstPlaces sorts, merges what is there twice, and cuts.
func firstPlaces(list []found) []found {
	slices.SortFunc(list, func(a, b found) int {
		switch {
		case less(a.place, b.place):
			return -1
		case less(b.place, a.place):
			return 1
		}
		return int(b.qos) - int(a.qos)
	})
	list = slices.CompactFunc(list, func(a, b found) bool { return a.source == b.source && a.offset == b.offset })
	return list[:min(len(list), retainedBatch)]
}

func less(a, b place) bool {
	return a.source < b.source || a.source == b.source && a.offset < b.offset
}
