package city

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/cmd/internal/load/child"
)

// DemoOptions say what is demonstrated.
type DemoOptions struct {
	Binary   string // the program culvert, of which the gateway and the centre are children
	Dir      string // for their data
	Centre   string // native address of a cluster that stands for the centre; "": a second culvert is started
	Source   Source
	Fleet    FleetOptions  // Addr and Sent are set by the demonstration
	Patience time.Duration // how long nothing may arrive at the centre before it is given up
	// Step is told what happens.
	Step func(format string, args ...any)
	// Started is given the fleet before it runs, to show its progress; it returns what ends that. May be nil.
	Started func(*Fleet) (stop func())
}

// DemoReport is what arrived where.
type DemoReport struct {
	Totals
	Stored       int64   `json:"stored"`            // records at the gateway
	DiskBytes    int64   `json:"gateway_bytes"`     // on its disk
	Forwarded    int64   `json:"forwarded"`         // records at the centre
	LostUpstream int64   `json:"lost_upstream"`     // records the gateway could not forward
	Topic        string  `json:"topic"`             // at the centre
	Catchup      float64 `json:"catchup_seconds"`   // from the last acknowledgement until all was at the centre
	ReadBack     float64 `json:"read_back_seconds"` // reading it there
	Verdict      Verdict `json:"verdict"`
}

// Ok reports whether the counts agree and the proof holds. Duplicates are forgiven as far as devices sent messages again
// after a reconnect: QoS 1 promises at least once. Nothing reconnects unless something broke.
func (r *DemoReport) Ok() bool {
	v := r.Verdict
	if v.Duplicates > 0 && v.Duplicates <= r.Resent {
		v.Duplicates = 0
	}
	again := r.Verdict.Duplicates - v.Duplicates
	return v.Ok() && r.Acked == r.Published && r.Stored == r.Published+again && r.Forwarded == r.Stored && r.LostUpstream == 0
}

const (
	demoTopic        = "readings" // at the gateway
	demoPartitions   = 4
	centrePartitions = 6
	stopWithin       = 20 * time.Second
)

// Demo starts a gateway and a centre, publishes the source over MQTT, waits until it was forwarded, reads it back at the
// centre, and holds it against what was sent.
func Demo(ctx context.Context, o DemoOptions) (*DemoReport, error) {
	centre := o.Centre
	if centre == "" {
		o.Step("starting a second culvert that stands for the centre")
		n, err := child.StartNode(ctx, child.NodeOptions{Binary: o.Binary, Dir: filepath.Join(o.Dir, "centre"), Name: "centre"})
		if err != nil {
			return nil, err
		}
		defer func() { _ = n.Stop(stopWithin) }()
		centre = n.Kafka
	}
	site := fmt.Sprintf("demo-%d-%d", os.Getpid(), time.Now().Unix())
	d := &demo{options: o, report: &DemoReport{Topic: site + "." + demoTopic}, proof: NewProof(), site: site}
	var err error
	if d.client, err = kgo.NewClient(kgo.SeedBrokers(centre), kgo.ClientID("culvert-demo")); err != nil {
		return nil, err
	}
	defer d.client.Close()
	d.centre = kadm.NewClient(d.client)
	if err := createTopic(ctx, d.centre, d.report.Topic, centrePartitions); err != nil {
		return nil, fmt.Errorf("at the centre, %s: %w", centre, err)
	}
	if err := d.run(ctx, centre); err != nil {
		return nil, err
	}
	return d.report, nil
}

type demo struct {
	options DemoOptions
	report  *DemoReport
	proof   *Proof
	site    string
	client  *kgo.Client // of the centre
	centre  *kadm.Client
}

func (d *demo) run(ctx context.Context, centre string) error {
	o := d.options
	o.Step("starting the gateway, which forwards to %s", centre)
	gateway, err := child.StartNode(ctx, child.NodeOptions{Binary: o.Binary, Dir: filepath.Join(o.Dir, "gateway"), Name: d.site,
		Settings: map[string]string{
			"upstream": fmt.Sprintf("brokers = [%q]\nsite = %q\ntopics = [%q]", centre, d.site, demoTopic),
			"":         fmt.Sprintf("[[mqtt.route]]\nfilter = %q\ntopic = %q\nkey = \"{sensor}\"\n", routeFilter(o.Fleet.Topic), demoTopic),
		}})
	if err != nil {
		return err
	}
	defer func() { _ = gateway.Stop(stopWithin) }()
	edge, err := kgo.NewClient(kgo.SeedBrokers(gateway.Kafka), kgo.ClientID("culvert-demo"))
	if err != nil {
		return err
	}
	defer edge.Close()
	if err := createTopic(ctx, kadm.NewClient(edge), demoTopic, demoPartitions); err != nil {
		return fmt.Errorf("at the gateway: %w", err)
	}

	if err := d.publish(ctx, gateway.MQTT); err != nil {
		return err
	}
	acked := time.Now()
	if d.report.Stored, err = records(ctx, kadm.NewClient(edge), demoTopic); err != nil {
		return err
	}
	o.Step("waiting until all of it is at the centre")
	if err := d.awaitForwarded(ctx, gateway); err != nil {
		return err
	}
	d.report.Catchup = time.Since(acked).Seconds()
	o.Step("reading it back at the centre, topic %s", d.report.Topic)
	began := time.Now()
	if err := d.readBack(ctx); err != nil {
		return err
	}
	d.report.ReadBack = time.Since(began).Seconds()
	d.report.Verdict = d.proof.Verdict()
	return nil
}

// routeFilter is the filter of the route that leads the fleet's topics to one log topic, keyed by the sensor.
func routeFilter(topic string) string {
	return strings.ReplaceAll(topic, "{id}", "{sensor}")
}

func (d *demo) publish(ctx context.Context, addr string) error {
	fo := d.options.Fleet
	fo.Addr, fo.Sent = addr, d.proof.Sent
	fleet, err := NewFleet(fo)
	if err != nil {
		return err
	}
	d.options.Step("publishing over MQTT to %s", addr)
	if d.options.Started != nil {
		defer d.options.Started(fleet)()
	}
	d.report.Totals, err = fleet.Run(ctx, d.options.Source)
	return err
}

// awaitForwarded returns when the gateway has nothing left to forward and the centre has what the gateway stored.
func (d *demo) awaitForwarded(ctx context.Context, gateway *child.Node) error {
	since, before := time.Now(), int64(-1)
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		n, err := records(ctx, d.centre, d.report.Topic)
		if err != nil {
			return fmt.Errorf("at the centre: %w", err)
		}
		d.report.Forwarded = n
		status, err := gateway.Status(ctx)
		if err != nil {
			return err
		}
		d.report.DiskBytes = status.Log.DiskBytes
		if up := status.Upstream; up != nil {
			d.report.LostUpstream = up.Lost + up.Refused
			if up.Lag == 0 && n >= d.report.Stored {
				return nil
			}
		}
		if n != before {
			since, before = time.Now(), n
		}
		if time.Since(since) > d.options.Patience {
			return fmt.Errorf("%w: nothing arrived at the centre for %s: %d of %d records are there, the gateway says %+v",
				errStalled, d.options.Patience, n, d.report.Stored, status.Upstream)
		}
		select {
		case <-poll.C:
		case <-gateway.Done():
			return gateway.Exited()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errStalled = errors.New("forwarding stalled")

// readBack consumes what the centre has, from start to end, and gives it to the proof.
func (d *demo) readBack(ctx context.Context) error {
	ends, err := d.centre.ListEndOffsets(ctx, d.report.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	left, from := make(map[int32]int64), make(map[int32]kgo.Offset)
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
			from[o.Partition] = kgo.NewOffset().AtStart()
		}
	})
	d.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{d.report.Topic: from})
	for len(left) > 0 {
		pollCtx, cancel := context.WithTimeout(ctx, d.options.Patience)
		fetches := d.client.PollFetches(pollCtx)
		cancel()
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading %s: %w", d.report.Topic, err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				d.arrived(r)
				if r.Offset >= left[p.Partition]-1 {
					delete(left, p.Partition)
				}
			}
		})
	}
	return nil
}

// arrived checks that the record's key and its MQTT topic name the same device.
func (d *demo) arrived(r *kgo.Record) {
	device := r.Key
	for _, h := range r.Headers {
		if h.Key == "mqtt.topic" && !bytes.Contains(h.Value, device) {
			device = nil
		}
	}
	d.proof.Arrived(device, r.Value)
}

func createTopic(ctx context.Context, admin *kadm.Client, topic string, partitions int32) error {
	_, err := admin.CreateTopic(ctx, partitions, -1, nil, topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("creating topic %s: %w", topic, err)
	}
	return nil
}

// records is how many records a topic holds.
func records(ctx context.Context, admin *kadm.Client, topic string) (int64, error) {
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(starts.Error(), ends.Error()); err != nil {
		return 0, fmt.Errorf("offsets of topic %s: %w", topic, err)
	}
	n := int64(0)
	ends.Each(func(e kadm.ListedOffset) {
		s, _ := starts.Lookup(topic, e.Partition)
		n += e.Offset - s.Offset
	})
	return n, nil
}
