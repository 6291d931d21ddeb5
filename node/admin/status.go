package admin

import "time"

// Status is what a node tells about itself. Fields are only ever added. Sizes are in bytes, times in seconds where the
// name says so.
type Status struct {
	Version   string         `json:"version"`
	Node      NodeStatus     `json:"node"`
	StartedAt time.Time      `json:"started_at"`
	Uptime    float64        `json:"uptime_seconds"`
	Ready     bool           `json:"ready"`
	NotReady  []string       `json:"not_ready,omitempty"` // why not
	Listeners []Listener     `json:"listeners"`
	Log       LogStatus      `json:"log"`
	Topics    []Topic        `json:"topics"`             // in the order of their names
	Upstream  *UpstreamState `json:"upstream,omitempty"` // none: nothing is forwarded
}

// NodeStatus is who the node is.
type NodeStatus struct {
	ID        int32  `json:"id"`
	Name      string `json:"name"`
	ClusterID string `json:"cluster_id,omitempty"`
	DataDir   string `json:"data_dir"`
}

// Listener is one address the node listens on, the real one when the configuration asked for port 0.
type Listener struct {
	Protocol    string `json:"protocol"` // kafka, mqtt, http
	Address     string `json:"address"`
	Connections int64  `json:"connections"` // open now
}

// LogStatus is the state of the store. Counts and bytes written are since the start of the process.
type LogStatus struct {
	Segments      int      `json:"segments"`
	DiskBytes     int64    `json:"disk_bytes"`    // of segments and journal
	FreeBytes     int64    `json:"free_bytes"`    // of the file system, for a user without privileges
	PendingBytes  int64    `json:"pending_bytes"` // in the journal and not in a segment yet
	BatchBytes    int64    `json:"batch_bytes"`   // of record batches made durable
	WrittenBytes  int64    `json:"written_bytes"` // handed to the file system for them: journal and segments
	Device        Device   `json:"device"`        // what came of it below the file system
	Amplification float64  `json:"amplification"` // WrittenBytes over BatchBytes; 0 when nothing was stored
	Commits       int64    `json:"commits"`       // groups made durable
	CommitP50     float64  `json:"commit_p50_seconds"`
	CommitP99     float64  `json:"commit_p99_seconds"`
	Refusing      string   `json:"refusing,omitempty"` // why nothing is taken, like a full disk
	Damaged       []string `json:"damaged,omitempty"`  // files that were set aside

	ReserveBytes  int64  `json:"reserve_bytes"`            // held on the device for alarms
	ReserveWanted int64  `json:"reserve_wanted_bytes"`     // to be held: less is while alarms need it, or there is no room
	Lost          int64  `json:"lost_records"`             // of all topics that there are, ever: gone before they were forwarded
	RetentionHeld string `json:"retention_held,omitempty"` // why nothing expires by time at present, like a clock that nobody set

	ReceivedBytes       int64   `json:"received_bytes"`       // from publishers and producers, as they sent it
	DeviceAmplification float64 `json:"device_amplification"` // what the device wrote over ReceivedBytes; 0 when either is unknown
	Flash               *Flash  `json:"flash,omitempty"`
}

// Topic is one topic with its partitions on this node.
type Topic struct {
	Name       string      `json:"name"`
	ID         string      `json:"id"`
	Internal   bool        `json:"internal,omitempty"`
	Priority   int32       `json:"priority"` // culvert.priority: 0 gives way first when space is short, 9 last
	Ledger     Ledger      `json:"ledger"`
	Partitions []Partition `json:"partitions"`
}

// Ledger counts a topic's records since it was created, across restarts. It adds up: Accepted is Stored, Expired, Lost,
// Superseded and Damaged together.
type Ledger struct {
	Accepted   int64 `json:"accepted_records"`   // given an offset and made durable
	Stored     int64 `json:"stored_records"`     // still there
	Forwarded  int64 `json:"forwarded_records"`  // of all accepted: sent on to the centre, and the answer was there; 0 for topics that are not forwarded
	Expired    int64 `json:"expired_records"`    // removed by retention or a client when they had been forwarded or were not to be
	Lost       int64 `json:"lost_records"`       // removed by retention or a client before they were forwarded
	Superseded int64 `json:"superseded_records"` // removed by compaction
	Damaged    int64 `json:"damaged_records"`    // cannot be read any more
}

// Add adds what another ledger counts.
func (l *Ledger) Add(o Ledger) {
	l.Accepted += o.Accepted
	l.Stored += o.Stored
	l.Forwarded += o.Forwarded
	l.Expired += o.Expired
	l.Lost += o.Lost
	l.Superseded += o.Superseded
	l.Damaged += o.Damaged
}

// Partition is one partition.
type Partition struct {
	Index    int32              `json:"partition"`
	Start    int64              `json:"start_offset"` // first offset that can be read
	End      int64              `json:"end_offset"`   // the high watermark: first offset that cannot be read yet
	Bytes    int64              `json:"bytes"`
	Upstream *PartitionUpstream `json:"upstream,omitempty"` // none: it is not forwarded
}

// PartitionUpstream tells how far a partition has been forwarded.
type PartitionUpstream struct {
	State    string `json:"state"`
	Position int64  `json:"position"` // first offset the centre has not confirmed
	Lag      int64  `json:"lag_records"`
	Lost     int64  `json:"lost_records,omitempty"`    // gone before they were sent
	Refused  int64  `json:"refused_records,omitempty"` // refused by the centre and passed over
	Error    string `json:"error,omitempty"`
}

// UpstreamState is how the connection to the centre is.
type UpstreamState struct {
	State     string   `json:"state"`
	Brokers   []string `json:"brokers"`
	Site      string   `json:"site"`
	Lag       int64    `json:"lag_records"`
	Behind    float64  `json:"behind_seconds"`    // age of the oldest record that is not confirmed
	Confirmed int64    `json:"confirmed_records"` // since the start of the process
	Lost      int64    `json:"lost_records"`      // likewise
	Refused   int64    `json:"refused_records"`   // likewise
	Resent    int64    `json:"resent_records"`    // handed over again after a failure, likewise
	Held      int      `json:"held_partitions"`   // that wait because the centre refuses them

	DownSince *time.Time `json:"down_since,omitempty"` // the centre was reached before, and is not now
	LastError string     `json:"last_error,omitempty"`
}

// Records returns the number of offsets between start and end, over all partitions.
func (t *Topic) Records() (n int64) {
	for _, p := range t.Partitions {
		n += p.End - p.Start
	}
	return n
}

// Bytes returns the size of all partitions.
func (t *Topic) Bytes() (n int64) {
	for _, p := range t.Partitions {
		n += p.Bytes
	}
	return n
}

// Lag returns the number of records the centre has not confirmed, and whether any partition is forwarded at all.
func (t *Topic) Lag() (n int64, forwarded bool) {
	for _, p := range t.Partitions {
		if p.Upstream != nil {
			n += p.Upstream.Lag
			forwarded = true
		}
	}
	return n, forwarded
}
