package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

// MQTTOptions say what load RunMQTT makes.
type MQTTOptions struct {
	Addr                string
	Credentials         mqttc.Credentials
	Connections         int           // publishing connections
	Window              int           // messages in flight on each connection (QoS 1)
	QoS                 byte          // 0 or 1
	Size                int           // bytes of a payload
	Fill                Filler        // what the payload consists of
	Rate                float64       // messages/s over all connections; 0: as fast as they are acknowledged
	Warmup              time.Duration // before anything is measured (QoS 1 without Count)
	Duration            time.Duration // of the measurement; ignored when Count is set
	Count               int64         // messages in all, 0: as many as fit into Duration
	Topics              string        // pattern: {c} is the connection's number, {t} that of one of its topics
	TopicsPerConnection int
	ClientID            string        // prefix of the client ids
	Workers             int           // threads
	Coalesce            time.Duration // pause between two looks at the sockets; 0: every acknowledgement is answered at once
	Patience            time.Duration // how long acknowledgements are waited for in the end
	Check               Check         // whether everything is read back
}

// DefaultMQTTOptions is the load of one busy gateway.
func DefaultMQTTOptions() MQTTOptions {
	return MQTTOptions{Addr: "127.0.0.1:1883", Connections: 50, Window: 20, QoS: 1, Size: 150, Fill: FillReading,
		Warmup: time.Second, Duration: 10 * time.Second, Topics: "bench/{c}/{t}", TopicsPerConnection: 1, ClientID: "bench",
		Workers: 1, Patience: 10 * time.Second}
}

// ErrOptions is returned for options that contradict each other or are out of range.
var ErrOptions = errors.New("bad load options")

func (o MQTTOptions) validate() error {
	var problem string
	switch {
	case o.Connections < 1 || o.Connections > 60_000:
		problem = fmt.Sprintf("%d connections: 1 to 60000 are possible", o.Connections)
	case o.Window < 1 || o.Window > mqttc.MaxPacketID:
		problem = fmt.Sprintf("a window of %d: 1 to %d are possible", o.Window, mqttc.MaxPacketID)
	case o.QoS > 1:
		problem = fmt.Sprintf("QoS %d: 0 and 1 are possible", o.QoS)
	case o.Size < 0 || o.Size > 64<<20:
		problem = fmt.Sprintf("payloads of %d bytes: at most 64 MiB are possible", o.Size)
	case o.Fill != FillReading && o.Fill != FillRandom:
		problem = fmt.Sprintf("payload %q: %q and %q are possible", o.Fill, FillReading, FillRandom)
	case o.Rate < 0 || o.Rate > 1e8:
		problem = fmt.Sprintf("a rate of %g messages/s", o.Rate)
	case o.Count < 0 || o.Count == 0 && o.Duration <= 0:
		problem = "neither a count nor a duration"
	case o.Coalesce < 0 || o.Coalesce > time.Second:
		problem = fmt.Sprintf("a pause of %s between two looks at the sockets", o.Coalesce)
	case o.TopicsPerConnection < 1 || o.TopicsPerConnection > 10_000:
		problem = fmt.Sprintf("%d topics per connection: 1 to 10000 are possible", o.TopicsPerConnection)
	case o.Workers < 1 || o.Workers > o.Connections:
		problem = fmt.Sprintf("%d workers for %d connections", o.Workers, o.Connections)
	case o.Check.on() && o.Size < headerSize:
		problem = fmt.Sprintf("payloads of %d bytes cannot be checked: their header takes %d", o.Size, headerSize)
	}
	if problem != "" {
		return fmt.Errorf("%w: %s", ErrOptions, problem)
	}
	return topicPattern(o.Topics).check(o.Connections, o.TopicsPerConnection)
}

// MQTTReport is what came of it.
type MQTTReport struct {
	Addr        string       `json:"addr"`
	Connections int          `json:"connections"`
	Window      int          `json:"window"`
	QoS         byte         `json:"qos"`
	Size        int          `json:"size_bytes"`
	Rate        float64      `json:"rate,omitempty"` // asked for
	Seconds     float64      `json:"seconds"`        // measured time
	Sent        int64        `json:"sent"`           // in all, outside of the measured time too
	Acked       int64        `json:"acked"`          // within the measured time
	Unacked     int64        `json:"unacked"`        // never acknowledged
	PerSecond   float64      `json:"messages_per_second"`
	Latency     *Latency     `json:"latency,omitempty"` // from sending, or from the intended time, to the acknowledgement
	Misorder    int64        `json:"acks_out_of_order"`
	Failed      int64        `json:"connections_failed"`
	Failure     string       `json:"failure,omitempty"`
	CPU         float64      `json:"own_cpu_us_per_message"`
	Check       *CheckReport `json:"check,omitempty"`

	brokerCPU float64 // microseconds of the broker for a message, where the suite knows its process
}

// Ok reports whether everything was acknowledged and, if it was checked, found again.
func (r *MQTTReport) Ok() bool {
	return r.Failed == 0 && r.Unacked == 0 && (r.Check == nil || r.Check.Ok())
}

// RunMQTT publishes, measures, and checks if asked to. The error is about what kept it from measuring; what the broker did
// wrong stands in the report.
func RunMQTT(ctx context.Context, o MQTTOptions) (*MQTTReport, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	run := rand.Uint64()
	check, err := startCheck(ctx, o, run)
	if err != nil {
		return nil, fmt.Errorf("preparing the check: %w", err)
	}
	defer check.close()
	conns, err := dialAll(ctx, o, run)
	if err != nil {
		return nil, err
	}
	r := &mqttRun{options: o, clock: clock{start: time.Now()}}
	defer r.close()
	if err := r.build(conns, run); err != nil {
		return nil, err
	}
	if err := r.drive(ctx); err != nil {
		return nil, err
	}
	report := r.report()
	if o.Check.on() {
		if report.Check, err = check.finish(ctx, r.flows); err != nil {
			return nil, fmt.Errorf("reading back: %w", err)
		}
	}
	return report, nil
}

// dialAll opens the connections, 32 at a time.
func dialAll(ctx context.Context, o MQTTOptions, run uint64) ([]*mqttc.Conn, error) {
	conns := make([]*mqttc.Conn, o.Connections)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range conns {
		g.Go(func() (err error) {
			id := fmt.Sprintf("%s-%08x-%d", o.ClientID, uint32(run), i)
			conns[i], err = mqttc.Dial(gctx, o.Addr, mqttc.Options{ClientID: id, Credentials: o.Credentials, ReadBuffer: 64})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
		return nil, err
	}
	return conns, nil
}

// mqttRun is one run: its engines, each with its share of the flows.
type mqttRun struct {
	options MQTTOptions
	clock   clock
	engines []*engine
	flows   []*flow // by the number of the connection
	meters  []*meter

	start, from int64 // of sending and of measuring, on the clock
	cpu         float64
}

// build hands the connections to the engines in turn.
func (r *mqttRun) build(conns []*mqttc.Conn, run uint64) error {
	defer func() {
		for _, c := range conns {
			c.Close() // the engines have sockets of their own
		}
	}()
	for range r.options.Workers {
		e, err := newEngine(r.clock)
		if err != nil {
			return err
		}
		r.engines = append(r.engines, e)
		r.meters = append(r.meters, &meter{latencies: newHistogram()})
	}
	for i, c := range conns {
		w := i % len(r.engines)
		f := newFlow(r.options, run, i, r.meters[w])
		if n := r.options.Count; n > 0 {
			share := n / int64(len(conns))
			if int64(i) < n%int64(len(conns)) {
				share++
			}
			f.last = share
		}
		r.flows = append(r.flows, f)
		if err := r.engines[w].add(c, f); err != nil {
			return err
		}
	}
	return nil
}

// drive runs the engines from start to end.
func (r *mqttRun) drive(ctx context.Context) error {
	o := r.options
	runtime.GC() // now rather than while measuring
	r.start = r.clock.now()
	if o.Rate > 0 {
		r.start += int64(time.Millisecond) // the schedule begins when the engines run
	}
	r.from = r.start
	stop := int64(math.MaxInt64)
	if o.Count == 0 {
		if o.QoS > 0 {
			r.from += int64(o.Warmup)
		}
		stop = r.from + int64(o.Duration)
	}
	for i, e := range r.engines {
		r.meters[i].from, r.meters[i].to, r.meters[i].paced = r.from, stop, o.Rate > 0
		e.stopAt, e.patience, e.coalesce = stop, int64(o.Patience), int64(o.Coalesce)
		if o.Rate > 0 {
			every := max(int64(float64(len(r.engines))*1e9/o.Rate), 1)
			if err := e.pace(every, r.start+int64(i)*every/int64(len(r.engines))); err != nil {
				return err
			}
		}
	}
	cpu := ownCPU()
	var wg sync.WaitGroup
	for _, e := range r.engines {
		wg.Go(func() { e.run(ctx) })
	}
	wg.Wait()
	r.cpu = ownCPU() - cpu
	return ctx.Err()
}

func (r *mqttRun) close() {
	for _, e := range r.engines {
		e.close()
	}
}

func (r *mqttRun) report() *MQTTReport {
	o := r.options
	rep := &MQTTReport{Addr: o.Addr, Connections: o.Connections, Window: o.Window, QoS: o.QoS, Size: o.Size, Rate: o.Rate}
	total, all := newHistogram(), int64(0)
	for _, m := range r.meters {
		total.Merge(m.latencies)
		rep.Acked += m.acked
		rep.Misorder += m.misorder
	}
	for _, f := range r.flows {
		rep.Sent += f.next
		rep.Unacked += f.unacked()
		all += f.next - f.unacked()
	}
	end := int64(0)
	for _, e := range r.engines {
		end = max(end, e.endedAt)
		rep.Failed += e.failures
		if e.failure != nil && rep.Failure == "" {
			rep.Failure = e.failure.Error()
		}
	}
	if o.QoS == 0 {
		rep.Acked = all // the answer to the last PINGREQ stands for all of them
	} else {
		if o.Rate == 0 {
			end = min(end, r.engines[0].stopAt)
		}
		latency := newLatency(total)
		rep.Latency = &latency
	}
	rep.Seconds = float64(max(end-r.from, 1)) / 1e9
	rep.PerSecond = float64(rep.Acked) / rep.Seconds
	rep.CPU = r.cpu * 1e6 / float64(max(all, 1))
	return rep
}
