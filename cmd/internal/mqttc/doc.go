// Package mqttc is the small MQTT 3.1.1 client of culvert's own tools: the load generator, the replayed recordings and
// the simulated city. It owns the client's half of the wire format, a connection with the handshake done (Dial), a
// publisher that keeps a window in flight and sends what was not acknowledged again after a reconnect (Publisher), a
// reader for subscribers (Conn.Receive) and a broker that acknowledges and forgets, for tests and for measuring the tools
// themselves (Sink).
//
// It speaks QoS 0 and QoS 1. Section numbers in comments are those of the OASIS standard MQTT Version 3.1.1.
package mqttc
