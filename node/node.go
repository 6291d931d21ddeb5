package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/culvert-mq/culvert/ingest/kafka"
	"github.com/culvert-mq/culvert/ingest/mqtt"
	"github.com/culvert-mq/culvert/ingest/route"
	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/node/admin"
	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/sync/group"
	"github.com/culvert-mq/culvert/sync/quorum"
	"github.com/culvert-mq/culvert/sync/replica"
	"github.com/culvert-mq/culvert/sync/upstream"
)

// ErrLocked says that another process has the data directory.
var ErrLocked = fsx.ErrLocked

// ErrDevice says that the device refused a write or a sync. What it holds, only a restart can tell.
var ErrDevice = store.ErrFailed

// ErrForeign says that the data directory belongs to another node.
var ErrForeign = quorum.ErrForeign

// ListenError says that an address cannot be listened on.
type ListenError struct {
	Protocol string // kafka, mqtt, http
	Address  string
	Err      error
}

// Error implements error.
func (e *ListenError) Error() string {
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		return fmt.Sprintf("%s listener: %s is in use by another process", e.Protocol, e.Address)
	}
	return fmt.Sprintf("%s listener: %v", e.Protocol, e.Err)
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

// Options are what a node is made of.
type Options struct {
	Config  *config.Config // complete: loaded, validated, resolved
	Logger  *slog.Logger
	Level   *slog.LevelVar // of Logger, for reloads
	Version string
	Faults  fsx.Faults // for tests: what goes wrong with the log's files; may be nil
}

// Node is one culvert. New makes it, Run runs it, once.
type Node struct {
	log     *slog.Logger
	level   *slog.LevelVar
	version string
	faults  fsx.Faults
	started time.Time
	reg     *prometheus.Registry
	meter   *admin.Meter
	budget  *budget

	cfg   atomic.Pointer[config.Config]
	ready atomic.Bool

	store    *store.Store
	quorum   *quorum.Quorum
	replicas *replica.Manager
	topics   *topics
	groups   *group.Coordinator
	kafka    *kafka.Server
	mqtt     *mqtt.Server
	admin    *admin.Server
	upstream *upstream.Forwarder

	listeners   []listener
	closers     []func(context.Context) error // in the order of their making; run in reverse
	reconcileMu sync.Mutex                    // one Reconcile at a time
	reconciled  int64                         // guarded by reconcileMu: version of the newest state told to Reconcile
	outOfStep   atomic.Bool                   // the last Reconcile failed
	segment     int64                         // up to which a segment grows, bytes
	reserve     int64                         // held for alarms, bytes
}

// listener is an address the node listens on.
type listener struct {
	protocol    string
	net         net.Listener
	serve       func(net.Listener) error
	connections func() int64
}

// New opens the data directory and the listeners of a configuration and builds all parts. Nothing is served before Run.
// Errors: ErrLocked, ErrForeign, ErrDevice, *ListenError, and what the file system says.
func New(opt Options) (n *Node, err error) {
	c := opt.Config
	n = &Node{log: opt.Logger, level: opt.Level, version: opt.Version, faults: opt.Faults, started: time.Now(), reg: prometheus.NewRegistry()}
	n.cfg.Store(c)
	n.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close(context.Background()))
			n = nil
		}
	}()
	for _, build := range []func(*config.Config) error{n.openLog, n.openMetadata, n.noteLostMetadata, n.listen, n.register, n.openPartitions, n.openGroups, n.buildServers, n.buildUpstream} {
		if err := build(c); err != nil {
			return n, err
		}
	}
	return n, nil
}

// onClose has fn run when the node ends, before what was made earlier is closed.
func (n *Node) onClose(fn func(context.Context) error) { n.closers = append(n.closers, fn) }

func (n *Node) close(ctx context.Context) error {
	var errs []error
	for _, fn := range slices.Backward(n.closers) {
		errs = append(errs, fn(ctx))
	}
	n.closers = nil
	return errors.Join(errs...)
}

func (n *Node) openLog(c *config.Config) error {
	n.segment, n.reserve = n.fittingSegment(c), n.fittingReserve(c)
	opt := store.Options{
		Dir:            logDir(c),
		SegmentBytes:   n.segment,
		SegmentAge:     c.Log.SegmentAge.Std(),
		JournalBytes:   int64(c.Log.JournalBytes),
		DirectBytes:    int64(c.Commit.DirectBytes),
		AbsorbBytes:    int64(c.Commit.AbsorbBytes),
		AbsorbInterval: c.Commit.AbsorbInterval.Std(),
		MaxOpenBytes:   int64(c.Log.MaxPendingBytes),
		MinFreeBytes:   int64(c.Log.MinFreeBytes),
		ReserveBytes:   n.reserve,
		Linger:         n.linger(c),
		Faults:         n.faults,
		Logger:         n.log.With("part", "log"),
		Metrics:        store.NewMetrics(n.reg),
	}
	var err error
	if n.store, err = store.Open(opt); err != nil {
		return err
	}
	n.onClose(func(context.Context) error { return n.store.Close() })
	n.meter = admin.NewMeter(opt.Dir)
	n.meter.Register(n.reg)
	n.budget = n.newBudget(c, opt.Metrics, opt.Linger)
	return nil
}

// linger decides how long a commit waits for company.
func (n *Node) linger(c *config.Config) time.Duration {
	if !c.Commit.Linger.IsAuto() {
		return c.Commit.Linger.Std()
	}
	d, err := fsx.DeviceOf(existing(c.Node.DataDir))
	if err != nil || !d.IsCard() {
		return 0
	}
	n.log.Info("the data directory lies on a card: commits wait for company", "device", d.Name, "linger", cardLinger)
	return cardLinger
}

// cardLinger spares SD cards and eMMC, which wear with every block written.
const cardLinger = 50 * time.Millisecond

// existing returns the nearest directory at or above dir that is there.
func existing(dir string) string {
	for dir != filepath.Dir(dir) {
		if _, err := fsx.FreeBytes(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

func (n *Node) openMetadata(c *config.Config) error {
	var err error
	n.quorum, err = quorum.Open(quorum.Options{
		Dir: filepath.Join(c.Node.DataDir, "meta"), NodeID: c.Node.ID, Logger: n.log.With("part", "metadata"), Metrics: quorum.NewMetrics(n.reg),
	})
	if err != nil {
		return err
	}
	n.onClose(func(context.Context) error { return n.quorum.Close() })
	return nil
}

// listen opens all listeners, so that a port in use is known before anything is served.
func (n *Node) listen(c *config.Config) error {
	n.onClose(func(context.Context) error {
		for _, l := range n.listeners {
			_ = l.net.Close() // most have been closed by their servers
		}
		return nil
	})
	for _, l := range []struct{ protocol, address string }{{"kafka", c.Kafka.Listen}, {"mqtt", c.MQTT.Listen}, {"http", c.HTTP.Listen}} {
		if l.address == "" {
			continue
		}
		nl, err := new(net.ListenConfig).Listen(context.Background(), "tcp", l.address)
		if err != nil {
			return &ListenError{l.protocol, l.address, err}
		}
		n.listeners = append(n.listeners, listener{protocol: l.protocol, net: nl})
	}
	return nil
}

func (n *Node) listener(protocol string) *listener {
	for i := range n.listeners {
		if n.listeners[i].protocol == protocol {
			return &n.listeners[i]
		}
	}
	return nil
}

// buildServers makes the servers of the listeners that are open.
func (n *Node) buildServers(c *config.Config) error {
	if l := n.listener("kafka"); l != nil {
		var err error
		if n.kafka, err = n.newKafka(c); err != nil {
			return err
		}
		l.serve, l.connections = n.kafka.Serve, n.kafka.Connections
		n.onClose(n.kafka.Shutdown)
	}
	if l := n.listener("mqtt"); l != nil {
		routes, err := routeTable(c)
		if err != nil {
			return err
		}
		n.mqtt, err = mqtt.NewServer(mqttConfig(c), &mqttLog{topics: n.topics}, routes, n.log.With("part", "mqtt"), mqtt.NewMetrics(n.reg))
		if err != nil {
			return err
		}
		l.serve, l.connections = n.mqtt.Serve, func() int64 { return int64(n.mqtt.Stats().Connections) }
		n.onClose(n.mqtt.Shutdown)
	}
	if l := n.listener("http"); l != nil {
		n.admin = admin.New(admin.Options{Logger: n.log.With("part", "http"), Metrics: n.reg, Status: n, Readiness: n, Health: n, Pprof: c.HTTP.Pprof})
		l.serve = n.admin.Serve
	}
	return nil
}

// Run serves until ctx is done or a part fails, and then stops in order: no new connections, what was received is
// committed and acknowledged, positions stored, files closed. It takes no longer than node.stop_timeout. Errors: ErrDevice
// when the device failed, and what made another part fail.
func (n *Node) Run(ctx context.Context) error {
	failed := make(chan error, len(n.listeners)+2) // one of each: who sends never waits
	var serving, working sync.WaitGroup
	for _, l := range n.listeners {
		serving.Go(func() {
			if err := l.serve(l.net); err != nil && !errors.Is(err, kafka.ErrServerClosed) {
				failed <- fmt.Errorf("%s listener: %w", l.protocol, err)
			}
		})
		n.log.Info("listening", "protocol", l.protocol, "address", l.net.Addr().String())
	}
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	working.Go(func() { n.replicas.Maintain(work, retentionInterval, n.limits(n.cfg.Load())) })
	working.Go(func() { n.keepOffsets(work) })
	working.Go(func() { n.budget.run(work) })
	working.Go(func() { n.paceCollections(work) })
	working.Go(func() { n.keepReconciled(work) })
	working.Go(func() {
		if err := n.watchDevice(work); err != nil {
			failed <- err
		}
	})
	if n.upstream != nil {
		working.Go(func() {
			if err := n.upstream.Run(work); err != nil {
				failed <- fmt.Errorf("upstream: %w", err)
			}
		})
	}
	n.ready.Store(true)
	n.log.Info("culvert is ready", "version", n.version, "node", n.cfg.Load().Node.ID, "data", n.cfg.Load().Node.DataDir, "took", time.Since(n.started).Round(time.Millisecond))
	n.notify(daemon.SdNotifyReady)
	n.startWatchdog()

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		n.logFailure(err)
	}
	n.notify(daemon.SdNotifyStopping)
	n.ready.Store(false)
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.Load().Node.StopTimeout.Std())
	defer cancel()
	stopped := n.stop(deadline, stopWork, &working, &serving)
	if errors.Is(err, ErrDevice) && errors.Is(stopped, ErrDevice) {
		return stopped // it is one failure
	}
	return errors.Join(err, stopped)
}

// retentionInterval is how often retention is applied.
const retentionInterval = 10 * time.Second

// stop ends the servers first, all at once, then what works on the log, then the parts below.
func (n *Node) stop(ctx context.Context, stopWork func(), working, serving *sync.WaitGroup) error {
	var servers sync.WaitGroup
	for _, shutdown := range n.shutdowns() {
		servers.Go(func() {
			if err := shutdown(ctx); err != nil {
				n.log.Warn("connections were cut off", "err", err)
			}
		})
	}
	servers.Wait()
	stopWork()
	working.Wait()
	if n.admin != nil {
		if err := n.admin.Shutdown(ctx); err != nil {
			n.log.Warn("HTTP requests were cut off", "err", err)
		}
	}
	serving.Wait()
	failed := n.failed() // while stopping, too: not all that was waited for is stored
	err := n.close(ctx)
	n.log.Info("stopped", "after", time.Since(n.started).Round(time.Second))
	return errors.Join(failed, err)
}

func (n *Node) shutdowns() []func(context.Context) error {
	var all []func(context.Context) error
	if n.kafka != nil {
		all = append(all, n.kafka.Shutdown)
	}
	if n.mqtt != nil {
		all = append(all, n.mqtt.Shutdown)
	}
	return all
}

// Reload takes over what of a configuration may change while the node runs (see config.Reloadable), and logs what changed
// and what waits for a restart. On an error nothing has changed.
func (n *Node) Reload(next *config.Config) error {
	old := n.cfg.Load()
	merged := old.WithReloadable(next)
	if err := n.level.UnmarshalText([]byte(merged.Node.LogLevel)); err != nil {
		return err
	}
	routes, err := routeTable(merged)
	if err != nil {
		return err
	}
	defaults, err := brokerDefaults(merged, n.listeners)
	if err != nil {
		return err
	}
	if n.upstream != nil {
		if err := n.upstream.SetTopics(merged.Upstream.Topics, merged.Upstream.Exclude); err != nil {
			return err
		}
	}
	for _, ch := range old.Changes(next) {
		if ch.Reload {
			n.log.Info("configuration changed", "key", ch.Key, "old", ch.Old, "new", ch.New)
		} else {
			n.log.Warn("configuration change needs a restart", "key", ch.Key, "running", ch.Old, "new", ch.New)
		}
	}
	n.cfg.Store(merged)
	if n.mqtt != nil {
		n.mqtt.SetRoutes(routes)
	}
	if n.kafka != nil {
		n.kafka.SetDefaults(defaults)
	}
	n.topics.setDefaults(defaults)
	n.replicas.SetDefaults(defaults)
	n.reconcile(n.quorum.State())
	return nil
}

func routeTable(c *config.Config) (*route.Table, error) {
	routes := make([]route.Route, len(c.MQTT.Routes))
	for i, r := range c.MQTT.Routes {
		routes[i] = route.Route{Filter: r.Filter, Topic: r.Topic, Key: r.Key, Headers: headerTemplates(r.Headers)}
	}
	return route.New(routes, route.Route{Topic: c.MQTT.Defaults.Topic, Key: c.MQTT.Defaults.Key})
}
