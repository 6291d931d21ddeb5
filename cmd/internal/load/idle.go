package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

// IdleOptions say what RunIdle opens.
type IdleOptions struct {
	Addr        string
	Credentials mqttc.Credentials
	Connections int
	PID         int           // of the broker, whose memory is read; 0: it is not
	Settle      time.Duration // before memory is read
}

// IdleReport is what idle connections cost.
type IdleReport struct {
	Connections   int     `json:"connections"`
	Seconds       float64 `json:"connect_seconds"`
	Before        int64   `json:"rss_before_bytes,omitempty"`
	After         int64   `json:"rss_after_bytes,omitempty"`
	PerConnection int64   `json:"bytes_per_connection,omitempty"`
}

// RunIdle opens connections that say nothing and reads the broker's memory before and after.
func RunIdle(ctx context.Context, o IdleOptions) (*IdleReport, error) {
	load := DefaultMQTTOptions()
	load.Addr, load.Credentials, load.Connections, load.ClientID = o.Addr, o.Credentials, o.Connections, "idle"
	if err := load.validate(); err != nil {
		return nil, err
	}
	r := &IdleReport{Connections: o.Connections}
	if err := readRSS(o.PID, &r.Before); err != nil {
		return nil, err
	}
	start := time.Now()
	conns, err := dialAll(ctx, load, rand.Uint64())
	if err != nil {
		return nil, fmt.Errorf("opening %d connections: %w", o.Connections, err)
	}
	r.Seconds = time.Since(start).Seconds()
	defer goodbye(conns)
	select {
	case <-time.After(o.Settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := readRSS(o.PID, &r.After); err != nil {
		return nil, err
	}
	r.PerConnection = (r.After - r.Before) / int64(o.Connections)
	return r, nil
}

// goodbye lets the broker close the connections first: thousands of ports that wait here, as those of a socket do that was
// closed first, would be in the way of whatever listens next.
func goodbye(conns []*mqttc.Conn) {
	deadline := time.Now().Add(5 * time.Second)
	for _, c := range conns {
		_ = c.SetDeadline(deadline)
		_, _ = c.Write(mqttc.AppendEmpty(nil, mqttc.TypeDisconnect))
	}
	for _, c := range conns {
		for {
			if _, err := c.ReadPacket(); err != nil {
				break
			}
		}
		c.Close()
	}
}

func readRSS(pid int, into *int64) (err error) {
	if pid > 0 {
		*into, err = processRSS(pid)
	}
	return err
}
