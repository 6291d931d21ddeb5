package city

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

// FleetOptions say how events become messages.
type FleetOptions struct {
	Addr        string
	Credentials mqttc.Credentials
	Topic       string        // pattern with {id} and {measure}
	Connections int           // shared by the devices; 0: one for each device
	Window      int           // messages in flight on each connection
	Speed       float64       // times real time; 0: as fast as they are acknowledged
	Rate        float64       // messages/s instead of a speed; 0: none
	ClientID    string        // prefix of the client ids
	KeepAlive   time.Duration // of the connections
	RetryFor    time.Duration // how long the broker may be away; 0: for ever
	// Sent, when set, sees every message that is published, in order, before the broker does.
	Sent func(device []byte, seq int64, payload []byte)
}

const maxDevices = 50_000 // of one fleet: each costs a map entry, its topics and maybe a connection

// Errors of a fleet.
var (
	ErrTooManyDevices = fmt.Errorf("more than %d devices", maxDevices)
	ErrFleetOptions   = errors.New("bad fleet options")
)

func (o *FleetOptions) validate() error {
	switch {
	case !strings.Contains(o.Topic, "{id}") || !strings.Contains(o.Topic, "{measure}"):
		return fmt.Errorf("%w: topic %q lacks {id} or {measure}", ErrFleetOptions, o.Topic)
	case strings.ContainsAny(strings.NewReplacer("{id}", "", "{measure}", "").Replace(o.Topic), "+#{}\x00"):
		return fmt.Errorf("%w: topic %q has a wildcard or an unknown part", ErrFleetOptions, o.Topic)
	case o.Connections < 0 || o.Connections > maxDevices:
		return fmt.Errorf("%w: %d connections", ErrFleetOptions, o.Connections)
	case o.Speed < 0 || o.Rate < 0 || o.Speed > 0 && o.Rate > 0:
		return fmt.Errorf("%w: speed %g and rate %g: neither may be negative, and one excludes the other", ErrFleetOptions, o.Speed, o.Rate)
	}
	return nil
}

// Fleet publishes the events of a source as the devices they belong to.
type Fleet struct {
	options FleetOptions
	devices map[string]*device
	links   []*link // in use
	shared  []*link // the connections devices share, nil when each has its own

	published atomic.Int64
	bytes     atomic.Int64
	clock     atomic.Int64 // Unix ms of the event that is published
	known     atomic.Int64 // devices
}

type device struct {
	link   *link
	seq    int64
	topics map[*Measure][]byte
}

type link struct {
	publisher *mqttc.Publisher
	dirty     bool // something was published since the last flush
}

// Totals of a fleet.
type Totals struct {
	Devices     int           `json:"devices"`
	Connections int           `json:"connections"`
	Published   int64         `json:"published"`
	Acked       int64         `json:"acked"`
	Resent      int64         `json:"resent"`
	Reconnects  int64         `json:"reconnects"`
	Bytes       int64         `json:"payload_bytes"`
	Elapsed     time.Duration `json:"elapsed_ns"`
}

// NewFleet checks the options; nothing is connected before the first event.
func NewFleet(o FleetOptions) (*Fleet, error) {
	if o.Window == 0 {
		o.Window = 100
	}
	return &Fleet{options: o, devices: make(map[string]*device)}, o.validate()
}

// Progress may be asked for while Run runs: messages published and the clock of the recording.
func (f *Fleet) Progress() (published int64, devices int64, clock time.Time) {
	return f.published.Load(), f.known.Load(), time.UnixMilli(f.clock.Load())
}

// Run publishes until the source ends, and waits until everything is acknowledged. It may be called once.
func (f *Fleet) Run(ctx context.Context, src Source) (t Totals, err error) {
	start := time.Now()
	defer func() {
		t = f.totals(time.Since(start))
		for _, l := range f.links {
			l.publisher.Close()
		}
	}()
	if err := f.publish(ctx, src, pacer{start: start, speed: f.options.Speed, rate: f.options.Rate}); err != nil {
		return t, err
	}
	for _, l := range f.links {
		l.publisher.Online()
		if err := l.publisher.Drain(ctx); err != nil {
			return t, fmt.Errorf("waiting for the last acknowledgements: %w", err)
		}
	}
	return t, nil
}

func (f *Fleet) publish(ctx context.Context, src Source, p pacer) error {
	var e Event
	var payload []byte
	for {
		if err := src.Next(&e); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if wait := p.wait(&e, time.Now); wait > 0 {
			f.flush()
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		d, err := f.device(ctx, e.Device)
		if err != nil {
			return err
		}
		if e.Kind != Value {
			d.network(f.shared == nil, e.Kind == Online)
			continue
		}
		payload = appendPayload(payload[:0], &e, d.seq)
		if f.options.Sent != nil {
			f.options.Sent(e.Device, d.seq, payload)
		}
		if err := d.link.publisher.Publish(ctx, f.topic(d, &e), payload); err != nil {
			return fmt.Errorf("publishing for device %s: %w", e.Device, err)
		}
		d.seq++
		d.link.dirty = true
		f.published.Add(1)
		f.bytes.Add(int64(len(payload)))
		f.clock.Store(e.At.UnixMilli())
	}
}

// network takes a device's connection away or gives it back; on a shared one it is only silent.
func (d *device) network(own, online bool) {
	switch {
	case !own:
	case online:
		d.link.publisher.Online()
	default:
		d.link.publisher.Flush()
		d.link.publisher.Offline()
	}
}

// flush sends what has gathered on all connections.
func (f *Fleet) flush() {
	for _, l := range f.links {
		if l.dirty {
			l.publisher.Flush()
			l.dirty = false
		}
	}
}

// device finds a device, or makes it with its connection.
func (f *Fleet) device(ctx context.Context, id []byte) (*device, error) {
	if d, ok := f.devices[string(id)]; ok {
		return d, nil
	}
	if len(f.devices) == maxDevices {
		return nil, ErrTooManyDevices
	}
	d := &device{topics: make(map[*Measure][]byte)}
	if n := len(f.devices); f.options.Connections > 0 && n >= f.options.Connections {
		d.link = f.shared[n%f.options.Connections]
	} else {
		name := fmt.Sprintf("%s-%s", f.options.ClientID, id)
		if f.options.Connections > 0 {
			name = fmt.Sprintf("%s-%d", f.options.ClientID, n)
		}
		p, err := mqttc.NewPublisher(ctx, f.options.Addr, mqttc.PublisherOptions{Window: f.options.Window, RetryFor: f.options.RetryFor,
			Conn: mqttc.Options{ClientID: name, Credentials: f.options.Credentials, KeepAlive: f.options.KeepAlive}})
		if err != nil {
			return nil, err
		}
		d.link = &link{publisher: p}
		f.links = append(f.links, d.link)
		if f.options.Connections > 0 {
			f.shared = append(f.shared, d.link)
		}
	}
	f.devices[string(id)] = d
	f.known.Add(1)
	return d, nil
}

func (f *Fleet) topic(d *device, e *Event) []byte {
	t, ok := d.topics[e.Measure]
	if !ok {
		t = []byte(strings.NewReplacer("{id}", string(e.Device), "{measure}", e.Measure.Name).Replace(f.options.Topic))
		d.topics[e.Measure] = t
	}
	return t
}

func (f *Fleet) totals(elapsed time.Duration) Totals {
	t := Totals{Devices: len(f.devices), Connections: len(f.links), Bytes: f.bytes.Load(), Elapsed: elapsed}
	for _, l := range f.links {
		c := l.publisher.Counts()
		t.Published += c.Published
		t.Acked += c.Acked
		t.Resent += c.Resent
		t.Reconnects += c.Reconnects
	}
	return t
}

// pacer says how long to wait before an event: by the recording's clock, or by an even rate, or not at all.
type pacer struct {
	start time.Time
	speed float64
	rate  float64
	first time.Time
	n     int64
}

func (p *pacer) wait(e *Event, now func() time.Time) time.Duration {
	var due time.Duration
	switch {
	case p.rate > 0:
		if e.Kind != Value {
			return 0
		}
		due = time.Duration(float64(p.n) / p.rate * float64(time.Second))
		p.n++
	case p.speed > 0:
		if p.first.IsZero() {
			p.first = e.At
		}
		due = time.Duration(float64(e.At.Sub(p.first)) / p.speed)
	default:
		return 0
	}
	return due - now().Sub(p.start)
}
