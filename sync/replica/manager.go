package replica

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-mq/culvert/log/partition"
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
)

// Errors of looking a partition up.
var (
	// ErrUnknownTopicOrPartition says that the metadata has no such partition.
	ErrUnknownTopicOrPartition = errors.New("unknown topic or partition")
	// ErrNotLeader says that another node leads the partition.
	ErrNotLeader = errors.New("not the leader of the partition")
)

// Options configures a Manager.
type Options struct {
	Store    *store.Store
	Defaults meta.Defaults // of topic configurations; its node is this one
	Codec    record.Codec  // of batches built from single records
	Now      func() time.Time
	Logger   *slog.Logger
	Metrics  *Metrics

	// What retention by time goes by beside Now. Nil stands for a process in which the clock is always right.
	Uptime       func() time.Duration // since the machine started; it only grows
	Synchronised func() bool          // something keeps the machine's clock right

	CompactMemory int64 // bytes of the map of keys, while a pass of compaction is under way: 0 for 4 MiB
	CompactRate   int64 // bytes a second that compaction reads and writes at the most: 0 sets no limit
}

// Manager makes the partitions of this node and finds them. Reconcile and Close must not be called at once; all else may
// be called from any goroutine.
type Manager struct {
	st       *store.Store
	node     int32
	defaults atomic.Pointer[meta.Defaults]
	settings partition.Settings
	now      func() time.Time
	log      *slog.Logger
	metrics  *Metrics

	found   map[key]*store.PartitionState // Reconcile's: in the log, not yet asked for by the metadata
	asked   bool                          // Reconcile's: it has been called
	leaving []uint32                      // Reconcile's: deleted, but still in the log
	table   atomic.Pointer[table]

	uptime       func() time.Duration
	synchronised func() bool
	forwarded    atomic.Pointer[Forwarded]
	held         atomic.Pointer[string] // why nothing expires by time, "" if it does

	toldMu sync.Mutex
	untold tally         // guarded by toldMu: what went and was not logged yet
	told   bool          // guarded by toldMu: something was
	toldAt time.Duration // guarded by toldMu: when that was, since the boot

	// Of the goroutine that calls Maintain, or Clean and KeepRoom.
	guard       clockGuard
	cramped     bool          // nothing was left that may give way
	crampedHard bool          // alarms included
	crampedTold time.Duration // when that was told, since the boot

	compactor *compactor   // of the goroutine that Maintain starts, or that calls Compact
	hurry     atomic.Int32 // who waits for compaction to end with a segment, so as to make room

	any  watchers // of every partition's offsets, and of the list
	list watchers // of the list of partitions alone
}

type key struct {
	id    meta.TopicID
	index int32
}

// table is an immutable view of all partitions.
type table struct {
	byName map[string][]*Partition // nil elements are led elsewhere
	byID   map[meta.TopicID][]*Partition
	all    []*Partition // by topic and number
}

// New makes a manager of the partitions in a store. Until Reconcile is called it has none.
func New(o Options) *Manager {
	m := &Manager{st: o.Store, node: o.Defaults.Node(), now: o.Now, log: o.Logger, metrics: o.Metrics, found: make(map[key]*store.PartitionState), untold: make(tally)}
	m.defaults.Store(&o.Defaults)
	m.settings.Codec = o.Codec
	if m.uptime, m.synchronised = o.Uptime, o.Synchronised; m.uptime == nil {
		begin := time.Now()
		m.uptime = func() time.Duration { return time.Since(begin) }
	}
	if m.synchronised == nil {
		m.synchronised = func() bool { return true }
	}
	m.held.Store(new(string))
	m.compactor = newCompactor(m, o.CompactMemory, o.CompactRate)
	for _, s := range o.Store.States() {
		m.found[key{s.TopicID, s.Index}] = s
	}
	m.table.Store(&table{})
	return m
}

// Orphan is a topic that is in the log but not in the metadata.
type Orphan struct {
	Name       string
	ID         meta.TopicID
	Partitions int32
}

// Orphans returns the topics of the log that no Reconcile has asked for, by name. Where the metadata was lost they can be
// created again under their ids; else they were deleted while the node was down, and DropOrphans removes them.
func (m *Manager) Orphans() []Orphan {
	byID := make(map[meta.TopicID]*Orphan)
	for k, s := range m.found {
		o := byID[k.id]
		if o == nil {
			o = &Orphan{Name: s.Topic, ID: k.id}
			byID[k.id] = o
		}
		o.Partitions = max(o.Partitions, k.index+1)
	}
	all := make([]Orphan, 0, len(byID))
	for _, o := range byID {
		all = append(all, *o)
	}
	slices.SortFunc(all, func(a, b Orphan) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// DropOrphans removes from the log what no Reconcile has asked for. Before the first Reconcile it does nothing.
func (m *Manager) DropOrphans() error {
	if len(m.found) == 0 || !m.asked {
		return nil
	}
	for _, s := range m.found {
		m.leaving = append(m.leaving, s.ID)
		m.log.Info("partition of a deleted topic dropped", "topic", s.Topic, "partition", s.Index)
	}
	clear(m.found)
	return m.leave()
}

// SetDefaults changes what topics inherit. It takes effect with the next Reconcile.
func (m *Manager) SetDefaults(d meta.Defaults) { m.defaults.Store(&d) }

// Reconcile makes the node's partitions what the metadata says. It returns when new ones are durable. It is called from
// one goroutine, with states in order. After an error, such as a full disk, all that exists is as the metadata says; what
// could not be made or removed is tried again by the next call, which may be with the same state.
func (m *Manager) Reconcile(s *meta.State) error {
	old := m.table.Load()
	next := &table{byName: make(map[string][]*Partition, len(s.Topics)), byID: make(map[meta.TopicID][]*Partition, len(s.Topics))}
	var missing []store.PartitionInfo
	for _, t := range s.SortedTopics() {
		for i, p := range t.Partitions {
			k := key{t.ID, int32(i)}
			if p.Leader == m.node && find(old.byID[t.ID], k.index) == nil && m.found[k] == nil {
				missing = append(missing, store.PartitionInfo{Topic: t.Name, TopicID: t.ID, Index: k.index})
			}
		}
	}
	made, err := m.st.CreatePartitions(missing)
	if err != nil {
		err = fmt.Errorf("create %d partitions: %w", len(missing), err)
	}
	for _, st := range made {
		m.found[key{st.TopicID, st.Index}] = st
	}
	defaults := *m.defaults.Load()
	for _, t := range s.SortedTopics() {
		config := s.TopicConfig(t, defaults)
		list := make([]*Partition, len(t.Partitions))
		for i, mp := range t.Partitions {
			if mp.Leader != m.node {
				continue
			}
			k := key{t.ID, int32(i)}
			p := find(old.byID[t.ID], k.index)
			if p == nil && m.found[k] == nil {
				continue // it could not be made
			}
			if p == nil {
				p = m.newPartition(t, k, m.found[k])
				delete(m.found, k)
			}
			p.config.Store(&config)
			p.log.SetUrgent(config.Priority >= meta.AlarmPriority)
			p.siblings.Store(int32(len(t.Partitions)))
			if p.epoch.Swap(mp.LeaderEpoch) != mp.LeaderEpoch || p.log.End() == 0 {
				p.log.SetEpoch(mp.LeaderEpoch)
			}
			list[i] = p
			next.all = append(next.all, p)
		}
		next.byName[t.Name], next.byID[t.ID] = list, list
	}
	m.table.Store(next)
	m.asked = true
	return errors.Join(err, m.drop(old, next))
}

func (m *Manager) newPartition(t *meta.Topic, k key, st *store.PartitionState) *Partition {
	p := &Partition{topic: t.Name, id: t.ID, index: k.index, m: m, records: m.st.Log(st.ID)}
	p.epoch.Store(-1)
	p.log = partition.New(m.st, &m.settings, st, p.advanced)
	return p
}

// drop closes and removes the partitions of old that are not in next.
func (m *Manager) drop(old, next *table) error {
	for _, p := range old.all {
		if find(next.byID[p.id], p.index) != p {
			p.log.Close()
			m.leaving = append(m.leaving, p.log.ID())
		}
	}
	m.list.wake()
	m.any.wake()
	return m.leave()
}

// leave removes from the log what was deleted.
func (m *Manager) leave() error {
	if len(m.leaving) == 0 {
		return nil
	}
	if err := m.st.DropPartitions(m.leaving...); err != nil {
		return fmt.Errorf("drop %d partitions: %w", len(m.leaving), err)
	}
	m.leaving = nil
	return nil
}

func find(list []*Partition, index int32) *Partition {
	if index < 0 || int(index) >= len(list) {
		return nil
	}
	return list[index]
}

// Partition finds a partition by its topic's name. Errors: ErrUnknownTopicOrPartition, ErrNotLeader.
func (m *Manager) Partition(topic string, index int32) (*Partition, error) {
	list, ok := m.table.Load().byName[topic]
	return lookup(list, ok, index)
}

// ByID finds a partition by its topic's id. Errors: ErrUnknownTopicOrPartition, ErrNotLeader.
func (m *Manager) ByID(id meta.TopicID, index int32) (*Partition, error) {
	list, ok := m.table.Load().byID[id]
	return lookup(list, ok, index)
}

func lookup(list []*Partition, ok bool, index int32) (*Partition, error) {
	if !ok || index < 0 || int(index) >= len(list) {
		return nil, ErrUnknownTopicOrPartition
	}
	if list[index] == nil { // another node leads it, or there was no room yet to make it
		return nil, ErrNotLeader
	}
	return list[index], nil
}

// All returns the partitions that this node leads, by topic and number. The slice must not be changed; it is replaced
// when partitions come and go.
func (m *Manager) All() []*Partition { return m.table.Load().all }

// Watch has a value sent into ch, which has a capacity of 1, without blocking, whenever the high watermark or the start
// of any partition moves, or partitions come or go. After stop returns nothing is sent any more.
func (m *Manager) Watch(ch chan<- struct{}) (stop func()) { return m.any.add(ch) }

// WatchList is Watch for the coming and going of partitions alone.
func (m *Manager) WatchList(ch chan<- struct{}) (stop func()) { return m.list.add(ch) }
