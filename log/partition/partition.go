package partition

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// Errors of a partition.
var (
	// ErrGone says that the partition was deleted. Who holds it looks its topic up again.
	ErrGone = errors.New("partition was deleted")
	// ErrOffsetOutOfRange says that an offset lies before the start or behind the end.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrTooLarge says that a record is larger than a batch may be.
	ErrTooLarge = errors.New("record is too large")
)

const (
	// batchBytes closes a batch of single records, so that a consumer can read it at once and memory stays small.
	batchBytes = 128 << 10
	// growStep is how often the group is told of its size, in bytes of records.
	growStep = 16 << 10
)

// Settings are shared by all partitions of a node.
type Settings struct {
	Codec record.Codec // of the batches built from single records

	builders sync.Pool // of *builder
}

// builder gathers single records until their batch is closed.
type builder struct {
	record.Builder
	base    int64
	epoch   int32
	counted int // bytes the group knows of
}

// piece is a part of the open group: a builder, or a client's batch.
type piece struct {
	single *builder
	batch  record.Batch
}

// Partition appends to and reads one partition. Its methods may be called from any goroutine.
type Partition struct {
	st       *store.Store
	log      *store.Log
	set      *Settings
	info     store.PartitionInfo
	advanced func() // told after End or Start moved

	end   atomic.Int64 // durable end
	start atomic.Int64
	gone  atomic.Bool

	urgent atomic.Bool

	mu       sync.Mutex
	group    *store.Group          // guarded by mu: takes what arrives; nil when nothing has since the last Collect
	inFlight *store.Group          // guarded by mu: collected, not done
	single   *builder              // guarded by mu: records since the last batch was closed
	queue    []piece               // guarded by mu: what is before single, in offset order
	live     *store.PartitionState // guarded by mu: as of everything appended
	epoch    int32                 // guarded by mu: the leader epoch of what is appended
	sent     int64                 // guarded by mu: the end of what was collected last
}

// New makes a partition out of what the store says of it. The function advanced is called after the end or the start has
// moved, from the store's committer; it must not block.
func New(st *store.Store, set *Settings, state *store.PartitionState, advanced func()) *Partition {
	p := &Partition{st: st, log: st.Log(state.ID), set: set, info: state.PartitionInfo, advanced: advanced, live: state}
	p.end.Store(state.Next)
	p.start.Store(state.Start)
	return p
}

// ID returns the store's id of the partition.
func (p *Partition) ID() uint32 { return p.info.ID }

// Info names the partition.
func (p *Partition) Info() store.PartitionInfo { return p.info }

// Start returns the first offset that can be read.
func (p *Partition) Start() int64 { return p.start.Load() }

// End returns the offset behind the last durable record.
func (p *Partition) End() int64 { return p.end.Load() }

// Size returns the bytes of the partition's batches.
func (p *Partition) Size() int64 { return p.log.Size() }

// SetEpoch sets the leader epoch of what is appended from now on.
func (p *Partition) SetEpoch(epoch int32) {
	p.mu.Lock()
	p.epoch = epoch
	p.mu.Unlock()
}

// SetUrgent says whether records of the partition are taken when there is no room for others, as long as the store's
// reserve lasts.
func (p *Partition) SetUrgent(urgent bool) { p.urgent.Store(urgent) }

// EpochEnd answers OffsetForLeaderEpoch for a durable epoch; see store.PartitionState.EpochEnd.
func (p *Partition) EpochEnd(epoch int32) (int32, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, end := p.live.EpochEnd(epoch)
	return e, min(end, p.end.Load())
}

// EpochAt returns the leader epoch under which the record at an offset was written, -1 if that is not known.
func (p *Partition) EpochAt(offset int64) int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live.EpochAt(offset)
}

// join returns the group that takes what is appended now. The caller holds mu.
func (p *Partition) join() (*store.Group, error) {
	if p.group != nil {
		return p.group, nil
	}
	if p.gone.Load() {
		return nil, ErrGone
	}
	g, err := p.st.Join(p, p.urgent.Load())
	if err != nil {
		return nil, err
	}
	p.group = g
	return g, nil
}

// Append adds one record with a timestamp in ms and returns its offset and the group it becomes durable with. It copies
// what it is given. While too much waits to be written it blocks. Errors: ErrGone, ErrTooLarge, and those of the store.
func (p *Partition) Append(ts int64, key, value []byte, headers []record.Header) (int64, *store.Group, error) {
	if p.st.Crowded() {
		p.st.WaitRoom()
	}
	p.mu.Lock()
	g, err := p.join()
	if err != nil {
		p.mu.Unlock()
		return 0, nil, err
	}
	if p.single != nil && len(value) > batchBytes {
		p.closeSingle() // a large record gets a batch of its own
	}
	b := p.single
	if b == nil {
		b = p.openSingle()
	}
	b.Append(ts, key, value, headers)
	offset := p.live.Next
	p.live.Next++
	n := b.Len()
	if n-b.counted >= growStep {
		p.st.Grow(g, int64(n-b.counted))
		b.counted = n
	}
	if n >= batchBytes {
		p.closeSingle()
	}
	p.mu.Unlock()
	return offset, g, nil
}

func (p *Partition) openSingle() *builder {
	b, _ := p.set.builders.Get().(*builder)
	if b == nil {
		b = new(builder)
	}
	b.Reset(b.Buffer()[:0])
	b.base, b.epoch, b.counted = p.live.Next, p.epoch, 0
	p.live.BeginEpoch(p.epoch, b.base)
	p.single = b
	return b
}

// closeSingle ends the batch of single records. The caller holds mu.
func (p *Partition) closeSingle() {
	if p.single != nil {
		p.queue = append(p.queue, piece{single: p.single})
		p.single = nil
	}
}

// Appended tells where a batch went.
type Appended struct {
	BaseOffset  int64
	StartOffset int64
	Commit      *store.Group // nil when the batch is a duplicate that is durable already
	Duplicate   bool
}

// AppendBatch adds a client's batch, which must have passed record.Batch.Check. The partition owns b from now on, unless it
// turns out when the group is done that Group.Direct; it sets the base offset and leader epoch. Errors: ErrGone, store.ErrOutOfOrderSequence, store.ErrInvalidProducerEpoch, and
// those of the store.
func (p *Partition) AppendBatch(b record.Batch) (Appended, error) {
	if p.st.Crowded() {
		p.st.WaitRoom()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	base, duplicate, err := p.live.Check(b)
	if err != nil {
		return Appended{}, err
	}
	if duplicate {
		a := Appended{BaseOffset: base, StartOffset: p.start.Load(), Duplicate: true}
		if base >= p.end.Load() {
			if a.Commit = p.group; a.Commit == nil {
				a.Commit = p.inFlight
			}
		}
		return a, nil
	}
	g, err := p.join()
	if err != nil {
		return Appended{}, err
	}
	p.closeSingle()
	a := Appended{BaseOffset: p.live.Next, StartOffset: p.start.Load(), Commit: g}
	b.SetBaseOffset(a.BaseOffset)
	b.SetLeaderEpoch(p.epoch)
	p.live.Apply(b)
	p.queue = append(p.queue, piece{batch: b})
	p.st.Grow(g, int64(len(b)))
	return a, nil
}

// Collect implements store.Source: it closes and compresses what has gathered.
func (p *Partition) Collect(dst []store.Entry) []store.Entry {
	p.mu.Lock()
	p.closeSingle()
	queue := p.queue
	p.queue = nil
	p.inFlight, p.group = p.group, nil
	p.sent = p.live.Next
	p.mu.Unlock()
	for _, q := range queue {
		b := q.batch
		if q.single != nil {
			b = p.finish(q.single)
		}
		dst = append(dst, store.Entry{Partition: p.info.ID, Batch: b})
	}
	return dst
}

// finish turns the records of a builder into a batch of just its size, and gives the builder back.
func (p *Partition) finish(s *builder) record.Batch {
	b := s.Finish(s.base, s.epoch, p.set.Codec, nil)
	if b.Attributes().Codec() == record.None {
		b = slices.Clone(b) // it lies in the builder's memory
	}
	if cap(s.Buffer()) <= 2*batchBytes {
		p.set.builders.Put(s)
	}
	return b
}

// Committed implements store.Source.
func (p *Partition) Committed() {
	p.mu.Lock()
	p.inFlight = nil
	p.end.Store(p.sent)
	p.mu.Unlock()
	p.advanced()
}

// Failed implements store.Source.
func (p *Partition) Failed() {
	p.mu.Lock()
	p.inFlight = nil
	p.live.Rewind(p.end.Load())
	p.mu.Unlock()
}
