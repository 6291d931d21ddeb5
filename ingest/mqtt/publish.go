package mqtt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/culvert-mq/culvert/ingest/route"
)

// Header names of the records that MQTT messages become (values are text; what is 0 or false is left out).
const (
	headerTopic  = "mqtt.topic"
	headerQoS    = "mqtt.qos"
	headerRetain = "mqtt.retain"
	headerClient = "mqtt.client"
)

// target is where messages of one client and one MQTT topic go.
type target struct {
	topic    string
	client   string
	to       route.Target
	apps     [4]Appender // bound when first needed, by variant
	retained [2]Appender // to RetainedTopic, by QoS
}

// variant is the index into target.apps: records differ in their headers.
func variant(qos byte, retain bool) int {
	v := int(qos & 1)
	if retain {
		v |= 2
	}
	return v
}

// targets is a connection's cache of targets. It holds few: a device has few topics, and a bridge with thousands pays a
// microsecond for each that it does not find.
type targets struct {
	last    *target            // of the previous message
	byTopic map[string]*target // made for the second topic
	count   int
	routes  *route.Table // that they were resolved with
}

const (
	// maxTargets bounds one connection's cache.
	maxTargets = 256
	// maxTargetsInAll is where connections begin to keep no more than one each.
	maxTargetsInAll = 32 << 10
	// maxCachedTopic is the longest topic that is remembered.
	maxCachedTopic = 1024
)

// keep remembers t, and forgets another if there are most. It returns how many there are more.
func (ts *targets) keep(t *target, most int) int {
	before := ts.count
	if ts.count == 0 || most == 1 {
		ts.last, ts.byTopic, ts.count = t, nil, 1
		return 1 - before
	}
	if ts.byTopic == nil {
		ts.byTopic = map[string]*target{ts.last.topic: ts.last}
	}
	for topic := range ts.byTopic {
		if len(ts.byTopic) < most {
			break
		}
		delete(ts.byTopic, topic)
	}
	ts.byTopic[t.topic] = t
	ts.last, ts.count = t, len(ts.byTopic)
	return ts.count - before
}

// publish appends a message to the log and notes it for its acknowledgement.
func (c *conn) publish(h fixedHeader, body []byte) error {
	p, err := parsePublish(h.flags, body)
	if err != nil {
		return err
	}
	if p.qos == 2 {
		return errQoS2
	}
	c.deep = true
	if c.burstAt == 0 {
		c.burstAt = time.Now().UnixMilli()
		if c.targets.routes != c.srv.routes.Load() {
			c.dropTargets()
		}
	}
	t := c.targets.last
	if t == nil || t.topic != string(p.topic) {
		if t = c.targets.byTopic[string(p.topic)]; t == nil {
			if t, err = c.resolve(p.topic); err != nil {
				return err
			}
		} else {
			c.targets.last = t
		}
	}
	size := h.size()
	if c.credit.messages <= 0 || c.credit.bytes < size {
		if err := c.window(size); err != nil {
			return err
		}
	}
	c.credit.bytes -= size
	if p.qos > 0 {
		c.credit.messages--
	}
	c.count.received[p.qos]++

	commit, err := c.append(&t.apps[variant(p.qos, p.retain)], t, p, false)
	if err != nil {
		return err
	}
	if p.retain && c.srv.retained.accepts(t.topic, len(p.payload)) {
		c.note(commit, 0, size)
		if commit, err = c.append(&t.retained[p.qos], t, p, true); err != nil {
			return err
		}
		size = 0
	}
	c.note(commit, p.id, size)
	return nil
}

// note puts a message on the burst's queue.
func (c *conn) note(commit Commit, id uint16, size int) {
	if c.burst == nil {
		c.burst = c.srv.ackQueues.get()
	}
	c.burst.note(commit, id, size)
}

// append appends a message through the appender at app, which it binds if need be. While the log cannot take it, the
// publisher is held back: nothing more is read from it.
func (c *conn) append(app *Appender, t *target, p publishPacket, retained bool) (Commit, error) {
	value := p.payload
	if retained && len(value) == 0 {
		value = nil // the tombstone that deletes the retained message
	}
	if a := *app; a != nil {
		commit, err := a.Append(c.burstAt, value)
		if err == nil {
			return commit, nil
		}
		if !errors.Is(err, ErrStale) && !temporary(err) {
			return nil, fmt.Errorf("%w: %w", errRefusedPublish, err)
		}
		if errors.Is(err, ErrStale) {
			*app = nil
		}
	}
	for attempt := 0; ; attempt++ {
		commit, err := c.srv.appendOnce(app, t, p.qos, p.retain, retained, c.burstAt, value)
		if err == nil {
			return commit, nil
		}
		if !temporary(err) {
			return nil, fmt.Errorf("%w: %w", errRefusedPublish, err)
		}
		if err := c.holdBack(attempt, err); err != nil {
			return nil, err
		}
	}
}

// appendOnce binds the appender at app if there is none, and appends. A binding that went stale is made again once; after
// that it counts as temporary.
func (s *Server) appendOnce(app *Appender, t *target, qos byte, retain, retained bool, ts int64, value []byte) (Commit, error) {
	for again := false; ; again = true {
		if *app == nil {
			a, err := s.bind(s.ctx, t, qos, retain, retained)
			if err != nil {
				return nil, err
			}
			*app = a
		}
		commit, err := (*app).Append(ts, value)
		if !errors.Is(err, ErrStale) {
			return commit, err
		}
		*app = nil
		if again {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// temporary tells whether an append may succeed later.
func temporary(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, ErrUnavailable)
}

// bind asks the log for an appender.
func (s *Server) bind(ctx context.Context, t *target, qos byte, retain, retained bool) (Appender, error) {
	var headers []Header
	header := func(key, value string) {
		headers = append(headers, Header{Key: []byte(key), Value: []byte(value)})
	}
	if !retained {
		header(headerTopic, t.topic)
	}
	if qos > 0 {
		header(headerQoS, string('0'+rune(qos)))
	}
	if retain && !retained {
		header(headerRetain, "true")
	}
	header(headerClient, t.client)
	if retained {
		return s.log.Bind(ctx, RetainedTopic, []byte(t.topic), headers)
	}
	for _, h := range t.to.Headers {
		headers = append(headers, Header{Key: []byte(h.Key), Value: h.Value})
	}
	return s.log.Bind(ctx, t.to.Topic, t.to.Key, headers)
}

// resolve finds where a topic goes that the connection does not know, and remembers it.
func (c *conn) resolve(topic []byte) (*target, error) {
	if err := checkTopicName(typePublish, topic); err != nil {
		return nil, err
	}
	t, err := c.srv.target(c.targets.routes, string(topic), c.ses.id)
	if err != nil || len(topic) > maxCachedTopic {
		return t, err
	}
	most := maxTargets
	if c.srv.targetCount.Load() >= maxTargetsInAll {
		most = 1
	}
	c.srv.targetCount.Add(int64(c.targets.keep(t, most)))
	return t, nil
}

// target resolves an MQTT topic, which must be valid. Errors wrap errRefusedPublish.
func (s *Server) target(routes *route.Table, topic, client string) (*target, error) {
	to, err := routes.Resolve([]byte(topic))
	if err != nil {
		return nil, fmt.Errorf("%w: topic %.80q: %w", errRefusedPublish, topic, err)
	}
	return &target{topic: topic, client: client, to: to}, nil
}

// dropTargets empties the cache, and takes up the routes that are in force.
func (c *conn) dropTargets() {
	c.srv.targetCount.Add(-int64(c.targets.count))
	c.targets = targets{routes: c.srv.routes.Load()}
}

// Backoff of a publisher that is held back.
const (
	firstHoldBack = 10 * time.Millisecond
	mostHoldBack  = time.Second
)

// holdBack waits before another attempt. Meanwhile acknowledgements go on, and the keepalive rests.
func (c *conn) holdBack(attempt int, cause error) error {
	if attempt == 0 {
		c.srv.metrics.HeldBack.Inc()
		c.srv.limited.warn(c.srv.logger, "mqtt: holding a publisher back", "client", c.ses.id, "error", cause)
	}
	c.push()
	c.flush()
	err := c.wait(min(firstHoldBack<<min(attempt, 10), mostHoldBack), func() bool { return false })
	c.burstAt = time.Now().UnixMilli()
	return err
}
