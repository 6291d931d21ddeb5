package mqtt

import "strings"

// subscriptionCost is what a subscription is charged to the budget of held bytes: its place in the trie and in the
// session.
func subscriptionCost(filter string) int { return levelsCost(filter) + len(filter) + 128 }

// subscribe serves SUBSCRIBE. Each filter gets its return code, in order [MQTT-3.8.4-5] [MQTT-3.9.3-1]: the QoS granted,
// at most 1, or 0x80 where a bound is reached.
func (c *conn) subscribe(body []byte) error {
	id, list, err := parseFilters(typeSubscribe, body)
	if err != nil {
		return err
	}
	r := &hubRequest{s: c.ses, kind: typeSubscribe}
	at := map[string]int{} // of a filter in the request; the last of equal ones counts [MQTT-3.8.4-4]
	var codes []byte
	left := c.srv.cfg.MaxSubscriptions - c.ses.subscriptions()
	for {
		b, qos, ok := list.next()
		if !ok {
			break
		}
		granted := min(qos, 1)
		filter := string(b)
		switch i, again := at[filter]; {
		case again:
			r.granted[i] = granted
		case !c.allowed(filter, &left):
			granted = subackFailure
		default:
			at[filter] = len(r.filters)
			r.filters = append(r.filters, filter)
			r.granted = append(r.granted, granted)
		}
		codes = append(codes, granted)
	}
	if len(r.filters) > 0 {
		c.push()
		c.flush()
		c.srv.hub.request(r)
	}
	c.reply(func(b []byte) []byte { return appendSuback(b, id, codes) })
	if len(r.filters) > 0 {
		c.srv.catchUps.now(c.ses) // the retained messages
	}
	return nil
}

// allowed tells whether a subscription may be made, and charges for it if it is new. left is how many more the client
// may have.
func (c *conn) allowed(filter string, left *int) bool {
	if strings.HasPrefix(filter, "$share/") {
		return false // a shared subscription of 5.0: as a plain filter it would never match anything
	}
	if c.ses.has(filter) {
		return true
	}
	if *left <= 0 || !c.srv.held.take(subscriptionCost(filter)) {
		return false
	}
	*left--
	return true
}

// unsubscribe serves UNSUBSCRIBE. Messages that were handed to the connection are still sent [MQTT-3.10.4-3].
func (c *conn) unsubscribe(body []byte) error {
	id, list, err := parseFilters(typeUnsubscribe, body)
	if err != nil {
		return err
	}
	r := &hubRequest{s: c.ses, kind: typeUnsubscribe}
	for {
		b, _, ok := list.next()
		if !ok {
			break
		}
		if filter := string(b); c.ses.has(filter) {
			r.filters = append(r.filters, filter)
		}
	}
	if len(r.filters) > 0 {
		c.push()
		c.flush()
		c.srv.hub.request(r)
	}
	c.reply(func(b []byte) []byte { return appendAck(b, typeUnsuback, id) })
	return nil
}
