// Package kafka serves the native protocol, which is the Kafka protocol, to clients.
//
// It owns the connections (framing, limits, order of the answers, deadlines), the table of the APIs that are served, one
// file per API, the fetch sessions of KIP-227, and the mapping from errors of the domain to error codes. It owns no data:
// partitions, metadata and committed offsets are reached through the interfaces in ports.go.
//
// Two goroutines serve a connection. The reading one takes a frame, checks its shape, decodes it and runs its handler; what
// the handler leaves, an answer, goes into a bounded queue. The writing one takes the answers in order, waits for what they
// wait for, and writes them. So the records of a Produce request are appended one batch after the other as they arrive, while
// those of the requests before are still being synced, and a Fetch runs where its bytes can go from a mapped segment straight
// to the socket.
package kafka
