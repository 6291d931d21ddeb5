package load

import (
	"context"
	"fmt"
	"time"
)

// mqttLoad is one load of the comparison.
type mqttLoad struct {
	name                string
	connections, window int
	target              float64 // times Mosquitto; 0: the latency is what counts
}

// mqtt compares what brokers acknowledge: culvert after syncing, the others as they do.
func (s *suite) mqtt(ctx context.Context) error {
	n, dir, err := s.node(ctx, nil)
	if err != nil {
		return err
	}
	defer drop(n, dir)
	others, stop, err := s.peers(ctx)
	if err != nil {
		return err
	}
	defer stop()
	brokers := append([]peer{{name: "culvert", addr: n.MQTT, proc: n.Process}}, others...)
	loads := []mqttLoad{
		{"50 connections x 20 in flight", 50, 20, 2.2},
		{"200 connections x 100 in flight", 200, 100, 4.0},
		{"1 connection, 100 in flight", 1, 100, 1.2},
		{"1 connection, 1 in flight", 1, 1, 0},
	}
	for _, l := range loads {
		if err := s.compareMQTT(ctx, l, brokers); err != nil {
			return err
		}
	}
	return nil
}

// compareMQTT runs one load against every broker in turn, again and again.
func (s *suite) compareMQTT(ctx context.Context, l mqttLoad, brokers []peer) error {
	rows := make(map[string]*peerRuns)
	for _, b := range brokers {
		rows[b.name] = &peerRuns{peer: &Peer{Load: l.name, Broker: b.name}}
		s.report.Peers = append(s.report.Peers, rows[b.name].peer)
	}
	var figure *Figure
	switch {
	case l.target == 0:
		figure = s.figure(Figure{Section: SectionMQTT, Name: l.name + ": acknowledgement p50", Unit: "x overwrite and sync", Target: 2, AtMost: true})
	case rows["mosquitto"] != nil:
		figure = s.figure(Figure{Section: SectionMQTT, Name: l.name, Unit: "x mosquitto", Target: l.target})
	default:
		s.skip("MQTT, %s: there is no mosquitto to compare with", l.name)
	}
	for rep := range s.Repetitions {
		disk, err := s.yardstick(ctx, l)
		if err != nil {
			return err
		}
		reports := make(map[string]*MQTTReport)
		for _, b := range brokers {
			if reports[b.name], err = s.measureMQTT(ctx, l, b); err != nil {
				return err
			}
			rows[b.name].add(reports[b.name])
			s.Progress("mqtt, %s, %d/%d: %s %.0f/s", l.name, rep+1, s.Repetitions, b.name, reports[b.name].PerSecond)
		}
		if figure != nil {
			addMQTT(figure, l, reports, disk)
		}
	}
	return nil
}

// addMQTT adds one repetition to the figure.
func addMQTT(f *Figure, l mqttLoad, reports map[string]*MQTTReport, disk *DiskReport) {
	own, other := reports["culvert"], reports["mosquitto"]
	if !own.Ok() {
		f.Failure = fmt.Sprintf("%d not acknowledged, %d connections lost: %s", own.Unacked, own.Failed, own.Failure)
		return
	}
	if l.target == 0 {
		f.add(own.Latency.P50 / disk.Overwrite.P50)
		f.Detail = fmt.Sprintf("%.0f us, the bare sync %.0f us", own.Latency.P50, disk.Overwrite.P50)
		return
	}
	if !other.Ok() || other.PerSecond == 0 {
		f.Failure = "mosquitto failed: " + other.Failure
		return
	}
	f.add(own.PerSecond / other.PerSecond)
	f.Detail = fmt.Sprintf("%.0f/s, mosquitto %.0f/s", own.PerSecond, other.PerSecond)
}

// yardstick measures the bare sync beside the load that is compared with it.
func (s *suite) yardstick(ctx context.Context, l mqttLoad) (*DiskReport, error) {
	if l.target > 0 {
		return nil, nil
	}
	return RunDisk(ctx, DiskOptions{Dir: s.dir, Overwrites: max(int(s.Span/time.Millisecond), 200)})
}

func (s *suite) measureMQTT(ctx context.Context, l mqttLoad, b peer) (*MQTTReport, error) {
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	o := DefaultMQTTOptions()
	o.Addr, o.Connections, o.Window, o.Coalesce = b.addr, l.connections, l.window, s.Coalesce
	o.Duration, o.Warmup = s.Span, s.Span/4
	before, err := processCPU(b.proc.PID())
	if err != nil {
		return nil, err
	}
	r, err := RunMQTT(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.name, err)
	}
	after, err := processCPU(b.proc.PID())
	if err != nil {
		return nil, b.proc.Exited()
	}
	r.brokerCPU = (after - before) * 1e6 / float64(max(r.Sent, 1))
	return r, nil
}

// peerRuns gathers the repetitions of one broker under one load.
type peerRuns struct {
	peer                        *Peer
	rate, p50, p99, broker, own []float64
}

func (p *peerRuns) add(r *MQTTReport) {
	if !r.Ok() {
		p.peer.Failure = fmt.Sprintf("%d not acknowledged, %d connections lost: %s", r.Unacked, r.Failed, r.Failure)
	}
	p.rate = append(p.rate, r.PerSecond)
	p.p50, p.p99 = append(p.p50, r.Latency.P50), append(p.p99, r.Latency.P99)
	p.broker, p.own = append(p.broker, r.brokerCPU), append(p.own, r.CPU)
	p.peer.PerSecond, p.peer.P50, p.peer.P99 = median(p.rate), median(p.p50), median(p.p99)
	p.peer.BrokerCPU, p.peer.OwnCPU = median(p.broker), median(p.own)
}
