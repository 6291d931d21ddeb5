package mqtt

import (
	"errors"
	"fmt"
)

// ProtocolError is a violation of the standard by a client. It ends the client's connection.
type ProtocolError struct {
	Packet packetType
	Clause string // normative statement of MQTT 3.1.1, like "MQTT-2.2.2-1", or the section where no statement is numbered
	Reason string
}

// Error implements error.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("mqtt: %s: %s [%s]", e.Packet, e.Reason, e.Clause)
}

// violation is the short way to make a *ProtocolError.
func violation(p packetType, clause, reason string) error {
	return &ProtocolError{Packet: p, Clause: clause, Reason: reason}
}

// Reasons for which the server ends a connection or refuses something. They are logged, and counted by label.
var (
	errPacketTooLarge  = errors.New("mqtt: packet is larger than the configured maximum")
	errNoBuffer        = errors.New("mqtt: no buffer memory left for a packet of this size")
	errConnectTimeout  = errors.New("mqtt: no CONNECT in time")
	errKeepAlive       = errors.New("mqtt: nothing received for one and a half times the keepalive [MQTT-3.1.2-24]")
	errTakenOver       = errors.New("mqtt: another connection came with the same client id [MQTT-3.1.4-2]")
	errShutdown        = errors.New("mqtt: the server is shutting down")
	errQoS2            = errors.New("mqtt: QoS 2 is not served; a PUBLISH with it cannot be acknowledged")
	errCommitFailed    = errors.New("mqtt: a message could not be made durable")
	errRefusedPublish  = errors.New("mqtt: a message cannot be stored")
	errWriteTimeout    = errors.New("mqtt: the client takes nothing")
	errPanic           = errors.New("mqtt: a bug was hit while serving the connection")
	errConnectRefused  = errors.New("mqtt: CONNECT refused")
	errDisconnected    = errors.New("mqtt: DISCONNECT received")
	errUnexpectedClose = errors.New("mqtt: the client closed the connection without DISCONNECT")
	errServerClosed    = errors.New("mqtt: the server is closed")
)

// endReason names why a connection ended, for the metric's label.
func endReason(err error) string {
	if _, ok := errors.AsType[*ProtocolError](err); ok {
		return "protocol"
	}
	for _, c := range []struct {
		err  error
		name string
	}{
		{errDisconnected, "disconnect"},
		{errUnexpectedClose, "closed"},
		{errPacketTooLarge, "too_large"},
		{errNoBuffer, "no_buffer"},
		{errConnectTimeout, "connect_timeout"},
		{errKeepAlive, "keepalive"},
		{errTakenOver, "taken_over"},
		{errShutdown, "shutdown"},
		{errQoS2, "qos2"},
		{errCommitFailed, "commit_failed"},
		{errRefusedPublish, "refused"},
		{errWriteTimeout, "write_timeout"},
		{errPanic, "panic"},
		{errConnectRefused, "connect_refused"},
	} {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return "network"
}
