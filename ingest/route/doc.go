// Package route decides where an MQTT message goes in the log: a Table maps an MQTT topic to a log topic, a key and
// headers. It is pure: no clock, no I/O, no goroutine; a Table never changes once it is built, so that a new
// configuration is a new Table.
//
// # Filters
//
// A route's filter is an MQTT topic filter whose single-level wildcards may have names:
//
//	city/{district}/{device}/{measurement}     {name} stands for exactly one level, as + does, and can be used below
//	zigbee2mqtt/{device}/#                     # stands for the level before it and all that follow, only at the end
//	+/status                                   + is a level without a name
//
// A filter that begins with a wildcard does not match topics that begin with $ (MQTT 3.1.1 section 4.7.2). Routes are
// tried in order and the first that matches wins; what none matches goes to the default, or is refused with ErrNoRoute
// when there is none.
//
// # Templates
//
// Topic, key and header values are templates: text in which {name} is the level that the filter's {name} stood for and
// {topic} the whole MQTT topic. The name topic is therefore taken. There is no escape for braces.
//
// The topic template may only produce names that a log topic may have: 1 to 249 of the characters a-z A-Z 0-9 . _ -, not
// "." or "..", and not beginning with "__", which is kept for internal topics. What is constant in it is checked when
// the table is built, and {topic} is refused there since an MQTT topic may hold a slash. A level that does not fit when a
// message comes is not rewritten, because two devices could then share a topic unnoticed: the message is refused with
// a *NameError. A topic template with a reference lets clients have log topics made, as far as the node makes topics by
// itself.
//
// A route without a key template has the default's; where that is empty, too, it is {topic}. The partition of a message is chosen from its key, so it depends on the route and
// the MQTT topic alone. A header whose value turns out empty is left out.
package route
