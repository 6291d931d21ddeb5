package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/node/admin"
	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/upstream"
)

// NotReady implements admin.ReadinessSource.
func (n *Node) NotReady() []string {
	var why []string
	if !n.ready.Load() {
		why = append(why, "the node is starting or stopping")
	}
	if err := n.store.Refused(); err != nil {
		why = append(why, "log: "+err.Error())
	}
	if !n.quorum.Leads() {
		why = append(why, "metadata: no leader")
	}
	return why
}

// Addr returns the real address of a listener ("kafka", "mqtt", "http"), "" if there is none.
func (n *Node) Addr(protocol string) string {
	if l := n.listener(protocol); l != nil {
		return l.net.Addr().String()
	}
	return ""
}

// Status implements admin.StatusSource.
func (n *Node) Status() admin.Status {
	c := n.cfg.Load()
	why := n.NotReady()
	s := admin.Status{
		Version:   n.version,
		Node:      admin.NodeStatus{ID: c.Node.ID, Name: c.Node.Name, ClusterID: n.quorum.State().ClusterID, DataDir: c.Node.DataDir},
		StartedAt: n.started,
		Uptime:    time.Since(n.started).Seconds(),
		Ready:     len(why) == 0,
		NotReady:  why,
		Log:       n.logStatus(c.Node.DataDir),
	}
	for _, l := range n.listeners {
		out := admin.Listener{Protocol: l.protocol, Address: l.net.Addr().String()}
		if l.connections != nil {
			out.Connections = l.connections()
		}
		s.Listeners = append(s.Listeners, out)
	}
	forwarded := make(map[partitionKey]upstream.PartitionStatus)
	if n.upstream != nil {
		u := n.upstream.Status()
		s.Upstream = &admin.UpstreamState{
			State: string(u.State), Brokers: c.Upstream.Brokers, Site: c.Upstream.Site, Lag: u.Lag, Behind: u.BehindSeconds,
			Confirmed: u.Confirmed, Lost: u.Lost, Refused: u.Refused, Resent: u.Resent, Held: u.Held,
			DownSince: u.DownSince, LastError: u.LastError,
		}
		for _, p := range u.Partitions {
			forwarded[partitionKey{p.Topic, p.Partition}] = p
		}
	}
	s.Topics = n.topicStatus(forwarded)
	for i := range s.Topics {
		s.Log.Lost += s.Topics[i].Ledger.Lost
	}
	s.Log.RetentionHeld = n.replicas.Held()
	return s
}

type partitionKey struct {
	topic     string
	partition int32
}

func (n *Node) topicStatus(forwarded map[partitionKey]upstream.PartitionStatus) []admin.Topic {
	topics := []admin.Topic{}
	for _, p := range n.replicas.All() {
		i, found := slices.BinarySearchFunc(topics, p.Topic(), func(t admin.Topic, name string) int { return cmp.Compare(t.Name, name) })
		if !found {
			topics = slices.Insert(topics, i, admin.Topic{Name: p.Topic(), ID: p.TopicID().String(), Internal: meta.InternalTopic(p.Topic()), Priority: p.Config().Priority})
		}
		out := admin.Partition{Index: p.Index(), Start: p.StartOffset(), End: p.HighWatermark(), Bytes: p.Size()}
		if u, ok := forwarded[partitionKey{p.Topic(), p.Index()}]; ok {
			out.Upstream = &admin.PartitionUpstream{State: u.State, Position: u.Position, Lag: u.Lag, Lost: u.Lost, Refused: u.Refused, Error: u.Error}
		}
		l := p.Ledger()
		topics[i].Ledger.Add(admin.Ledger{
			Accepted: l.Accepted, Stored: l.Stored, Forwarded: l.Forwarded, Expired: l.Expired, Lost: l.Lost, Superseded: l.Superseded, Damaged: l.Damaged,
		})
		topics[i].Partitions = append(topics[i].Partitions, out)
	}
	return topics
}

func (n *Node) logStatus(dir string) admin.LogStatus {
	st := n.store.Stats()
	l := admin.LogStatus{ReserveBytes: st.ReserveBytes, ReserveWanted: n.reserve, Segments: st.Segments, DiskBytes: st.SegmentBytes + st.JournalBytes, Device: n.meter.Read()}
	if free, err := fsx.FreeBytes(dir); err == nil {
		l.FreeBytes = free
	}
	if err := n.store.Refused(); err != nil {
		l.Refusing = err.Error()
	}
	for _, d := range n.store.Damage() {
		l.Damaged = append(l.Damaged, d.Path)
	}
	for _, d := range n.quorum.Damage() {
		l.Damaged = append(l.Damaged, d.Aside)
	}
	f, err := admin.Gather(n.reg)
	if err != nil {
		n.log.Warn("metrics cannot be gathered", "err", err)
	}
	l.PendingBytes = f.Int("culvert_log_pending_bytes")
	l.BatchBytes = f.Int("culvert_log_batch_bytes_total")
	l.WrittenBytes = f.Int("culvert_log_journal_written_bytes_total") + f.Int("culvert_log_segment_written_bytes_total")
	if l.BatchBytes > 0 {
		l.Amplification = float64(l.WrittenBytes) / float64(l.BatchBytes)
	}
	l.ReceivedBytes = f.Int("culvert_mqtt_received_bytes_total") + f.Int("culvert_kafka_produced_bytes_total")
	if l.ReceivedBytes > 0 {
		l.DeviceAmplification = float64(max(0, l.Device.DeviceBytes)) / float64(l.ReceivedBytes)
	}
	l.Flash = n.budget.status()
	l.Commits = f.Int("culvert_log_commits_total")
	l.CommitP50, l.CommitP99 = f.Quantile("culvert_log_commit_seconds", 0.5), f.Quantile("culvert_log_commit_seconds", 0.99)
	return l
}
