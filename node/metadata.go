package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/culvert-mq/culvert/ingest/kafka"
	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/quorum"
	"github.com/culvert-mq/culvert/sync/replica"

	"golang.org/x/sys/unix"
)

// proposeTimeout bounds a change of the metadata that the node itself makes while it starts.
const proposeTimeout = 30 * time.Second

// register makes this node known as a broker.
func (n *Node) register(c *config.Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
	defer cancel()
	cmd := &meta.RegisterBroker{ID: c.Node.ID, Incarnation: quorum.NewTopicID().String()}
	if l := n.listener("kafka"); l != nil {
		address := c.Kafka.Advertise
		if address == "" {
			address = l.net.Addr().String()
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("kafka.advertise: %w", err)
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return fmt.Errorf("kafka.advertise: %w", err)
		}
		cmd.Endpoints = []meta.Endpoint{{Listener: "PLAINTEXT", Host: host, Port: uint16(number)}}
	}
	if _, err := n.quorum.Propose(ctx, cmd); err != nil {
		return fmt.Errorf("register this node: %w", err)
	}
	return nil
}

// openPartitions makes the partitions that the metadata gives this node, and keeps them in step with it.
func (n *Node) openPartitions(c *config.Config) error {
	defaults, err := brokerDefaults(c, n.listeners)
	if err != nil {
		return err
	}
	codec, err := record.ParseCodec(c.Commit.Compression)
	if err != nil {
		return err
	}
	n.replicas = replica.New(replica.Options{
		Store: n.store, Defaults: defaults, Codec: codec, Now: time.Now, Logger: n.log.With("part", "replica"), Metrics: replica.NewMetrics(n.reg),
		Uptime: n.uptime, Synchronised: n.synchronised,
	})
	n.reg.MustRegister(n.replicas.Collector())
	n.topics = &topics{quorum: n.quorum, replicas: n.replicas}
	n.topics.setDefaults(defaults)
	stop := n.quorum.Watch(func(_, s *meta.State) { n.reconcile(s) })
	n.onClose(func(context.Context) error { stop(); return nil })
	if _, err := os.Stat(n.readoptMark()); err == nil {
		return n.readopt()
	}
	n.dropOrphans()
	return nil
}

// freshVersion is that of metadata which hold no more than the cluster's id and this node's registration.
const freshVersion = 2

// readoptMark is a file that says that the log knows topics which the metadata may have lost. It outlives a crash before
// all of them are back, so that none passes for deleted then.
func (n *Node) readoptMark() string { return filepath.Join(n.cfg.Load().Node.DataDir, "readopt") }

// noteLostMetadata leaves the mark where the metadata is new or was damaged, and the log is not empty. It comes before the
// first change of the metadata.
func (n *Node) noteLostMetadata(*config.Config) error {
	if len(n.store.States()) == 0 || n.quorum.State().Version > freshVersion && len(n.quorum.Damage()) == 0 {
		return nil
	}
	return fsx.WriteFile(n.readoptMark(), []byte("Topics of the log are being put back into the metadata.\n"), 0o600)
}

// dropOrphans removes what was deleted without that reaching the log. What cannot be removed now is by a later reconcile.
func (n *Node) dropOrphans() {
	n.reconcileMu.Lock()
	defer n.reconcileMu.Unlock()
	if err := n.replicas.DropOrphans(); err != nil {
		n.outOfStep.Store(true)
		n.log.Error("partitions of deleted topics cannot be removed", "err", err)
	}
}

// readopt puts topics back that are in the log while the metadata does not know them, because it was lost.
func (n *Node) readopt() error {
	ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
	defer cancel()
	n.reconcileMu.Lock()
	orphans := n.replicas.Orphans()
	n.reconcileMu.Unlock()
	left := 0
	for _, o := range orphans {
		cmd := &meta.CreateTopic{Name: o.Name, ID: o.ID, Partitions: o.Partitions, ReplicationFactor: 1}
		if meta.InternalTopic(o.Name) {
			cmd.Configs = map[string]string{"cleanup.policy": "compact"}
		}
		if _, err := n.quorum.Propose(ctx, cmd); err != nil {
			left++
			n.log.Error("a topic of the log cannot be put back into the metadata; its records stay on disk", "topic", o.Name, "err", err)
			continue
		}
		n.log.Warn("a topic was put back into the metadata with default settings", "topic", o.Name, "partitions", o.Partitions)
	}
	if left > 0 {
		return nil // the next start tries again
	}
	return errors.Join(os.Remove(n.readoptMark()), fsx.SyncDir(filepath.Dir(n.readoptMark())))
}

// reconcile brings the partitions in step with the metadata. Where that fails, a full disk above all, keepReconciled tries
// again.
func (n *Node) reconcile(s *meta.State) {
	n.reconcileMu.Lock()
	defer n.reconcileMu.Unlock()
	if s.Version < n.reconciled { // a newer state has been told already; going back would drop what it added
		return
	}
	n.reconciled = s.Version
	err := n.replicas.Reconcile(s)
	if err != nil {
		n.log.Error("partitions are not in step with the metadata", "err", err)
	}
	n.outOfStep.Store(err != nil)
}

// reconcileInterval is how often reconciling is tried again.
const reconcileInterval = time.Second

// keepReconciled tries to reconcile again what could not be, until ctx ends.
func (n *Node) keepReconciled(ctx context.Context) {
	t := time.NewTicker(reconcileInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if n.outOfStep.Load() && n.store.Refused() == nil {
				n.reconcile(n.quorum.State())
			}
		}
	}
}

// brokerDefaults are the broker configurations that a node's file stands for.
func brokerDefaults(c *config.Config, listeners []listener) (meta.Defaults, error) {
	static := map[string]string{
		"log.retention.ms":             millis(c.Log.Retention),
		"log.retention.bytes":          strconv.FormatInt(int64(c.Log.RetentionBytes), 10),
		"num.partitions":               strconv.Itoa(int(c.Log.NumPartitions)),
		"auto.create.topics.enable":    strconv.FormatBool(c.Log.AutoCreateTopics),
		"message.max.bytes":            strconv.FormatInt(int64(c.Log.MaxMessageBytes), 10),
		"socket.request.max.bytes":     strconv.FormatInt(int64(c.Kafka.MaxRequestBytes), 10),
		"connections.max.idle.ms":      millis(c.Kafka.IdleTimeout),
		"offsets.topic.num.partitions": strconv.Itoa(int(c.Kafka.OffsetsPartitions)),
		"log.dirs":                     c.Node.DataDir,
	}
	for _, l := range listeners {
		if l.protocol == "kafka" {
			static["listeners"] = "PLAINTEXT://" + l.net.Addr().String()
		}
	}
	if c.Kafka.Advertise != "" {
		static["advertised.listeners"] = "PLAINTEXT://" + c.Kafka.Advertise
	}
	return meta.NewDefaults(c.Node.ID, static)
}

func millis(d config.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func (n *Node) newKafka(c *config.Config) (*kafka.Server, error) {
	cfg := kafka.Config{
		Defaults: n.topics.currentDefaults(), Advertise: c.Kafka.Advertise, MaxRequestBytes: int32(c.Kafka.MaxRequestBytes),
		MaxInflightBytes: int64(c.Kafka.MaxInflightBytes), MaxConnections: int(c.Kafka.MaxConnections),
		IdleTimeout: c.Kafka.IdleTimeout.Std(), WriteTimeout: c.Kafka.WriteTimeout.Std(), DataDir: c.Node.DataDir,
		Space: func() (total, free int64, err error) { return space(c.Node.DataDir) },
	}
	deps := kafka.Deps{Metadata: n.quorum, Log: kafka.OnReplicas(n.replicas), Offsets: kafkaOffsets{n.groups}}
	return kafka.NewServer(cfg, deps, n.log.With("part", "kafka"), kafka.NewMetrics(n.reg))
}

func space(dir string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	free, err = fsx.FreeBytes(dir)
	return int64(st.Blocks) * int64(st.Bsize), free, errors.Join(err) //nolint:unconvert // a real device; the field types differ between architectures
}
