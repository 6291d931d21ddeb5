package mqtt

import (
	"errors"
	"fmt"
	"time"
)

// maxClientID is the length of the longest client identifier taken. [MQTT-3.1.3-5] asks for 23.
const maxClientID = 1024

// connect serves CONNECT. Sessions end with their connection, so a client that asks to keep one (clean session 0) is
// told that there was none (session present 0), and is served all the same.
func (c *conn) connect(body []byte) error {
	p, err := parseConnect(body)
	if bad, ok := errors.AsType[unsupportedVersion](err); ok {
		if bad == version5 {
			return c.refuse(reasonBadVersion5, err, func(b []byte) []byte { return appendConnack5(b, reasonBadVersion5) })
		}
		return c.refuse(connBadVersion, err, func(b []byte) []byte { return appendConnack(b, connBadVersion) })
	}
	if err != nil {
		return err
	}
	id := string(p.clientID)
	switch {
	case id == "" && !p.clean:
		err = violation(typeConnect, "MQTT-3.1.3-8", "no client identifier, but clean session 0 [MQTT-3.1.3-7]")
	case len(id) > maxClientID:
		err = violation(typeConnect, "MQTT-3.1.3-9", fmt.Sprintf("the client identifier has more than %d bytes", maxClientID))
	}
	if err != nil {
		return c.refuse(connBadIdentifier, err, func(b []byte) []byte { return appendConnack(b, connBadIdentifier) })
	}
	if p.hasWill {
		w := newWill(p.will)
		if !c.srv.held.take(w.size()) {
			return c.refuse(connUnavailable, errNoBuffer, func(b []byte) []byte { return appendConnack(b, connUnavailable) })
		}
		c.will = w
	}
	if id == "" {
		id = c.srv.sessions.newID()
	}
	c.ses = newSession(id, c)
	if old := c.srv.sessions.enter(c.ses); old != nil {
		old.abort(errTakenOver)
	}
	c.srv.wheel.watch(c, c.srv.silence(p.keepAlive), errKeepAlive)
	c.targets.routes = c.srv.routes.Load()
	c.mu.Lock()
	c.renew()
	if !c.dead {
		o := c.output()
		o.b = appendConnack(o.b, connAccepted)
	}
	c.mu.Unlock()
	c.srv.logger.Debug("mqtt: connected", "client", id, "remote", c.nc.RemoteAddr(), "version", p.version,
		"clean", p.clean, "keepalive", p.keepAlive, "will", p.hasWill)
	return nil
}

// silence returns how long a client with this keepalive, in seconds, may be silent; 0 is for ever.
func (s *Server) silence(keepAlive uint16) time.Duration {
	d := time.Duration(keepAlive) * time.Second
	if most := s.cfg.MaxKeepAlive; most > 0 && (d == 0 || d > most) {
		d = most
	}
	return d + d/2
}

// refuse answers CONNECT with a CONNACK that says no, and ends the connection [MQTT-3.2.2-5]; nothing that the client
// sent after CONNECT is looked at [MQTT-3.1.4-5].
func (c *conn) refuse(code byte, cause error, connack func([]byte) []byte) error {
	c.srv.metrics.ConnectionsRefused.WithLabelValues(fmt.Sprintf("0x%02x", code)).Inc()
	c.reply(connack)
	return fmt.Errorf("%w with 0x%02x: %w", errConnectRefused, code, cause)
}

// finish ends the connection: err is why. It is the last thing that the reader does.
func (c *conn) finish(err error) {
	s := c.srv
	s.wheel.forget(c)
	if errors.Is(err, errConnectRefused) || errors.Is(err, errShutdown) {
		c.settle(s.cfg.WriteTimeout)
	}
	c.mu.Lock()
	c.dead = true
	if c.reason == nil {
		c.reason = err
	}
	if q := c.acks; q != nil {
		s.inflight.release(q.bytes)
		c.dropAcks()
	}
	if c.out != nil {
		s.outBuffers.put(c.out)
		c.out = nil
	}
	c.mu.Unlock()
	s.inflightWaiters.released(&s.inflight)
	c.nc.Close()
	if c.burst != nil {
		s.ackQueues.put(c.burst)
		c.burst = nil
	}
	if c.buf != nil {
		s.buffers.put(c.buf)
		c.buf = nil
	}
	c.dropTargets()
	if c.ses != nil {
		s.sessions.leave(c.ses)
		c.ses.end()
	}
	s.ended(c, err)
	if c.will != nil && c.ses != nil {
		s.publishWill(c.will, c.ses.id)
	}
	c.dropWill()
}
