package mqtt

import (
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/culvert-mq/culvert/ingest/route"
)

// hub delivers what is committed to live subscribers. One goroutine reads each partition that routes may lead to once,
// whatever the number of subscribers, and hands the records to the sessions whose filters match. It owns the trie: a
// subscription takes effect between two rounds of reading, so that a subscriber gets exactly what is committed after
// its SUBSCRIBE was applied. Without subscribers it sleeps and does not even watch the log.
//
// Records of topics that no route leads to, and records without a header mqtt.topic (of native producers), are not
// delivered.
type hub struct {
	srv *Server
	wg  sync.WaitGroup

	wake  chan struct{} // a token: something was committed, or requested
	quit  chan struct{}
	count atomic.Int64 // subscriptions

	mu       sync.Mutex
	requests []*hubRequest

	// Of the goroutine.
	trie    trie[*session]
	sources []Source // as the log listed them last
	routes  *route.Table
	feeds   []*feed
	unwatch func()
	cache   map[string]*matched
	cached  int // sessions in the cache
	marks   int64
	msg     message
	dirty   []*session
}

// feed is a partition that the hub reads.
type feed struct {
	src Source
	pos int64 // next offset to read
}

// matched is the result of matching a topic.
type matched struct {
	topic string
	to    []grant[*session]
}

// hubRequest changes the subscriptions of a session.
type hubRequest struct {
	s       *session
	kind    packetType // typeSubscribe, typeUnsubscribe, or typeDisconnect: remove all
	filters []string
	granted []byte
	done    chan struct{} // closed when the change is in effect; nil if nobody waits
}

// finish lets the one who waits go on.
func (r *hubRequest) finish() {
	if r.done != nil {
		close(r.done)
		r.done = nil
	}
}

const (
	hubChunk = 256 << 10
	// Bounds of the cache of matches: topics, and sessions in all of them.
	maxMatches      = 16 << 10
	maxMatchesInAll = 256 << 10
)

func newHub(srv *Server) *hub {
	h := &hub{srv: srv, wake: make(chan struct{}, 1), quit: make(chan struct{}), cache: map[string]*matched{}}
	h.wg.Go(h.run)
	return h
}

// request has r applied, and waits for it.
func (h *hub) request(r *hubRequest) {
	done := make(chan struct{})
	r.done = done
	h.post(r)
	<-done
}

// leave removes a session. It does not wait.
func (h *hub) leave(s *session) { h.post(&hubRequest{s: s, kind: typeDisconnect}) }

func (h *hub) post(r *hubRequest) {
	h.mu.Lock()
	h.requests = append(h.requests, r)
	h.mu.Unlock()
	h.poke()
}

// poke starts another round.
func (h *hub) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// close ends the goroutine. Nobody may post any more.
func (h *hub) close() {
	close(h.quit)
	h.wg.Wait()
}

func (h *hub) run() {
	for {
		select {
		case <-h.wake:
			h.round()
		case <-h.quit:
			h.apply(h.take()) // sessions that left last
			h.rest()
			return
		}
	}
}

func (h *hub) take() []*hubRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.requests
	h.requests = nil
	return r
}

// round delivers what was committed until now, then applies the requests that were there when it began.
func (h *hub) round() {
	requests := h.take()
	defer func() {
		if p := recover(); p != nil {
			h.srv.caught("hub", p, debug.Stack())
			for _, r := range requests {
				r.finish()
			}
		}
	}()
	if len(requests) == 0 && h.trie.count == 0 {
		return
	}
	h.refresh()
	h.read()
	h.apply(requests)
	if h.trie.count == 0 {
		h.rest()
	}
}

// rest stops watching the log.
func (h *hub) rest() {
	if h.unwatch != nil {
		h.unwatch()
		h.unwatch = nil
	}
	h.sources, h.feeds, h.routes, h.cache = nil, nil, nil, map[string]*matched{}
	h.cached = 0
}

// refresh brings the feeds up to date with the log's partitions and the routes. What has just come to be is read from
// its start, everything else from its end.
func (h *hub) refresh() {
	first := h.unwatch == nil
	if first {
		h.unwatch = h.srv.log.Watch(h.wake)
	}
	sources, routes := h.srv.log.Sources(), h.srv.routes.Load()
	if !first && routes == h.routes && slices.Equal(sources, h.sources) {
		return
	}
	old := make(map[Source]*feed, len(h.feeds))
	for _, f := range h.feeds {
		old[f.src] = f
	}
	known := make(map[Source]bool, len(h.sources))
	for _, src := range h.sources {
		known[src] = true
	}
	var feeds []*feed
	for _, src := range sources {
		if !routes.MayYield(src.Topic()) {
			continue
		}
		f := old[src]
		if f == nil {
			start, end := src.Bounds()
			f = &feed{src: src, pos: end}
			if !first && !known[src] {
				f.pos = start
			}
		}
		feeds = append(feeds, f)
	}
	h.sources, h.routes, h.feeds = sources, routes, feeds
}

// read delivers every partition up to the end that it has when its turn comes.
func (h *hub) read() {
	for _, f := range h.feeds {
		_, end := f.src.Bounds()
		for f.pos < end {
			if h.trie.count == 0 {
				f.pos = end
				break
			}
			from := f.pos
			next, err := h.readChunk(f, end)
			if err != nil {
				next = h.srv.skip(f.src, f.pos, next, end, err, "")
			}
			f.pos = max(f.pos, min(next, end))
			h.flush()
			if f.pos == from {
				break
			}
		}
	}
}

// readChunk delivers some records. A record that makes it panic is skipped and reported.
func (h *hub) readChunk(f *feed, end int64) (next int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.srv.caught("delivery", p, debug.Stack())
			next, err = f.pos+1, errPanic
		}
	}()
	return f.src.Read(f.pos, hubChunk, func(r *Record) bool {
		if r.Offset >= end {
			f.pos = end
			return false
		}
		f.pos = r.Offset
		h.deliver(f, r)
		f.pos = r.Offset + 1
		return true
	})
}

// deliver hands one record to the sessions that subscribed to its topic.
func (h *hub) deliver(f *feed, r *Record) {
	topic, qos := mqttHeaders(r)
	if topic == nil {
		return
	}
	m := h.cache[string(topic)]
	if m == nil {
		m = h.match(topic)
	}
	if len(m.to) == 0 || !h.srv.deliverableSize(topic, r.Value) {
		return
	}
	h.msg.set(m.topic, r.Value, qos, false)
	for _, g := range m.to {
		if g.sub.deliver(f.src, r.Offset, &h.msg, g.qos) && !g.sub.dirty {
			g.sub.dirty = true
			h.dirty = append(h.dirty, g.sub)
		}
	}
}

// match finds the sessions that subscribed to a topic, each once with the highest QoS of its filters that match
// [MQTT-3.3.5-1], and remembers them.
func (h *hub) match(topic []byte) *matched {
	m := &matched{topic: string(topic)}
	h.marks++
	if !deliverableTopic(topic) {
		return h.keep(m)
	}
	h.trie.match(m.topic, func(s *session, qos byte) {
		if s.mark == h.marks {
			g := &m.to[s.place]
			g.qos = max(g.qos, qos)
			return
		}
		s.mark, s.place = h.marks, len(m.to)
		m.to = append(m.to, grant[*session]{s, qos})
	})
	return h.keep(m)
}

// keep remembers the result of matching a topic.
func (h *hub) keep(m *matched) *matched {
	if len(m.topic) > maxCachedTopic {
		return m
	}
	if len(h.cache) >= maxMatches || h.cached+len(m.to) > maxMatchesInAll {
		h.forget()
	}
	h.cache[m.topic] = m
	h.cached += len(m.to)
	return m
}

// forget empties the cache of matches.
func (h *hub) forget() {
	clear(h.cache)
	h.cached = 0
}

// flush has written what was delivered.
func (h *hub) flush() {
	for i, s := range h.dirty {
		s.dirty = false
		h.dirty[i] = nil
		h.srv.workers.enqueue(s.conn)
	}
	h.dirty = h.dirty[:0]
}

// apply changes subscriptions.
func (h *hub) apply(requests []*hubRequest) {
	for _, r := range requests {
		h.applyOne(r)
	}
	if len(requests) > 0 {
		h.forget()
		h.count.Store(int64(h.trie.count))
		h.srv.metrics.Subscriptions.Set(float64(h.trie.count))
	}
}

func (h *hub) applyOne(r *hubRequest) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	defer r.finish()
	freed := 0
	remove := func(filter string) {
		if h.trie.remove(filter, s) {
			freed += subscriptionCost(filter)
		}
		s.drop(filter)
	}
	switch r.kind {
	case typeSubscribe:
		for i, filter := range r.filters {
			if h.trie.add(filter, s, r.granted[i]) {
				h.setFloor(s, filter)
			}
			s.put(filter, r.granted[i])
		}
		s.fallBehind().addJob(r.filters, r.granted)
	case typeUnsubscribe:
		for _, filter := range r.filters {
			remove(filter)
		}
	default:
		for filter := range s.exact {
			remove(filter)
		}
		for filter := range s.wild {
			remove(filter)
		}
	}
	h.srv.held.release(freed)
}

// maxFloors bounds the floors of a session. Filters beyond may be sent what was committed a little before them.
const maxFloors = 64

// setFloor sees to it that a session that is behind is not sent, for a new filter, what was committed before. The
// session's mu is held.
func (h *hub) setFloor(s *session, filter string) {
	if s.lag == nil || len(s.lag.at) == 0 || len(s.lag.floors) >= maxFloors {
		return
	}
	floors := map[Source]int64{}
	for _, f := range h.feeds {
		if s.lag.at[f.src] != nil {
			floors[f.src] = f.pos
		}
	}
	if s.lag.floors == nil {
		s.lag.floors = map[string]map[Source]int64{}
	}
	s.lag.floors[filter] = floors
}
