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
// What it does not own: where a message goes is decided by package route, how it becomes durable by what stands behind
// the Log interface (log.go), who may connect by a later security layer. User names and passwords are accepted and
// ignored; that is why the configuration refuses a listener beyond loopback unless anonymous access is allowed in so
// many words.
package mqtt
