package mqtt

import "unsafe"

// message is something to deliver. It is encoded once for each QoS, whatever the number of subscribers.
type message struct {
	topic   string
	payload []byte
	qos     byte // of the publisher
	retain  bool // delivered because of a new subscription [MQTT-3.3.1-8]

	encoded [2][]byte // by QoS; empty: not done yet
	idAt    int       // where the packet identifier stands in encoded[1]
}

// set makes m stand for another message; its buffers are used again.
func (m *message) set(topic string, payload []byte, qos byte, retain bool) {
	m.topic, m.payload, m.qos, m.retain = topic, payload, min(qos, 1), retain
	for i, b := range m.encoded {
		if cap(b) > 1<<20 {
			b = nil
		}
		m.encoded[i] = b[:0]
	}
}

// packet returns the PUBLISH for a subscriber of some QoS.
func (m *message) packet(qos byte) []byte {
	if len(m.encoded[qos]) == 0 {
		b, at := appendPublish(m.encoded[qos], m.topic, m.payload, qos, m.retain)
		m.encoded[qos] = b
		if qos > 0 {
			m.idAt = at
		}
	}
	return m.encoded[qos]
}

// view returns b as a string that shares its memory: valid as long as b is, and not to be kept.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// mqttHeaders returns the MQTT topic and QoS of a record; topic is nil if it has none.
func mqttHeaders(r *Record) (topic []byte, qos byte) {
	for i := range r.Headers {
		switch h := &r.Headers[i]; string(h.Key) {
		case headerTopic:
			topic = h.Value
		case headerQoS:
			if len(h.Value) == 1 && h.Value[0] >= '0' && h.Value[0] <= '2' {
				qos = h.Value[0] - '0'
			}
		}
	}
	return topic, qos
}

// deliver sends a record that was just committed to the session, if that is at the live end and has room. Otherwise the
// session remembers where it has to read on. The hub calls it for each record whose topic matches, in the order of each
// partition; it tells whether there is something to flush.
func (s *session) deliver(src Source, offset int64, m *message, granted byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	share := 1
	if l := s.lag; l != nil {
		if st := l.at[src]; st != nil {
			st.to = offset + 1
			return false
		}
		if len(l.jobs) > 0 {
			l.at[src] = &stretch{offset, offset + 1}
			return false
		}
		share = 2 // the other half is for what the session reads again
	}
	if s.trySend(m, min(m.qos, granted), share) {
		return true
	}
	if s.lag == nil {
		s.conn.srv.metrics.CatchUps.Inc()
	}
	s.fallBehind().at[src] = &stretch{offset, offset + 1}
	s.resume() // room may have come in between
	return false
}

// trySend appends a message to the connection's output if there is room in a share (1: all, 2: half) of the session's
// bounds. mu is held.
func (s *session) trySend(m *message, qos byte, share int) bool {
	c := s.conn
	cfg := &c.srv.cfg
	if qos > 0 && s.window.span() >= max(cfg.MaxOutboundInflight/share, 1) {
		return false
	}
	packet := m.packet(qos)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return true
	}
	if pending := c.pending(); pending > 0 {
		if pending+len(packet) > cfg.MaxOutboundBytes/share || !c.srv.outbound.take(len(packet)) {
			return false
		}
	} else {
		c.srv.outbound.force(len(packet))
	}
	o := c.output()
	at := len(o.b)
	o.b = append(o.b, packet...)
	o.charged += len(packet)
	o.sent[qos]++
	if qos > 0 {
		putID(o.b, at+m.idAt, s.window.take())
	}
	return true
}

// room tells whether a session has some room, and whether it has much. mu is held.
func (s *session) room() (some, much bool) {
	c := s.conn
	cfg := &c.srv.cfg
	span := s.window.span()
	if span >= cfg.MaxOutboundInflight {
		return false, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pending := c.pending()
	some = pending == 0 || pending < cfg.MaxOutboundBytes && !c.srv.outbound.full()
	much = some && span <= cfg.MaxOutboundInflight*3/4 && pending <= cfg.MaxOutboundBytes*3/4
	return some, much
}
