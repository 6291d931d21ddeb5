package mqtt

import "slices"

// trie holds subscriptions by topic filter and finds those that match a topic. S is the subscriber. It has no lock: the
// hub's goroutine owns it.
type trie[S comparable] struct {
	root  trieNode[S]
	count int // subscriptions
	// version changes with every change, so that results can be remembered.
	version uint64
}

// trieNode is a level of the filters that lead to it.
type trieNode[S comparable] struct {
	children branches[trieNode[S]]
	plus     *trieNode[S] // the level +
	here     []grant[S]   // filters that end with this level
	below    []grant[S]   // filters that end with # after this level
}

// grant is one subscription.
type grant[S comparable] struct {
	sub S
	qos byte
}

// add stores a subscription; an equal one gets the new QoS [MQTT-3.8.4-3]. It tells whether the subscription is new.
func (t *trie[S]) add(filter string, sub S, qos byte) bool {
	n, rest, more := &t.root, filter, true
	list := &n.here
	for more {
		var level string
		level, rest, more = cutLevel(rest)
		if level == "#" {
			list = &n.below
			break
		}
		n = n.child(level)
		list = &n.here
	}
	t.version++
	if i := find(*list, sub); i >= 0 {
		(*list)[i].qos = qos
		return false
	}
	*list = append(*list, grant[S]{sub, qos})
	t.count++
	return true
}

// child returns the node of a level below n, which it makes if need be.
func (n *trieNode[S]) child(level string) *trieNode[S] {
	if level == "+" {
		if n.plus == nil {
			n.plus = &trieNode[S]{}
		}
		return n.plus
	}
	c := n.children.get(level)
	if c == nil {
		c = &trieNode[S]{}
		n.children.add(level, c)
	}
	return c
}

// remove deletes a subscription and tells whether it was there.
func (t *trie[S]) remove(filter string, sub S) bool {
	if !t.root.remove(filter, sub) {
		return false
	}
	t.version++
	t.count--
	return true
}

func (n *trieNode[S]) remove(filter string, sub S) bool {
	level, rest, more := cutLevel(filter)
	if level == "#" {
		return cut(&n.below, sub)
	}
	c := n.plus
	if level != "+" {
		c = n.children.get(level)
	}
	if c == nil {
		return false
	}
	removed := false
	if more {
		removed = c.remove(rest, sub)
	} else {
		removed = cut(&c.here, sub)
	}
	if removed && c.empty() {
		if level == "+" {
			n.plus = nil
		} else {
			n.children.remove(level)
		}
	}
	return removed
}

func (n *trieNode[S]) empty() bool {
	return n.children.empty() && n.plus == nil && len(n.here) == 0 && len(n.below) == 0
}

// match calls visit for every subscription whose filter matches topic. A subscriber with several such filters is
// visited several times.
func (t *trie[S]) match(topic string, visit func(sub S, qos byte)) {
	t.root.match(topic, topic == "" || topic[0] != '$', visit)
}

// match looks at the levels of topic below n. Wildcards count only when wild is set: not for the first level of a topic
// that begins with $ [MQTT-4.7.2-1].
func (n *trieNode[S]) match(topic string, wild bool, visit func(S, byte)) {
	if wild {
		for _, g := range n.below {
			visit(g.sub, g.qos)
		}
	}
	level, rest, more := cutLevel(topic)
	if c := n.children.get(level); c != nil {
		c.matched(rest, more, visit)
	}
	if n.plus != nil && wild {
		n.plus.matched(rest, more, visit)
	}
}

// matched goes on from a node that stands for a level of the topic.
func (n *trieNode[S]) matched(rest string, more bool, visit func(S, byte)) {
	if more {
		n.match(rest, true, visit)
		return
	}
	for _, g := range n.here {
		visit(g.sub, g.qos)
	}
	for _, g := range n.below { // sport/# matches sport, too (section 4.7.1.2)
		visit(g.sub, g.qos)
	}
}

func find[S comparable](list []grant[S], sub S) int {
	return slices.IndexFunc(list, func(g grant[S]) bool { return g.sub == sub })
}

// cut removes sub from a list; order does not matter.
func cut[S comparable](list *[]grant[S], sub S) bool {
	l := *list
	i := find(l, sub)
	if i < 0 {
		return false
	}
	last := len(l) - 1
	l[i] = l[last]
	l[last] = grant[S]{}
	*list = l[:last]
	if last == 0 {
		*list = nil
	}
	return true
}
