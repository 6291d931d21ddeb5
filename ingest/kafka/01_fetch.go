package kafka

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fetch: records from an offset on, waiting for them if asked to. KIP-74 (limits), KIP-98 (isolation), KIP-227 (sessions),
// KIP-320 and KIP-595 (epochs, divergence), KIP-516 (topic ids), KIP-951 (leader hints).
//
// Versions before 4 would need records in older formats and are not served. There are no transactions and no read replicas:
// readers of committed records read what the others do. A wait is cut to five minutes.
//
// It runs on the writing goroutine, so that records go from where they lie to the socket.
func (s *Server) fetch(_ context.Context, q *call) (answer, error) {
	req := new(kmsg.FetchRequest)
	if err := q.decode(req); err != nil {
		return nil, err
	}
	return &fetching{s, req}, nil
}

type fetching struct {
	s   *Server
	req *kmsg.FetchRequest
}

const maxFetchWait = 5 * time.Minute

func (f *fetching) write(w *writer, q *call) error {
	s, req, st := f.s, f.req, &w.fetch
	defer st.reset()
	st.load(req)
	h := fetchHead{version: q.version, nullAborted: req.IsolationLevel == 0}
	lim := fetchLimits{committed: req.IsolationLevel != 0, byID: q.version >= 13}
	lim.maxBytes = int(max(min(req.MaxBytes, s.now().broker.FetchMaxBytes), 0))
	lim.minBytes = min(int(max(req.MinBytes, 0)), lim.maxBytes)

	var ses *session
	full := q.version < 7 || req.SessionEpoch <= fullFetchNew
	if full {
		if req.SessionID != 0 {
			s.sessions.drop(req.SessionID)
		}
		for i := range st.asks {
			st.parts = append(st.parts, fetchPart{fetchAsk: st.asks[i]})
		}
	} else {
		ses, st.parts, h.code = s.sessions.begin(st.parts, req.SessionID, req.SessionEpoch, lim.byID, st.asks, st.forgotten)
		if ses != nil {
			h.session = ses.id
		}
	}
	if h.code == codeNone {
		wait := min(time.Duration(max(req.MaxWaitMillis, 0))*time.Millisecond, maxFetchWait)
		st.gather(s, w, q, lim, wait)
	}
	q.fail(h.code)
	told := st.told(q, ses != nil)
	if full && q.version >= 7 && req.SessionEpoch == fullFetchNew {
		h.session = s.sessions.create(q.conn, lim.byID, st.parts)
	}
	h.brokers = s.hinted(q, told)
	start := w.begin(q)
	w.appendFetch(&h, told)
	w.end(start)
	if ses != nil {
		s.sessions.finish(ses, st.parts)
	}
	w.flush() // while the records are held
	for _, p := range told {
		s.metrics.fetchBytes.Add(float64(p.size))
	}
	return nil
}

// load takes over what the request asks for.
func (st *fetchState) load(req *kmsg.FetchRequest) {
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			st.asks = append(st.asks, fetchAsk{
				fetchKey: fetchKey{t.Topic, t.TopicID, p.Partition}, offset: p.FetchOffset, maxBytes: p.PartitionMaxBytes,
				leaderEpoch: p.CurrentLeaderEpoch, lastEpoch: p.LastFetchedEpoch,
			})
		}
	}
	for i := range req.ForgottenTopics {
		t := &req.ForgottenTopics[i]
		for _, p := range t.Partitions {
			st.forgotten = append(st.forgotten, fetchKey{t.Topic, t.TopicID, p})
		}
	}
}

// told returns the partitions that the answer names: all, or those that changed.
func (st *fetchState) told(q *call, incremental bool) []*fetchPart {
	told := make([]*fetchPart, 0, len(st.parts))
	for i := range st.parts {
		p := &st.parts[i]
		q.fail(p.code)
		if !incremental || p.changed() {
			told = append(told, p)
		}
	}
	return told
}

// hinted returns the brokers, if any hint of an answer points to one.
func (s *Server) hinted(q *call, parts []*fetchPart) []brokerAddress {
	if !slices.ContainsFunc(parts, func(p *fetchPart) bool { return p.hint >= 0 }) {
		return nil
	}
	return s.brokers(s.meta.State(), q.conn, false)
}

// reset lets go of the records and keeps the memory for the next answer.
func (st *fetchState) reset() {
	st.release()
	if cap(st.parts) > 256 {
		*st = fetchState{}
		return
	}
	clear(st.parts)
	clear(st.asks)
	clear(st.forgotten)
	st.parts, st.asks, st.forgotten = st.parts[:0], st.asks[:0], st.forgotten[:0]
}
