package mqtt

import (
	"errors"
	"slices"
	"time"
)

// will is a client's will message. It is kept in memory: a will is lost when the server is killed, as a session is.
type will struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
}

func newWill(p willPacket) *will {
	return &will{topic: string(p.topic), payload: slices.Clone(p.payload), qos: p.qos, retain: p.retain}
}

// size is what the will is charged to the budget of held bytes.
func (w *will) size() int { return len(w.topic) + len(w.payload) + 64 }

// dropWill forgets the will: after DISCONNECT [MQTT-3.14.4-3], or when it was published [MQTT-3.1.2-10].
func (c *conn) dropWill() {
	if c.will != nil {
		c.srv.held.release(c.will.size())
		c.will = nil
	}
}

// publishWill stores a will on the same path as any message and waits until it is durable. While the log cannot take
// it, it tries again, until the server is closed.
func (s *Server) publishWill(w *will, client string) {
	if err := s.storeWill(w, client); err != nil {
		s.metrics.Lost.Inc()
		s.limitFor(err).warn(s.logger, "mqtt: a will is lost", "client", client, "topic", w.topic, "error", err)
		return
	}
	s.metrics.Wills.Inc()
}

func (s *Server) storeWill(w *will, client string) error {
	t, err := s.target(s.routes.Load(), w.topic, client)
	if err != nil {
		return err
	}
	stored, err := s.appendWill(t, w, false)
	if err != nil {
		return err
	}
	if w.retain && s.retained.accepts(w.topic, len(w.payload)) {
		retained, err := s.appendWill(t, w, true)
		if err == nil {
			err = s.await(retained)
		}
		if err != nil {
			return err
		}
	}
	return s.await(stored)
}

// await waits for a commit.
func (s *Server) await(c Commit) error {
	select {
	case <-c.Done():
		return c.Err()
	case <-s.ctx.Done():
		return errServerClosed
	}
}

// appendWill appends the will to its log topic, or to the retained messages.
func (s *Server) appendWill(t *target, w *will, retained bool) (Commit, error) {
	value := w.payload
	if len(value) == 0 {
		value = []byte{}
		if retained {
			value = nil
		}
	}
	var app Appender
	for attempt := 0; ; attempt++ {
		commit, err := s.appendOnce(&app, t, w.qos, w.retain, retained, time.Now().UnixMilli(), value)
		if err == nil || !temporary(err) {
			return commit, err
		}
		wait := time.NewTimer(min(firstHoldBack<<min(attempt, 10), mostHoldBack))
		select {
		case <-wait.C:
		case <-s.ctx.Done():
			wait.Stop()
			return nil, errors.Join(errServerClosed, err)
		}
	}
}
