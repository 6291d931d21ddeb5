// Package rig owns what tests of the real binary share: building it, running it as a process of its own on
// ports that stay the same across restarts, killing it, and a device that publishes over MQTT and knows
// exactly what was acknowledged to it.
package rig
