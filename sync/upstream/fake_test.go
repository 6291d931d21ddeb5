package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/culvert-mq/culvert/log/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memSource is a source in memory.
type memSource struct {
	mu       sync.Mutex
	parts    []*memPartition
	watchers map[chan<- struct{}]bool
	topics   byte
}

func newSource() *memSource { return &memSource{watchers: map[chan<- struct{}]bool{}} }

// topic adds a topic and returns its partitions.
func (s *memSource) topic(name string, partitions int) []*memPartition {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics++
	var added []*memPartition
	for i := range partitions {
		added = append(added, &memPartition{topic: name, id: [16]byte{s.topics}, index: int32(i), watchers: map[chan<- struct{}]int{}})
	}
	s.parts = append(s.parts, added...)
	s.changed()
	return added
}

func (s *memSource) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = slices.DeleteFunc(s.parts, func(p *memPartition) bool { return p.topic == name })
	s.changed()
}

func (s *memSource) changed() {
	for ch := range s.watchers {
		ring(ch)
	}
}

func (s *memSource) Partitions() []Partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Partition, 0, len(s.parts))
	for _, p := range s.parts {
		list = append(list, p)
	}
	return list
}

func (s *memSource) Watch(ch chan<- struct{}) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[ch] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, ch)
	}
}

func ring(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// memPartition is a partition in memory: a row of batches.
type memPartition struct {
	topic string
	id    [16]byte
	index int32

	mu       sync.Mutex
	batches  []record.Batch
	start    int64
	end      int64
	err      error // of reads
	spans    int   // read and not released
	reads    int
	watchers map[chan<- struct{}]int
}

func (p *memPartition) Topic() string     { return p.topic }
func (p *memPartition) TopicID() [16]byte { return p.id }
func (p *memPartition) Index() int32      { return p.index }

func (p *memPartition) StartOffset() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start
}

func (p *memPartition) HighWatermark() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

func (p *memPartition) Watch(ch chan<- struct{}) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers[ch]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.watchers[ch]--; p.watchers[ch] == 0 {
			delete(p.watchers, ch)
		}
	}
}

func (p *memPartition) Read(from int64, most int) (Span, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads++
	if p.err != nil {
		return Span{}, p.err
	}
	if from < p.start || from > p.end {
		return Span{}, errors.New("offset out of range")
	}
	var s Span
	for _, b := range p.batches {
		if b.NextOffset() <= from {
			continue
		}
		if most <= 0 && len(s.Batches) > 0 {
			break
		}
		s.Batches = append(s.Batches, b)
		most -= b.Size()
	}
	p.spans++
	s.Release = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.spans--
	}
	return s, nil
}

// rec is a record for tests.
type rec struct {
	key, value string // "" is null
	ts         int64
	headers    []record.Header
}

func bytesOf(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// append adds one batch.
func (p *memPartition) append(codec record.Codec, recs ...rec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b record.Builder
	for _, r := range recs {
		b.Append(r.ts, bytesOf(r.key), bytesOf(r.value), r.headers)
	}
	base := p.end
	p.batches = append(p.batches, b.Finish(base, 0, codec, nil))
	p.end = base + int64(len(recs))
	p.ring()
}

func (p *memPartition) ring() {
	for ch := range p.watchers {
		ring(ch)
	}
}

// truncate removes what is before an offset, as retention does.
func (p *memPartition) truncate(to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start = to
	p.batches = slices.DeleteFunc(p.batches, func(b record.Batch) bool { return b.NextOffset() <= to })
	p.ring()
}

// memPositions keeps positions in memory.
type memPositions struct {
	mu      sync.Mutex
	at      map[PartitionID]int64
	stores  int
	loadErr error
	err     error
}

func newPositions() *memPositions { return &memPositions{at: map[PartitionID]int64{}} }

func (m *memPositions) Load(_ context.Context, ids []PartitionID) ([]Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loadErr != nil {
		return nil, m.loadErr
	}
	var list []Position
	for _, id := range ids {
		if at, ok := m.at[id]; ok {
			list = append(list, Position{id, at})
		}
	}
	return list, nil
}

func (m *memPositions) Store(_ context.Context, positions []Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.stores++
	for _, p := range positions {
		m.at[p.PartitionID] = p.Offset
	}
	return nil
}

func (m *memPositions) snapshot() map[PartitionID]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.at)
}

func (m *memPositions) fail(load, store error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loadErr, m.err = load, store
}

// rig is a forwarder between a source and a fake centre.
type rig struct {
	t      *testing.T
	source *memSource
	pos    *memPositions
	centre *kfake.Cluster
	cfg    Config
	log    *slog.Logger // nil: testLog's

	reg    *prometheus.Registry
	w      *Forwarder
	cancel context.CancelFunc
	done   chan error
}

func newCentre(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.DefaultNumPartitions(4)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newRig(t *testing.T, centre *kfake.Cluster) *rig {
	r := &rig{t: t, source: newSource(), pos: newPositions(), centre: centre, cfg: Default()}
	if centre != nil {
		r.cfg.Brokers = centre.ListenAddrs()
	}
	r.cfg.Site = "north"
	r.cfg.Linger = time.Millisecond
	r.cfg.MaxBackoff = 100 * time.Millisecond
	r.cfg.StoreInterval = 20 * time.Millisecond
	r.cfg.DrainTimeout = 2 * time.Second
	return r
}

func testLog(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func (r *rig) start() {
	r.t.Helper()
	r.cancel = r.run(r.t)
	r.t.Cleanup(r.stop)
}

// run makes a forwarder and runs it until what it returns is called.
func (r *rig) run(tb testing.TB) (cancel context.CancelFunc) {
	tb.Helper()
	r.reg = prometheus.NewRegistry()
	var err error
	log := r.log
	if log == nil {
		log = testLog(tb)
	}
	r.w, err = New(r.cfg, r.source, r.pos, log, NewMetrics(r.reg))
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context())) // stopping is a test's to do
	r.done = make(chan error, 1)
	go func(w *Forwarder, done chan<- error) { done <- w.Run(ctx) }(r.w, r.done)
	return cancel
}

func (r *rig) stop() {
	r.t.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Error(err)
		}
	case <-time.After(30 * time.Second):
		r.t.Fatal("Run does not return")
	}
	if n := r.w.budget.used.Load(); n != 0 {
		r.t.Errorf("%d bytes of the budget are not given back", n)
	}
	for _, p := range r.source.Partitions() {
		p := p.(*memPartition)
		p.mu.Lock()
		if p.spans != 0 || len(p.watchers) != 0 {
			r.t.Errorf("%s-%d: %d spans are not released, %d watches not stopped", p.topic, p.index, p.spans, len(p.watchers))
		}
		p.mu.Unlock()
	}
}

// eventually waits until ok returns "".
func eventually(t *testing.T, ok func() string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		why := ok()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("still: " + why)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// caughtUp waits until nothing is left to forward.
func (r *rig) caughtUp() {
	r.t.Helper()
	eventually(r.t, func() string {
		s := r.w.Status()
		if want := r.selected(); len(s.Partitions) != want {
			return fmt.Sprintf("%d partitions of %d", len(s.Partitions), want)
		}
		if s.Lag != 0 {
			return fmt.Sprintf("lag of %d: %+v", s.Lag, s)
		}
		return ""
	})
}

func (r *rig) selected() (n int) {
	for _, p := range r.source.Partitions() {
		if r.w.selector.Load().match(p.Topic()) {
			n++
		}
	}
	return n
}

// consume reads everything a topic at the centre has, in the order of each partition.
func (r *rig) consume(topic string) []*kgo.Record {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.centre.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(20*time.Millisecond))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	ends := map[int32]int64{}
	if r.centre.TopicInfo(topic) == nil {
		r.t.Fatalf("the centre has no topic %s", topic)
	}
	for _, pi := range r.centre.PartitionInfos(topic) {
		if pi.HighWatermark > 0 {
			ends[pi.Partition] = pi.HighWatermark
		}
	}
	var all []*kgo.Record
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for len(ends) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			r.t.Fatal(err)
		}
		fs.EachRecord(func(rec *kgo.Record) {
			all = append(all, rec)
			if rec.Offset+1 >= ends[rec.Partition] {
				delete(ends, rec.Partition)
			}
		})
	}
	return all
}

func (r *rig) admin(do func(ctx context.Context, adm *kadm.Client) error) {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.centre.ListenAddrs()...))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	if err := do(r.t.Context(), kadm.NewClient(cl)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) createTopic(name string, partitions int32) {
	r.t.Helper()
	r.admin(func(ctx context.Context, adm *kadm.Client) error {
		_, err := adm.CreateTopic(ctx, partitions, 1, nil, name)
		return err
	})
}

func (r *rig) deleteTopic(name string) {
	r.t.Helper()
	r.admin(func(ctx context.Context, adm *kadm.Client) error {
		_, err := adm.DeleteTopic(ctx, name)
		return err
	})
}
