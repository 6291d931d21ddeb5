package upstream

import "time"

// State is what forwarding as a whole is doing.
type State string

// The states there are.
const (
	StateStopped    State = "stopped"     // Run is not running
	StateConnecting State = "connecting"  // the centre has not been reached since the start
	StateDown       State = "down"        // the centre was reached before, and is not now
	StateCatchingUp State = "catching-up" // there has been a backlog for some seconds
	StateStreaming  State = "streaming"   // what comes in goes out
)

// States lists all states.
var States = []State{StateStopped, StateConnecting, StateDown, StateCatchingUp, StateStreaming}

// backlogAfter is how long there must be something to read before that is a backlog.
const backlogAfter = 3 * time.Second

// The states of a partition.
const (
	PartitionIdle     = "idle"     // everything is confirmed
	PartitionSending  = "sending"  // there are records on their way or to be read
	PartitionHeld     = "held"     // waits, because of Error, until RetryAt
	PartitionChecking = "checking" // looks for a record that the centre refuses
)

// Status is a snapshot of a forwarder.
type Status struct {
	State         State             `json:"state"`
	DownSince     *time.Time        `json:"down_since,omitempty"`
	LastError     string            `json:"last_error,omitempty"` // of the connection; what partitions suffer from is told there
	LastErrorAt   *time.Time        `json:"last_error_at,omitempty"`
	Lag           int64             `json:"lag_records"`
	BehindSeconds float64           `json:"behind_seconds"`
	Held          int               `json:"held_partitions"`
	InflightBytes int64             `json:"inflight_bytes"`
	Confirmed     int64             `json:"confirmed_records"` // since the start, like the next three
	Lost          int64             `json:"lost_records"`
	Refused       int64             `json:"refused_records"`
	Resent        int64             `json:"resent_records"` // handed to the producer again after a failure
	Partitions    []PartitionStatus `json:"partitions"`
}

// PartitionStatus tells how far one partition has been forwarded.
type PartitionStatus struct {
	Topic         string     `json:"topic"`
	Partition     int32      `json:"partition"`
	CentralTopic  string     `json:"central_topic"`
	State         string     `json:"state"`
	Position      int64      `json:"position"` // first offset that is not confirmed
	Sent          int64      `json:"sent"`     // first offset that is not on its way either
	HighWatermark int64      `json:"high_watermark"`
	Lag           int64      `json:"lag_records"`
	BehindSeconds float64    `json:"behind_seconds"` // age of the oldest record that is not confirmed, 0 if there is none
	Confirmed     int64      `json:"confirmed_records"`
	Lost          int64      `json:"lost_records"`    // gone or damaged before they were sent
	Refused       int64      `json:"refused_records"` // passed over
	Error         string     `json:"error,omitempty"`
	RetryAt       *time.Time `json:"retry_at,omitempty"`
}

// Status returns a snapshot. It may be called at any time; before Run, and after it, it tells StateStopped.
func (w *Forwarder) Status() Status {
	now := time.Now()
	l := w.link.state()
	s := Status{InflightBytes: w.budget.used.Load(), Partitions: []PartitionStatus{}}
	if l.err != nil {
		s.LastError, s.LastErrorAt = l.err.Error(), &l.errAt
	}
	var backlog bool
	for _, f := range w.flows.Load().list {
		p, since := f.status(now)
		s.Partitions = append(s.Partitions, p)
		s.Lag += p.Lag
		s.BehindSeconds = max(s.BehindSeconds, p.BehindSeconds)
		s.Confirmed += p.Confirmed
		s.Lost += p.Lost
		s.Refused += p.Refused
		if p.State == PartitionHeld {
			s.Held++
		}
		backlog = backlog || !since.IsZero() && now.Sub(since) >= backlogAfter
	}
	s.Resent = w.resent.Load()
	switch {
	case !w.running.Load():
		s.State = StateStopped
	case !l.everUp:
		s.State = StateConnecting
	case l.down:
		s.State, s.DownSince = StateDown, &l.downSince
	case backlog:
		s.State = StateCatchingUp
	default:
		s.State = StateStreaming
	}
	return s
}

func (f *flow) status(now time.Time) (p PartitionStatus, behindAt time.Time) {
	hwm := f.src.HighWatermark()
	_, _, topicRetry, topicErr := f.central.state(now, time.Time{})
	f.mu.Lock()
	defer f.mu.Unlock()
	p = PartitionStatus{
		Topic: f.id.Topic, Partition: f.id.Index, CentralTopic: f.central.name,
		Position: f.position, Sent: max(f.next, f.position), HighWatermark: hwm, Lag: max(hwm-f.position, 0),
		Confirmed: f.total.confirmedRecords, Lost: f.total.lost + f.total.damaged, Refused: f.total.refused,
	}
	if p.Lag > 0 && f.oldest >= 0 {
		p.BehindSeconds = max(now.Sub(time.UnixMilli(f.oldest)).Seconds(), 0)
	}
	if f.cause != nil {
		p.Error = f.cause.Error()
	}
	switch {
	case f.mode == held || f.mode == probing || f.mode == draining && f.failures > 0:
		p.State = PartitionHeld
		if at := f.retryAt; at.After(now) {
			p.RetryAt = &at
		}
	case f.mode == careful || f.mode == draining:
		p.State = PartitionChecking
	case p.Lag == 0:
		p.State = PartitionIdle
	case topicErr != nil:
		p.State, p.Error = PartitionHeld, topicErr.Error()
		if topicRetry.After(now) {
			p.RetryAt = &topicRetry
		}
	default:
		p.State = PartitionSending
	}
	return p, f.behindAt
}
