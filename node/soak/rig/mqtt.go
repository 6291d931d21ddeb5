package rig

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A mqttConn speaks just enough MQTT 3.1.1 to publish at QoS 1 and to count what comes back. One goroutine
// may write while another reads.
type mqttConn struct {
	net.Conn
	r *bufio.Reader
	w *bufio.Writer
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(10 * time.Second))
}

// dialMQTT connects with a clean session and keepalive 60 s; later reads and writes have no deadline.
func dialMQTT(ctx context.Context, addr, client string) (*mqttConn, error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := &mqttConn{Conn: conn, r: bufio.NewReaderSize(conn, 16<<10), w: bufio.NewWriterSize(conn, 16<<10)}
	body := []byte("\x00\x04MQTT\x04\x02\x00\x3c")
	body = appendString(body, client)
	if err := c.connect(body); err != nil {
		return nil, fmt.Errorf("CONNECT: %w", errors.Join(err, conn.Close()))
	}
	return c, conn.SetDeadline(time.Time{})
}

func (c *mqttConn) connect(body []byte) error {
	if err := c.packet(0x10, body); err != nil {
		return err
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	var ack [4]byte
	if _, err := io.ReadFull(c.r, ack[:]); err != nil {
		return err
	}
	if ack != [4]byte{0x20, 2, 0, 0} {
		return fmt.Errorf("answered % x", ack)
	}
	return nil
}

// packet writes a fixed header and a body that is shorter than 2 MB.
func (c *mqttConn) packet(first byte, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	head := append(make([]byte, 0, 5), first)
	for ; n >= 0x80; n >>= 7 {
		head = append(head, byte(n)|0x80)
	}
	head = append(head, byte(n))
	if _, err := c.w.Write(head); err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := c.w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// publish buffers a PUBLISH at QoS 1.
func (c *mqttConn) publish(topic []byte, id uint16, payload []byte) error {
	return c.packet(0x32, topic, binary.BigEndian.AppendUint16(nil, id), payload)
}

// readAck reads one packet, which must be a PUBACK, and returns its id.
func (c *mqttConn) readAck() (uint16, error) {
	var p [4]byte
	if _, err := io.ReadFull(c.r, p[:]); err != nil {
		return 0, err
	}
	if p[0] != 0x40 || p[1] != 2 {
		return 0, fmt.Errorf("% x instead of a PUBACK", p)
	}
	return binary.BigEndian.Uint16(p[2:]), nil
}

// close says goodbye and closes.
func (c *mqttConn) close() error {
	defer c.Close()
	if err := c.packet(0xe0); err != nil {
		return err
	}
	return c.w.Flush()
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}
