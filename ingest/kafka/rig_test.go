package kafka

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/quorum"
	"github.com/culvert-mq/culvert/sync/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server on a real log, with metadata and committed offsets in memory.
type rig struct {
	t       testing.TB
	srv     *Server
	addr    string
	meta    *memMetadata
	offsets *memOffsets
	mgr     *replica.Manager
	st      *store.Store
	reg     *prometheus.Registry
	served  sync.WaitGroup
}

// rigConfig is what a test may change before the rig starts.
type rigConfig struct {
	Config
	static map[string]string // broker configuration
	store  store.Options
	wrap   func(*Deps)
}

func newRig(t testing.TB, opts ...func(*rigConfig)) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("CULVERT_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r := &rig{t: t, reg: prometheus.NewRegistry(), offsets: &memOffsets{m: map[string]map[TopicPartition]CommittedOffset{}}}
	c := rigConfig{
		Config: Config{DataDir: "/data"},
		static: map[string]string{"num.partitions": "2"},
		store:  store.Options{Dir: t.TempDir(), Logger: log, Metrics: store.NewMetrics(r.reg), SegmentBytes: 16 << 20, JournalBytes: 1 << 20},
		wrap:   func(*Deps) {},
	}
	for _, o := range opts {
		o(&c)
	}
	var err error
	if c.Defaults, err = meta.NewDefaults(1, c.static); err != nil {
		t.Fatal(err)
	}
	if r.st, err = store.Open(c.store); err != nil {
		t.Fatal(err)
	}
	r.mgr = replica.New(replica.Options{Store: r.st, Defaults: c.Defaults, Codec: record.LZ4, Now: time.Now, Logger: log, Metrics: replica.NewMetrics(r.reg)})
	r.meta = newMemMetadata(t, r.mgr)
	deps := Deps{Metadata: r.meta, Log: OnReplicas(r.mgr), Offsets: r.offsets}
	c.wrap(&deps)
	if r.srv, err = NewServer(c.Config, deps, log, NewMetrics(r.reg)); err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	r.addr = l.Addr().String()
	r.served.Go(func() {
		if err := r.srv.Serve(l); !errors.Is(err, ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.srv.Shutdown(ctx); err != nil {
		r.t.Errorf("shutdown: %v", err)
	}
	r.served.Wait()
	if err := r.st.Close(); err != nil {
		r.t.Errorf("close the log: %v", err)
	}
}

// client returns a client of the rig.
func (r *rig) client(opts ...kgo.Opt) *kgo.Client {
	r.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(r.addr), kgo.MetadataMinAge(10 * time.Millisecond)}, opts...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	return cl
}

// topic creates a topic.
func (r *rig) topic(name string, partitions int32, configs ...string) *meta.Topic {
	r.t.Helper()
	m := map[string]string{}
	for _, kv := range configs {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	res, err := r.meta.Propose(r.t.Context(), &meta.CreateTopic{Name: name, ID: quorum.NewTopicID(), Partitions: partitions, ReplicationFactor: 1, Configs: m})
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Topic
}

// memMetadata is Metadata in memory: the pure state machine, and the partitions made as it says before Propose returns.
type memMetadata struct {
	mu    sync.Mutex
	state atomic.Pointer[meta.State]
	mgr   *replica.Manager
	fail  error // guarded by mu: what the next proposals fail with
}

func newMemMetadata(t testing.TB, mgr *replica.Manager) *memMetadata {
	m := &memMetadata{mgr: mgr}
	m.state.Store(meta.Empty())
	for _, c := range []meta.Command{
		&meta.SetClusterID{ID: quorum.NewTopicID().String()},
		&meta.RegisterBroker{ID: 1, Incarnation: "one", Endpoints: []meta.Endpoint{{Listener: "PLAINTEXT", Host: "127.0.0.1", Port: 9092}}},
	} {
		if _, err := m.Propose(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// failWith makes the proposals that follow fail.
func (m *memMetadata) failWith(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *memMetadata) State() *meta.State { return m.state.Load() }

func (m *memMetadata) Propose(_ context.Context, c meta.Command) (meta.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return meta.Result{}, m.fail
	}
	next, r, err := m.state.Load().Apply(c)
	if err != nil {
		return r, err
	}
	m.state.Store(next)
	return r, m.mgr.Reconcile(next)
}

// memOffsets is Offsets in memory.
type memOffsets struct {
	mu   sync.Mutex
	m    map[string]map[TopicPartition]CommittedOffset
	fail error
}

// failWith makes everything that follows fail.
func (o *memOffsets) failWith(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail = err
}

func (o *memOffsets) CommitOffsets(_ context.Context, c OffsetCommit) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail != nil {
		return o.fail
	}
	if o.m[c.Group] == nil {
		o.m[c.Group] = map[TopicPartition]CommittedOffset{}
	}
	for _, off := range c.Offsets {
		o.m[c.Group][off.TopicPartition] = off
	}
	return nil
}

func (o *memOffsets) FetchOffsets(_ context.Context, group string, parts []TopicPartition) ([]CommittedOffset, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail != nil {
		return nil, o.fail
	}
	var out []CommittedOffset
	if parts == nil {
		for _, off := range o.m[group] {
			out = append(out, off)
		}
		slices.SortFunc(out, func(a, b CommittedOffset) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
		})
	}
	for _, tp := range parts {
		off, ok := o.m[group][tp]
		if !ok {
			off = CommittedOffset{tp, -1, -1, ""}
		}
		out = append(out, off)
	}
	return out, nil
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for range 1000 {
		if cond() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("did not come true: %s", what)
}

// stays polls and fails as soon as the condition does not hold.
func stays(t testing.TB, d time.Duration, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if !cond() {
			t.Fatalf("does not stay true: %s", what)
		}
	}
}

func (r *rig) admin() *kadm.Client { return kadm.NewClient(r.client()) }
