package mqtt

import (
	"errors"
)

// lag is what a session has still to be shown before it is at the live end again.
//
// While a partition has a stretch here, the hub sends the session nothing of that partition but moves the stretch's end;
// the session reads the stretch itself and joins the live end when the stretch is empty. So each record is sent once and in
// order, and the log is the only queue.
type lag struct {
	jobs []*retainedJob      // retained messages to be sent first
	at   map[Source]*stretch // records the hub passed over
	// floors hold for filters that were subscribed to while the session was behind: what is before them in a partition
	// was committed before the subscription.
	floors map[string]map[Source]int64
}

// stretch is a part of a partition: records from next, before to.
type stretch struct {
	next, to int64
}

// catchUpChunk is how much a session reads at a time before others have their turn.
const catchUpChunk = 64 << 10

// fallBehind makes the session one that is behind. mu is held.
func (s *session) fallBehind() *lag {
	if s.lag == nil {
		s.lag = &lag{at: map[Source]*stretch{}}
		s.behind.Store(true)
	}
	return s.lag
}

// join makes the session live again if nothing is left. mu is held.
func (s *session) join() {
	if l := s.lag; l != nil && len(l.jobs) == 0 && len(l.at) == 0 {
		s.lag = nil
		s.behind.Store(false)
	}
}

// granted returns the highest QoS of the session's subscriptions that match a record of topic. mu is held.
func (s *session) granted(topic []byte, src Source, offset int64) (qos byte, ok bool) {
	name := view(topic)
	consider := func(filter string, q byte) {
		if floor, late := s.lag.floors[filter][src]; late && offset < floor {
			return
		}
		qos, ok = max(qos, q), true
	}
	if q, exact := s.exact[name]; exact {
		consider(name, q)
	}
	for filter, q := range s.wild {
		if matchFilter(filter, name) {
			consider(filter, q)
		}
	}
	return qos, ok
}

// catchUp sends what the session has missed, as far as there is room, for one turn. It tells whether it wants another.
// Only one goroutine at a time calls it (session.busy).
func (s *session) catchUp() (again bool) {
	defer s.conn.flush()
	s.mu.Lock()
	if s.lag == nil || s.ended {
		s.mu.Unlock()
		return false
	}
	var job *retainedJob
	var sources []Source
	if len(s.lag.jobs) > 0 {
		job = s.lag.jobs[0]
	} else {
		for src := range s.lag.at {
			sources = append(sources, src)
		}
	}
	s.mu.Unlock()

	room := true
	if job != nil {
		room = s.sendRetained(job)
	}
	for _, src := range sources {
		if !room {
			break
		}
		room = s.readOn(src)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.join()
	return s.lag != nil && room && !s.ended
}

// readOn sends records of one stretch. It tells whether there was room for all it read.
func (s *session) readOn(src Source) (room bool) {
	s.mu.Lock()
	if s.lag == nil || s.lag.at[src] == nil {
		s.mu.Unlock()
		return true
	}
	st := s.lag.at[src]
	from := st.next
	s.mu.Unlock()

	room = true
	var m message
	next, err := src.Read(from, catchUpChunk, func(r *Record) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ended {
			return false
		}
		if r.Offset >= st.to {
			st.next = st.to
			return false
		}
		if topic, qos := mqttHeaders(r); topic != nil {
			if granted, ok := s.granted(topic, src, r.Offset); ok && s.conn.srv.deliverable(topic, r.Value) {
				m.set(view(topic), r.Value, qos, false)
				if room = s.trySend(&m, min(m.qos, granted), 1); !room {
					return false
				}
			}
		}
		st.next = r.Offset + 1
		return true
	})

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lag == nil {
		return true
	}
	if err != nil {
		next = s.conn.srv.skip(src, st.next, next, st.to, err, s.id)
	}
	if room {
		st.next = max(st.next, min(next, st.to))
		if st.next == from && st.next < st.to {
			// The log gives nothing where there was something: the partition was cut back or has gone.
			st.next = s.conn.srv.skip(src, st.next, st.to, st.to, errVanished, s.id)
		}
	}
	if st.next >= st.to {
		delete(s.lag.at, src)
	}
	return room
}

var errVanished = errors.New("mqtt: records that were committed cannot be read any more")

// skip goes past what cannot be read, and reports it: a gap is not hidden. It returns where reading goes on, to at the
// furthest. client is empty if it concerns the hub and so every subscriber.
func (s *Server) skip(src Source, from, next, to int64, err error, client string) int64 {
	if errors.Is(err, ErrOutOfRange) {
		next, _ = src.Bounds()
	}
	if next <= from {
		next = to
	}
	next = min(next, to)
	if next > from {
		s.metrics.Gaps.Add(float64(next - from))
		s.limited.warn(s.logger, "mqtt: a subscriber misses records that the log no longer has", "client", client,
			"topic", src.Topic(), "partition", src.Index(), "from", from, "to", next, "error", err)
	}
	return next
}

// addJob has the retained messages of some filters sent.
func (l *lag) addJob(filters []string, granted []byte) {
	last := len(l.jobs) - 1
	if last < 0 || l.jobs[last].started {
		l.jobs = append(l.jobs, &retainedJob{filters: map[string]byte{}, after: place{source: -1}})
		last++
	}
	for i, filter := range filters {
		l.jobs[last].filters[filter] = granted[i]
	}
}

// start makes a job begin, or go on, without the filters that were unsubscribed meanwhile. The session's mu is held.
func (s *session) start(job *retainedJob) (first bool) {
	first = !job.started
	job.started = true
	for filter := range job.filters {
		_, exact := s.exact[filter]
		if _, wild := s.wild[filter]; !exact && !wild {
			delete(job.filters, filter)
		}
	}
	return first
}

// deliverable tells whether a record can be sent as a PUBLISH: records that came over another protocol may have any
// header and any size.
func (s *Server) deliverable(topic, payload []byte) bool {
	return deliverableTopic(topic) && s.deliverableSize(topic, payload)
}

func deliverableTopic(topic []byte) bool {
	return len(topic) <= maxTopicBytes && checkTopicName(typePublish, topic) == nil
}

func (s *Server) deliverableSize(topic, payload []byte) bool {
	if publishSize(view(topic), payload, 1) > s.cfg.MaxPacketBytes {
		s.metrics.TooLarge.Inc()
		return false
	}
	return true
}

// sendRetained sends retained messages for one SUBSCRIBE. It tells whether there was room for all it read.
func (s *session) sendRetained(job *retainedJob) (room bool) {
	x := s.conn.srv.retained
	s.mu.Lock()
	first := s.start(job)
	s.mu.Unlock()
	if first {
		x.follow()
	}
	list, sources := x.next(job)
	if len(list) == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lag != nil {
			s.lag.jobs = s.lag.jobs[1:]
		}
		return true
	}
	var m message
	for i := 0; i < len(list); {
		src := sources[list[i].source]
		at := i
		room = true
		_, err := src.Read(list[i].offset, catchUpChunk, func(r *Record) bool {
			for i < len(list) && list[i].source == list[at].source && list[i].offset < r.Offset {
				i++ // replaced and compacted away since it was looked up
			}
			if i == len(list) || list[i].source != list[at].source {
				return false
			}
			if list[i].offset > r.Offset {
				return list[i].offset-r.Offset < nearby
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.ended {
				room = false
				return false
			}
			if len(r.Value) > 0 && s.conn.srv.deliverable(r.Key, r.Value) {
				_, qos := mqttHeaders(r)
				m.set(view(r.Key), r.Value, qos, true)
				if room = s.trySend(&m, min(m.qos, list[i].qos), 1); !room {
					return false
				}
			}
			job.after = list[i].place
			i++
			return true
		})
		if !room {
			return false
		}
		if i == at { // it cannot be read
			if err != nil && !errors.Is(err, ErrOutOfRange) {
				s.conn.srv.limited.warn(s.conn.srv.logger, "mqtt: a retained message cannot be read", "partition", src.Index(),
					"offset", list[i].offset, "error", err)
			}
			i++
		}
		job.after = list[i-1].place
	}
	return true
}

// nearby is how many records are read over to get from one retained message to the next.
const nearby = 256
