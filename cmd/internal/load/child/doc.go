// Package child runs culvert nodes and other brokers as child processes for tools that measure or demonstrate: on loopback,
// on ports of their own, in directories of their own. A child does not outlive its parent, whatever ends it.
package child
