package mqttc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// Options of a connection. The zero value is a client without credentials and without keepalive.
type Options struct {
	ClientID    string
	Credentials Credentials
	KeepAlive   time.Duration // rounded down to seconds; 0 switches it off
	Timeout     time.Duration // for connecting and the handshake, default 10 s
	MaxPacket   int           // bytes of a packet that is accepted from the broker, default 1 MiB
	ReadBuffer  int           // bytes to begin with, default 4 KiB
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.MaxPacket <= 0 {
		o.MaxPacket = 1 << 20
	}
	if o.ReadBuffer <= 0 {
		o.ReadBuffer = 4 << 10
	}
	return o
}

// RefusedError is a CONNACK with a return code other than 0 (section 3.2.2.3).
type RefusedError struct{ Code byte }

func (e *RefusedError) Error() string {
	reasons := [...]string{"", "unacceptable protocol version", "identifier rejected", "server unavailable",
		"bad user name or password", "not authorized"}
	if int(e.Code) < len(reasons) {
		return "connection refused by the broker: " + reasons[e.Code]
	}
	return fmt.Sprintf("connection refused by the broker: return code %d", e.Code)
}

// ErrNoSubscription is returned when the broker refuses a filter (section 3.9.3).
var ErrNoSubscription = errors.New("subscription refused")

// Conn is a connection that has done its handshake. One goroutine may read while another writes.
type Conn struct {
	net.Conn
	limit      int
	buf        []byte
	start, end int // buf[start:end] is read and not yet returned
}

// Dial connects and does the handshake: a clean session.
func Dial(ctx context.Context, addr string, o Options) (*Conn, error) {
	o = o.withDefaults()
	if max(len(o.ClientID), len(o.Credentials.Username), len(o.Credentials.Password)) > MaxString {
		return nil, fmt.Errorf("%w: client id, user name and password have at most %d bytes", ErrTooLarge, MaxString)
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	c := &Conn{Conn: nc, limit: max(o.MaxPacket, o.ReadBuffer), buf: make([]byte, o.ReadBuffer)}
	err = c.handshake(o)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("mqtt connect to %s: %w", addr, err)
	}
	return c, nil
}

func (c *Conn) handshake(o Options) error {
	keepAlive := uint16(min(o.KeepAlive/time.Second, 65_535))
	if _, err := c.Write(AppendConnect(nil, o.ClientID, keepAlive, o.Credentials)); err != nil {
		return err
	}
	p, err := c.ReadPacket()
	if err != nil {
		return err
	}
	if p.Type != TypeConnack || len(p.Body) != 2 {
		return fmt.Errorf("%w: a packet of type %d where CONNACK belongs", ErrMalformed, p.Type)
	}
	if p.Body[1] != 0 {
		return &RefusedError{Code: p.Body[1]}
	}
	return nil
}

// Subscribe subscribes to one filter and waits for the answer. Messages that arrive before it are dropped, so it belongs
// before Receive.
func (c *Conn) Subscribe(filter string, qos byte, timeout time.Duration) error {
	if len(filter) == 0 || len(filter) > MaxString {
		return fmt.Errorf("%w: filter of %d bytes", ErrTooLarge, len(filter))
	}
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := c.Write(AppendSubscribe(nil, 1, filter, qos)); err != nil {
		return err
	}
	for {
		p, err := c.ReadPacket()
		if err != nil {
			return err
		}
		if p.Type != TypeSuback {
			continue
		}
		if len(p.Body) != 3 || binary.BigEndian.Uint16(p.Body) != 1 {
			return fmt.Errorf("%w: SUBACK", ErrMalformed)
		}
		if p.Body[2] > 2 {
			return fmt.Errorf("%w: %s", ErrNoSubscription, filter)
		}
		return c.SetDeadline(time.Time{})
	}
}

// Receive hands every message to fn and acknowledges those of QoS 1 in batches, one write for all that one read brought,
// after fn has seen them. It returns when fn or the connection fails; a read deadline set by another goroutine ends it,
// too. The message is valid until fn returns.
func (c *Conn) Receive(fn func(Message) error) error {
	var acks []byte
	for {
		p, n, err := Split(c.buf[c.start:c.end], c.limit)
		if err != nil {
			return err
		}
		if n == 0 {
			if len(acks) > 0 {
				if _, err := c.Write(acks); err != nil {
					return err
				}
				acks = acks[:0]
			}
			if err := c.fill(); err != nil {
				return err
			}
			continue
		}
		c.start += n
		if p.Type != TypePublish {
			continue
		}
		m, err := ParsePublish(p)
		if err != nil {
			return err
		}
		if err := fn(m); err != nil {
			return err
		}
		if m.QoS == 1 {
			acks = AppendPuback(acks, m.PacketID)
		}
	}
}

// ReadPacket returns the next packet; it is valid until the next call.
func (c *Conn) ReadPacket() (Packet, error) {
	for {
		p, n, err := Split(c.buf[c.start:c.end], c.limit)
		if err != nil {
			return Packet{}, err
		}
		if n > 0 {
			c.start += n
			return p, nil
		}
		if err := c.fill(); err != nil {
			return Packet{}, err
		}
	}
}

// Buffered is what was read and not yet returned: a caller who takes over the socket begins with it.
func (c *Conn) Buffered() []byte { return c.buf[c.start:c.end] }

// fill reads more bytes behind those that wait, growing the buffer up to the limit.
func (c *Conn) fill() error {
	if c.start > 0 {
		c.end = copy(c.buf, c.buf[c.start:c.end])
		c.start = 0
	}
	if c.end == len(c.buf) {
		// Split has checked the packet against the limit, so what waits is shorter.
		grown := make([]byte, min(2*len(c.buf), c.limit))
		copy(grown, c.buf)
		c.buf = grown
	}
	n, err := c.Read(c.buf[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	return err
}

// Disconnect says goodbye, so that the broker publishes no will, and closes.
func (c *Conn) Disconnect() error {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, err := c.Write(AppendEmpty(nil, TypeDisconnect))
	return errors.Join(err, c.Close())
}
