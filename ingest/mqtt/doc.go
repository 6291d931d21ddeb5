// Package mqtt is culvert's MQTT server: the codec, the connections, the sessions and the path of a PUBLISH into the log.
//
// It serves MQTT 3.1.1 (and 3.1, protocol level 3) with QoS 0 and 1. SUPPORT.md beside this file lists what the standard
// asks of a server and what is not served, with the reason.
//
// # What it owns
//
//   - the network side of every MQTT client: one reading goroutine per connection and no other while it is idle;
//   - the acknowledgement pipeline: a PUBLISH is appended to the log without waiting, its packet id is noted on the
//     connection's FIFO together with the commit it becomes durable with, and PUBACKs are sent in the order the packets
//     came, when and only when their commit ended without an error;
//   - live delivery: one hub reads what was committed once and hands it to the sessions; a session whose window is full
//     remembers where it stopped in the log and reads on from there by itself, so there is no second queue;
//   - retained messages, wills, keepalive, takeover.
//
// # Structure
//
// The path of a PUBLISH: conn.run waits for bytes without a buffer (rawconn_unix.go), consume walks through what was read,
// publish finds the target (a cache per connection) and appends, push hands the burst's packet ids to conn.acks, and flush,
// called by whoever learns that a commit ended, writes the acknowledgements (write.go). The path to a subscriber: the hub
// reads (hub.go), session.deliver appends to the connection's output (message.go) or begins a lag (lag.go), and the
// catch-ups read what is left in a lag.
//
// A session (session.go) is apart from its connection: kept sessions will be sessions whose connection is nil and whose
// lag is stored. A packet id waits in the acknowledgement queue with its commit: QoS 2 will add the kind of packet to a
// run. Decoders take the body of a packet: properties of MQTT 5.0 will be one more field of it.
//
// Locks: session.mu before conn.mu; the mutexes of the workers, the catch-ups, the wheel, the waiters, the table of sessions
// and the hub's requests are taken last and hold no other. The index of retained messages takes its own while it reads
// the log. Server.mu is taken before the wheel's.
//
// What it does not own: where a message goes is decided by package route, how it becomes durable by what stands behind
// the Log interface (log.go), who may connect by a later security layer. User names and passwords are accepted and
// ignored; that is why the configuration refuses a listener beyond loopback unless anonymous access is allowed in so
// many words.
package mqtt
