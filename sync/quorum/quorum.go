package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/sync/meta"
)

// Errors of a quorum, beside those of package meta with which a command is refused.
var (
	// ErrClosed: the quorum was closed.
	ErrClosed = errors.New("the quorum is closed")
	// ErrNotLeader: another node leads the quorum; nothing was changed.
	ErrNotLeader = errors.New("this node does not lead the quorum")
	// ErrUnknownOutcome: the command may or may not have been carried out.
	ErrUnknownOutcome = errors.New("the outcome of the change is not known")
	// ErrForeign: the directory belongs to another node or to a quorum this node cannot join.
	ErrForeign = errors.New("the metadata belongs to another node")
)

// Timing. The only voter waits for nobody: it elects itself as soon as it is told to, see kick, and its
// lease is a timer and nothing more, so that both may be slow and an idle node asleep. After an entry
// could not be stored it leads again within two to four seconds.
const (
	soleTimeout = 2 * time.Second
	soleLease   = soleTimeout - 100*time.Millisecond // less by what kick takes off soleTimeout

	snapshotInterval  = 2 * time.Minute // raft looks once in this to twice this time
	snapshotThreshold = 256             // entries since the last snapshot that are worth a new one
	// trailingLogs is how many entries before a snapshot stay in the log, more than lie between two
	// snapshots as a rule: should the newer one be damaged, the older one and the log make up for it.
	trailingLogs = 1024
	maxAppend    = 1024 // entries in one commit
)

// Options configure a [Quorum].
type Options struct {
	Dir     string // where its files are; made if need be
	NodeID  int32
	Logger  *slog.Logger
	Metrics *Metrics   // nil: kept, but not registered
	Faults  fsx.Faults // for tests; may be nil
}

// Quorum holds the cluster's metadata on this node. Its methods may be called from any goroutine.
type Quorum struct {
	log     *slog.Logger
	metrics *Metrics
	dir     *fsx.Lock
	damage  []Damage

	me        raft.ServerID
	fsm       *fsm
	watchers  *watchers
	store     *store
	transport closer
	raft      *raft.Raft

	leadership leadership
	stopped    chan struct{} // closed when raft has ended

	mu     sync.RWMutex // guards closed; read-locked to add to tasks
	closed bool
	tasks  sync.WaitGroup
}

type closer interface {
	raft.Transport
	Close() error
}

func serverID(node int32) raft.ServerID {
	return raft.ServerID("node-" + strconv.Itoa(int(node)))
}

// Open reads what the directory holds and starts the quorum. When it returns, [Quorum.State] has
// everything that was ever committed, and the cluster has an id. It fails when another process has the
// directory ([fsx.ErrLocked]), when it belongs to another node ([ErrForeign]), when a later version wrote it
// ([meta.ErrNewer]), or when the disk fails; damage is no reason, see [Quorum.Damage].
func Open(o Options) (q *Quorum, err error) {
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if err := fsx.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, err
	}
	lock, err := fsx.LockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	q = &Quorum{log: o.Logger, metrics: o.Metrics, dir: lock, stopped: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.Close())
			q = nil
		}
	}()
	rec, err := recoverDir(o.Dir, o.Logger)
	if err != nil {
		return q, err
	}
	id, err := rec.identity(o.NodeID)
	if err != nil {
		return q, err
	}
	q.damage = rec.damage
	o.Metrics.damaged.Add(float64(len(q.damage)))
	if err := q.start(o, rec); err != nil {
		return q, err
	}
	return q, q.identify(o, id)
}

// identity reads whom the directory belongs to, and refuses one that is not the node's.
func (r *recovery) identity(node int32) (identity, error) {
	path := filepath.Join(r.dir, identityFile)
	id, found, err := readIdentity(path)
	var osErr *os.PathError
	switch {
	case errors.Is(err, meta.ErrNewer) || errors.As(err, &osErr):
		return id, fmt.Errorf("%s: %w", path, err)
	case err != nil:
		if err := r.damaged(path, "it is written anew", err); err != nil {
			return id, err
		}
	case found && id.node != node:
		return id, fmt.Errorf("%w: %s is that of node %d, this is node %d", ErrForeign, r.dir, id.node, node)
	}
	if !r.fresh() && !r.sole(serverID(node)) {
		return id, fmt.Errorf("%w: the voters in %s are %s, this is %s", ErrForeign, r.dir, r.voters(), serverID(node))
	}
	return identity{node: node, cluster: id.cluster}, nil
}

// start makes sure that there is a raft log, and runs raft on it.
func (q *Quorum) start(o Options, rec *recovery) error {
	path := filepath.Join(o.Dir, storeFile)
	me := serverID(o.NodeID)
	q.me = me
	address, transport := raft.NewInmemTransport(raft.ServerAddress(me))
	q.transport = transport
	if _, err := os.Stat(path); rec.fresh() {
		// What raft.BootstrapCluster would store, in one step that is done or not.
		conf := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: me, Address: address}}}
		first := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(conf)}
		rec.logs = []*raft.Log{first}
		if err := createStore(path, rec.logs, rec.values(map[string][]byte{})); err != nil {
			return err
		}
	} else if errors.Is(err, os.ErrNotExist) {
		if err := createStore(path, nil, rec.values(map[string][]byte{})); err != nil {
			return err
		}
	}
	state, last, err := rec.replay()
	if err != nil {
		return err
	}
	if q.store, err = openStore(path, o.Faults, o.Logger); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	q.watchers = newWatchers(q.State)
	q.fsm = newFSM(o.Logger, state, last, q.watchers.changed)
	q.watchers.start()
	q.leadership.init()

	conf := raft.DefaultConfig()
	conf.LocalID = me
	conf.Logger = newBridge(o.Logger)
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = soleTimeout, soleTimeout, soleLease
	conf.SnapshotInterval, conf.SnapshotThreshold, conf.TrailingLogs = snapshotInterval, snapshotThreshold, trailingLogs
	conf.MaxAppendEntries = maxAppend
	conf.NoSnapshotRestoreOnStart = true // the state is there, see replay
	conf.ShutdownOnRemove = false
	conf.NoLegacyTelemetry = true
	notify := make(chan bool, 4)
	conf.NotifyCh = notify
	q.tasks.Go(func() { q.follow(notify) })
	snaps := &snapshots{dir: o.Dir, faults: o.Faults, log: o.Logger}
	if q.raft, err = raft.NewRaft(conf, q.fsm, q.store, q.store, snaps, transport); err != nil {
		return fmt.Errorf("start of raft: %w", err)
	}
	return q.kick()
}

// kick makes the only voter stand for election now instead of when a leader it never had has been silent
// long enough: raft looks again at once when that time becomes shorter.
func (q *Quorum) kick() error {
	c := q.raft.ReloadableConfig()
	c.HeartbeatTimeout -= time.Microsecond
	return q.raft.ReloadConfig(c)
}

// identify gives a new cluster its id, and stores whose directory this is.
func (q *Quorum) identify(o Options, id identity) error {
	stored := id
	if q.State().ClusterID == "" {
		if id.cluster == "" {
			id.cluster = NewClusterID()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := q.Propose(ctx, &meta.SetClusterID{ID: id.cluster}); err != nil {
			return fmt.Errorf("the new cluster cannot store its id: %w", err)
		}
	}
	id.cluster = q.State().ClusterID
	path := filepath.Join(o.Dir, identityFile)
	if _, err := os.Stat(path); err == nil && stored == id {
		return nil
	}
	return fsx.WriteFile(path, id.encode(), 0o600)
}

// follow takes in whether this node leads, for as long as raft runs. The only voter's state has all that
// was ever committed before it is elected for the first time, and whenever it is elected again.
func (q *Quorum) follow(notify <-chan bool) {
	for {
		select {
		case leads := <-notify:
			q.leadership.set(leads)
			if leads {
				q.metrics.leader.Set(1)
			} else {
				q.metrics.leader.Set(0)
			}
		case <-q.stopped:
			return
		}
	}
}

// State returns the metadata as it is now. It is immutable.
func (q *Quorum) State() *meta.State { return q.fsm.state.Load() }

// Damage returns what was found damaged when the quorum was opened.
func (q *Quorum) Damage() []Damage { return q.damage }

// Leads tells whether this node leads the quorum at the moment.
func (q *Quorum) Leads() bool {
	leads, _ := q.leadership.get()
	return leads
}

// Watch calls fn with every change of the state, in order, from one goroutine. The first call has the
// empty state for old and the current one for new, and has returned when Watch returns; from then on old
// is what new was. Changes that come fast are told as one. fn must not call Propose, Watch or stop; see
// the order of locks in the package's documentation. After stop fn is not running and is not called any
// more.
func (q *Quorum) Watch(fn func(old, new *meta.State)) (stop func()) {
	return q.watchers.add(fn)
}

// Close ends the quorum. Proposals that wait return [ErrClosed]. It may be called more than once.
func (q *Quorum) Close() error {
	q.mu.Lock()
	was := q.closed
	q.closed = true
	q.mu.Unlock()
	if was {
		return nil
	}
	var errs []error
	if q.transport != nil {
		errs = append(errs, q.transport.Close())
	}
	if q.store != nil {
		q.store.release()
	}
	if q.raft != nil {
		errs = append(errs, q.raft.Shutdown().Error())
	}
	close(q.stopped)
	q.tasks.Wait()
	if q.watchers != nil {
		q.watchers.close()
	}
	if q.store != nil {
		errs = append(errs, q.store.close())
	}
	return errors.Join(append(errs, q.dir.Close())...)
}
