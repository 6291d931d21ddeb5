// Package city plays a city to a broker: recordings (a CSV file, replayed as the fleet of devices it was recorded from) and
// a simulator that behaves like a city (daily curves, bursts, dropouts). Both are a Source of events; a Fleet turns events
// into MQTT messages of QoS 1, each device with a sequence of its own; a Proof holds what was sent against what arrived at
// the far end; Demo runs the whole path and proves it.
package city
