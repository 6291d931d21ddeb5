// Package interop owns the tests with tools of other people: kcat, the Mosquitto clients, Python's and Java's Kafka
// clients, franz-go, and a real Apache Kafka, all against the real binary, each started by the tests on loopback.
//
// They are behind the build tag interop (make interop). What they need beside Debian's packages is downloaded once into
// the user's cache directory, below culvert-interop: Kafka and its tools by Maven, Python's clients by pip. A tool that
// is missing skips its tests with the reason, or fails them when CULVERT_INTEROP=require.
//
// With -args -broker HOST:PORT the tests of the native protocol run against that broker in place of culvert: they must
// pass against Apache Kafka too, which is how they are checked themselves.
package interop
