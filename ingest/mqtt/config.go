package mqtt

import (
	"fmt"
	"time"
)

// Config bounds what the server takes and holds. Sizes are in bytes.
type Config struct {
	// MaxPacketBytes is the size of the largest packet read, fixed header included. It also bounds what is delivered: a
	// record whose PUBLISH would be larger (it came over another protocol) is left out and counted.
	MaxPacketBytes int
	// MaxConnections at a time; more are closed as they come.
	MaxConnections int
	// ConnectTimeout is how long a connection may take to send its CONNECT packet.
	ConnectTimeout time.Duration
	// MaxKeepAlive, unless 0, is what a longer keepalive, or none, is taken for.
	MaxKeepAlive time.Duration
	// WriteTimeout ends a connection that takes not a single byte for so long while something waits to be sent.
	WriteTimeout time.Duration

	// MaxInflight is the number of messages of one client that may wait for their acknowledgement, at most 65,535;
	// MaxInflightBytes their size, and MaxTotalInflightBytes the size of those of all clients. At a limit the client is
	// not read from. A client with nothing in flight can always send one message.
	MaxInflight           int
	MaxInflightBytes      int
	MaxTotalInflightBytes int64

	// MaxOutboundInflight is the number of QoS 1 messages sent to one subscriber that may wait for its PUBACK;
	// MaxOutboundBytes the size of what waits to be written to one connection, and MaxTotalOutboundBytes to all. At a
	// limit a subscriber reads on from the log later.
	MaxOutboundInflight   int
	MaxOutboundBytes      int
	MaxTotalOutboundBytes int64

	// MaxHeldBytes bounds what connections make the server keep while they are idle: parts of packets, larger read
	// buffers, wills, topic filters.
	MaxHeldBytes int64
	// MaxSubscriptions of one client; a filter beyond is answered with 0x80.
	MaxSubscriptions int

	// MaxRetained is the number of retained messages, MaxRetainedBytes the size of their topics and payloads. What goes
	// beyond is stored in the log as any message, but not retained.
	MaxRetained      int
	MaxRetainedBytes int64
}

// DefaultConfig returns bounds that suit a machine with 512 MB.
func DefaultConfig() Config {
	return Config{
		MaxPacketBytes:        1 << 20,
		MaxConnections:        10_000,
		ConnectTimeout:        10 * time.Second,
		WriteTimeout:          time.Minute,
		MaxInflight:           65_535,
		MaxInflightBytes:      4 << 20,
		MaxTotalInflightBytes: 16 << 20,
		MaxOutboundInflight:   1024,
		MaxOutboundBytes:      256 << 10,
		MaxTotalOutboundBytes: 16 << 20,
		MaxHeldBytes:          32 << 20,
		MaxSubscriptions:      10_000,
		MaxRetained:           100_000,
		MaxRetainedBytes:      16 << 20,
	}
}

// Validate returns an error that names the first field with a value that cannot be.
func (c Config) Validate() error {
	for _, f := range []struct {
		name    string
		value   int64
		atLeast int64
		atMost  int64
	}{
		{name: "MaxPacketBytes", value: int64(c.MaxPacketBytes), atLeast: 128, atMost: maxRemainingLength},
		{name: "MaxConnections", value: int64(c.MaxConnections), atLeast: 1, atMost: 1 << 24},
		{name: "ConnectTimeout", value: int64(c.ConnectTimeout), atLeast: int64(10 * time.Millisecond), atMost: int64(time.Hour)},
		{name: "MaxKeepAlive", value: int64(c.MaxKeepAlive), atLeast: 0, atMost: int64(18 * time.Hour)},
		{name: "WriteTimeout", value: int64(c.WriteTimeout), atLeast: int64(10 * time.Millisecond), atMost: int64(24 * time.Hour)},
		{name: "MaxInflight", value: int64(c.MaxInflight), atLeast: 1, atMost: 65_535},
		{name: "MaxInflightBytes", value: int64(c.MaxInflightBytes), atLeast: 1, atMost: 1 << 30},
		{name: "MaxTotalInflightBytes", value: c.MaxTotalInflightBytes, atLeast: 1, atMost: 1 << 40},
		{name: "MaxOutboundInflight", value: int64(c.MaxOutboundInflight), atLeast: 1, atMost: 65_535},
		{name: "MaxOutboundBytes", value: int64(c.MaxOutboundBytes), atLeast: 1, atMost: 1 << 30},
		{name: "MaxTotalOutboundBytes", value: c.MaxTotalOutboundBytes, atLeast: 1, atMost: 1 << 40},
		{name: "MaxHeldBytes", value: c.MaxHeldBytes, atLeast: 0, atMost: 1 << 40},
		{name: "MaxSubscriptions", value: int64(c.MaxSubscriptions), atLeast: 0, atMost: 1 << 24},
		{name: "MaxRetained", value: int64(c.MaxRetained), atLeast: 0, atMost: 1 << 30},
		{name: "MaxRetainedBytes", value: c.MaxRetainedBytes, atLeast: 0, atMost: 1 << 40},
	} {
		if f.value < f.atLeast || f.value > f.atMost {
			return fmt.Errorf("mqtt: Config.%s is %d, must be %d to %d", f.name, f.value, f.atLeast, f.atMost)
		}
	}
	return nil
}
