package store

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-mq/culvert/log/fsx"
)

// Errors of appending.
var (
	// ErrFull says that the device has no room; it is temporary.
	ErrFull = errors.New("no space left for the log")
	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("log is closed")
	// ErrFailed says that the device refused a write or a sync, after which only a restart can tell what it holds.
	ErrFailed = errors.New("log device failed")
)

// Options configures a store. Sizes are bytes; zero values take the defaults that the fields name.
type Options struct {
	Dir            string
	SegmentBytes   int64         // of a segment file: 64 MiB, 16 MiB where int has 32 bits
	SegmentAge     time.Duration // after which a segment that holds anything is sealed: 24 h
	JournalBytes   int64         // of the ring: 8 MiB
	DirectBytes    int64         // from which a group goes to the segment at once: 256 KiB
	AbsorbBytes    int64         // pending in the journal that starts an absorption: 1 MiB
	AbsorbInterval time.Duration // after which one starts anyway: 1 s
	Linger         time.Duration // how long a group is held open: 0
	MaxOpenBytes   int64         // of batches that may wait for the committer: 16 MiB
	MinFreeBytes   int64         // of the device, below which appends are refused, those of urgent sources excepted: 0
	ReserveBytes   int64         // of the device, held for urgent sources: 0
	MaxMaps        int           // sealed segments mapped at a time: 32, 6 where int has 32 bits
	Faults         fsx.Faults    // for tests
	Now            func() time.Time
	Logger         *slog.Logger
	Metrics        *Metrics
}

func (o *Options) setDefaults() {
	small := strconv.IntSize == 32
	pick := func(a, b int64) int64 {
		if small {
			return b
		}
		return a
	}
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.SegmentBytes, pick(64<<20, 16<<20))
	def(&o.JournalBytes, 8<<20)
	def(&o.DirectBytes, 256<<10)
	def(&o.AbsorbBytes, 1<<20)
	def(&o.MaxOpenBytes, 16<<20)
	if o.SegmentAge == 0 {
		o.SegmentAge = 24 * time.Hour
	}
	if o.AbsorbInterval == 0 {
		o.AbsorbInterval = time.Second
	}
	if o.MaxMaps == 0 {
		o.MaxMaps = int(pick(32, 6))
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.JournalBytes = max(o.JournalBytes/blockSize*blockSize, 2*(o.DirectBytes+blockSize)/blockSize*blockSize)
}

// Store keeps the batches of all partitions. Open makes one; its methods may be called from any goroutine.
type Store struct {
	opt  Options
	lock *fsx.Lock
	log  *slog.Logger
	m    *Metrics

	mu      sync.Mutex
	open    *Group // guarded by mu: takes what arrives
	closed  bool   // guarded by mu
	refused error  // guarded by mu: why nothing is taken, ErrFull or ErrFailed
	failing bool   // guarded by mu: sources are being taken back to what is durable
	room    *sync.Cond

	linger    atomic.Int64 // how long a group is held open, ns
	openBytes atomic.Int64 // of groups that are not done
	groups    atomic.Int64 // made durable since the start

	batchBytes atomic.Int64  // of batches in them
	probed     atomic.Int64  // groups, when Probe looked last
	unmarked   atomic.Bool   // the newest commit is a bulk one that the journal does not know of
	wake       chan struct{} // capacity 1: the open group has something
	bulk       chan struct{} // capacity 1: the open group is worth a commit of its own
	stop       chan struct{} // closed by Close
	wg         sync.WaitGroup

	seq     uint64 // the committer's: sequence of the newest group
	journal *journal

	pendMu       sync.Mutex
	pending      []pendingGroup // guarded by pendMu: in the journal only; journal.frames too
	pendingBytes int64          // guarded by pendMu
	absorbNow    chan struct{}  // capacity 1
	absorbSoon   chan struct{}  // capacity 1: something is pending

	sealedC   chan struct{} // capacity 1: a segment was sealed
	reclaimMu sync.Mutex    // held by Reclaim, taken before absorbMu

	absorbMu    sync.Mutex
	state       *State                  // guarded by absorbMu: as of the newest commit to a segment
	activeIndex map[uint32][]indexEntry // guarded by absorbMu: of the active segment
	sealed      []*segment              // guarded by absorbMu: oldest first
	active      atomic.Pointer[segment] // replaced under absorbMu

	logsMu sync.RWMutex
	logs   map[uint32]*Log // guarded by logsMu
	nextID uint32          // guarded by logsMu: of the next partition

	mapsMu sync.Mutex
	maps   []*segment // guarded by mapsMu: sealed segments in the order of their last use

	salvageMu sync.Mutex // one rescue at a time; taken before absorbMu

	// Of opening: where the journal's batches end, and what is missing before them, by partition.
	replayed map[uint32]int64
	skipped  map[uint32][]Hole

	reserve  *reserve
	verified verified

	damageMu sync.Mutex
	damage   []Damage // guarded by damageMu

	takenBack []Damage // guarded by damageMu
}

type pendingGroup struct {
	seq     uint64
	ops     []op
	entries []Entry
	bytes   int64
	urgent  bool
}

// kept is what keeping the group in memory costs, in bytes.
func (g *pendingGroup) kept() int64 { return g.bytes + int64(len(g.entries))*64 }

// Log returns the reader of a partition, nil if there is no such partition.
func (s *Store) Log(id uint32) *Log {
	s.logsMu.RLock()
	defer s.logsMu.RUnlock()
	return s.logs[id]
}

// Join adds a source to the open group and returns the group. The source calls it when the first batch gathers after a
// Collect, holding the mutex that its Collect takes. An urgent one is taken when there is no room for others, as long as
// the reserve lasts.
func (s *Store) Join(src Source, urgent bool) (*Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.takes(); err != nil && (!urgent || s.closed || s.failing || !errors.Is(err, ErrFull)) {
		return nil, err
	}
	g := s.open
	g.urgent = g.urgent || urgent
	g.sources = append(g.sources, src)
	if len(g.sources) == 1 && len(g.ops) == 0 {
		signal(s.wake)
	}
	return g, nil
}

// takes says whether the store takes anything; the caller holds mu.
func (s *Store) takes() error {
	switch {
	case s.closed:
		return ErrClosed
	case s.refused != nil:
		return s.refused
	case s.failing:
		return ErrFull
	}
	return nil
}

// Grow adds to the size of a group that is not committed yet, in bytes. Sources call it now and then, not per record.
func (s *Store) Grow(g *Group, n int64) {
	s.openBytes.Add(n)
	if total := g.bytes.Add(n); total >= s.opt.DirectBytes && total-n < s.opt.DirectBytes {
		signal(s.bulk)
	}
}

// Crowded reports whether so much waits for the committer that a source should wait for a group to be done first.
func (s *Store) Crowded() bool { return s.openBytes.Load() >= s.opt.MaxOpenBytes }

// WaitRoom waits while Crowded.
func (s *Store) WaitRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.Crowded() && !s.closed {
		s.room.Wait()
	}
}

// leave takes a group that is done out of what waits.
func (s *Store) leave(g *Group) {
	s.openBytes.Add(-g.bytes.Load())
	s.mu.Lock()
	s.room.Broadcast()
	s.mu.Unlock()
}

// Refused returns why appends are refused at present, nil if they are not.
func (s *Store) Refused() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takes()
}

// submit adds operations to the open group. A full device takes those that give room: they fit into the journal, which
// has its blocks already.
func (s *Store) submit(ops ...op) (*Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	frees := !slices.ContainsFunc(ops, func(o op) bool { return o.kind == opCreate })
	if err := s.takes(); err != nil && (!frees || !errors.Is(err, ErrFull)) {
		return nil, err
	}
	g := s.open
	g.ops = append(g.ops, ops...)
	signal(s.wake)
	return g, nil
}

// CreatePartitions adds partitions and returns their states when they are durable. The ids of the infos are set here.
func (s *Store) CreatePartitions(infos []PartitionInfo) ([]*PartitionState, error) {
	if len(infos) == 0 {
		return nil, nil
	}
	ops := make([]op, len(infos))
	states := make([]*PartitionState, len(infos))
	s.logsMu.Lock()
	for i, info := range infos {
		if len(info.Topic) > math.MaxUint16 {
			s.logsMu.Unlock()
			return nil, fmt.Errorf("topic name of %d bytes", len(info.Topic))
		}
		info.ID = s.nextID
		s.nextID++
		ops[i] = op{kind: opCreate, info: info}
		states[i] = &PartitionState{PartitionInfo: info}
		s.logs[info.ID] = &Log{st: s, id: info.ID}
	}
	s.logsMu.Unlock()
	g, err := s.submit(ops...)
	if err == nil {
		<-g.done
		err = g.err
	}
	if err != nil {
		s.logsMu.Lock()
		for _, st := range states {
			delete(s.logs, st.ID)
		}
		s.logsMu.Unlock()
		return nil, err
	}
	return states, nil
}

// DropPartitions removes partitions; their records go with the segments that hold them.
func (s *Store) DropPartitions(ids ...uint32) error {
	ops := make([]op, len(ids))
	for i, id := range ids {
		ops[i] = op{kind: opDrop, info: PartitionInfo{ID: id}}
	}
	if err := s.commitOps(ops...); err != nil {
		return err
	}
	s.logsMu.Lock()
	for _, id := range ids {
		if l := s.logs[id]; l != nil {
			l.drop()
		}
		delete(s.logs, id)
	}
	s.logsMu.Unlock()
	return nil
}

// SetStart makes offset the partition's first one, notes what goes with that, and returns when it is durable. An offset
// before the start changes nothing, and nothing is noted.
func (s *Store) SetStart(id uint32, offset int64, gone Gone) error {
	return s.commitOps(op{kind: opStart, info: PartitionInfo{ID: id}, offset: offset, gone: gone})
}

// BeginEpoch notes that a leader epoch begins at an offset, for the time before its first batch (KIP-101).
func (s *Store) BeginEpoch(id uint32, epoch int32, offset int64) error {
	return s.commitOps(op{kind: opEpoch, info: PartitionInfo{ID: id}, epoch: epoch, offset: offset})
}

// ExpireProducers forgets the producers of partitions that have written nothing since a time (ms) and have no transaction
// open.
func (s *Store) ExpireProducers(before int64, ids ...uint32) error {
	ops := make([]op, len(ids))
	for i, id := range ids {
		ops[i] = op{kind: opExpire, info: PartitionInfo{ID: id}, offset: before}
	}
	return s.commitOps(ops...)
}

// SetCleaned notes that compaction has gone up to an offset.
func (s *Store) SetCleaned(id uint32, offset int64) error {
	return s.commitOps(op{kind: opCleaned, info: PartitionInfo{ID: id}, offset: offset})
}

// SetLinger changes how long a group is held open, from the next one on.
func (s *Store) SetLinger(d time.Duration) { s.linger.Store(int64(d)) }

// commitOps returns when operations are durable.
func (s *Store) commitOps(ops ...op) error {
	if len(ops) == 0 {
		return nil
	}
	g, err := s.submit(ops...)
	if err != nil {
		return err
	}
	<-g.done
	return g.err
}

// Close commits what has gathered, absorbs the journal and closes the files. Appends and reads of files are refused from
// now on; a span that is held stays valid, and its file open, until it is released.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.room.Broadcast()
	s.mu.Unlock()
	close(s.stop)
	s.wg.Wait()
	s.mu.Lock()
	refused := s.refused
	s.mu.Unlock()
	var err error
	if refused == nil {
		err = s.absorb(nil)
		if err == nil && s.unmarked.Load() {
			err = s.mark()
		}
	}
	return errors.Join(err, s.closeFiles())
}

func (s *Store) closeFiles() error {
	var err error
	if s.journal != nil {
		err = s.journal.f.Close()
	}
	s.absorbMu.Lock()
	defer s.absorbMu.Unlock()
	for _, seg := range append(slices.Clone(s.sealed), s.active.Load()) {
		if seg != nil {
			seg.detach(ErrClosed)
		}
	}
	return errors.Join(err, s.lock.Close())
}

// commitLoop is the committer.
func (s *Store) commitLoop() {
	defer s.wg.Done()
	for {
		select {
		case <-s.wake:
		case <-s.stop:
			s.commitOpen() // what came before Close
			return
		}
		if linger := time.Duration(s.linger.Load()); linger > 0 {
			t := time.NewTimer(linger)
			select {
			case <-t.C:
			case <-s.bulk:
			case <-s.stop:
			}
			t.Stop()
		}
		s.commitOpen()
	}
}

func (s *Store) commitOpen() {
	s.mu.Lock()
	g := s.open
	if len(g.sources) == 0 && len(g.ops) == 0 {
		s.commitEmpty(g) // which unlocks mu
		return
	}
	s.open = newGroup()
	s.mu.Unlock()
	start := time.Now()

	var entries []Entry
	for _, src := range g.sources {
		entries = src.Collect(entries)
	}
	size := int64(0)
	for _, e := range entries {
		size += int64(len(e.Batch))
	}
	err := s.write(g, entries, size)
	if errors.Is(err, ErrFull) && g.urgent && s.spend() {
		err = s.write(g, entries, size)
	}
	if err != nil {
		s.fail(g, err)
		return
	}
	s.groups.Add(1)
	s.batchBytes.Add(size)
	s.m.Commits.Inc()
	s.m.CommitBytes.Observe(float64(size))
	s.m.BatchBytes.Add(float64(size))
	s.m.CommitSeconds.Observe(time.Since(start).Seconds())
	for _, src := range g.sources {
		src.Committed()
	}
	g.finish(nil)
	s.leave(g)
}

// fail ends a group that is not durable, and the open group with it, whose batches lie behind the hole.
func (s *Store) fail(g *Group, err error) {
	s.m.Failures.Inc()
	s.mu.Lock()
	behind := s.open
	s.open = newGroup()
	if s.refused == nil || errors.Is(err, ErrFailed) {
		s.refused = err
	}
	s.failing = true
	s.mu.Unlock()
	s.log.Error("commit failed", "err", err, "partitions", len(g.sources))
	for _, src := range behind.sources {
		src.Collect(nil)
	}
	for _, lost := range []*Group{behind, g} {
		for _, src := range lost.sources {
			src.Failed()
		}
	}
	s.mu.Lock()
	s.failing = false
	s.mu.Unlock()
	g.finish(err)
	behind.finish(err)
	s.leave(g)
	s.leave(behind)
	signal(s.absorbSoon) // which finds out when there is room again
}

// write makes a group durable: in the journal when it is small, else in the active segment.
func (s *Store) write(g *Group, entries []Entry, size int64) error {
	raw := encodeOps(g.ops)
	seq := s.seq + 1
	n := frameSize(raw, entries)
	if size >= s.opt.DirectBytes || n > s.journal.size/2 { // the frame of many small things may be as large as the ring
		if err := s.absorb(&pendingGroup{seq: seq, ops: g.ops, entries: entries, bytes: size, urgent: g.urgent}); err != nil {
			return err
		}
		s.seq = seq
		for _, o := range g.ops {
			s.truncated(o)
		}
		g.direct = true
		s.unmarked.Store(true)
		signal(s.absorbSoon) // which looks at free space, and has the commit marked
		return nil
	}
	off, err := s.place(seq, n)
	if err != nil {
		return err
	}
	if err := s.journal.write(off, seq, raw, entries); err != nil {
		if fsx.IsFull(err) { // a file system that writes overwritten blocks elsewhere
			s.pendMu.Lock()
			s.journal.cancel(off)
			s.pendMu.Unlock()
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	s.m.JournalBytes.Add(float64(n))
	s.seq = seq
	s.unmarked.Store(false)
	for _, o := range g.ops {
		s.truncated(o)
	}
	for _, e := range entries {
		if l := s.Log(e.Partition); l != nil {
			l.pushTail(seq, e.Batch)
		}
	}
	s.pendMu.Lock()
	p := pendingGroup{seq: seq, ops: g.ops, entries: entries, bytes: size}
	s.pending = append(s.pending, p)
	s.pendingBytes += p.kept()
	full := s.pendingBytes >= s.opt.AbsorbBytes
	s.pendMu.Unlock()
	s.m.Pending.Add(float64(size))
	if full {
		signal(s.absorbNow)
	} else {
		signal(s.absorbSoon)
	}
	return nil
}

// truncated cuts what waits to be absorbed, when an operation that truncates is durable.
func (s *Store) truncated(o op) {
	if o.kind != opReset {
		return
	}
	if l := s.Log(o.info.ID); l != nil {
		l.cut(o.cutAt(), true)
	}
}

// place finds room in the journal, waiting for absorptions as long as they succeed.
func (s *Store) place(seq uint64, n int64) (int64, error) {
	for {
		s.pendMu.Lock()
		off, ok := s.journal.reserve(seq, n)
		s.pendMu.Unlock()
		if ok {
			return off, nil
		}
		if err := s.absorb(nil); err != nil {
			return 0, err
		}
	}
}

// classify tells a full device, and other shortages, which are temporary, from a broken one.
func (s *Store) classify(err error) error {
	if errors.Is(err, ErrFull) || errors.Is(err, ErrFailed) {
		return err
	}
	if fsx.IsFull(err) || passing(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("%w: %w", ErrFailed, err)
}

func encodeOps(ops []op) [][]byte {
	if len(ops) == 0 {
		return nil
	}
	raw := make([][]byte, len(ops))
	for i, o := range ops {
		raw[i] = o.encode()
	}
	return raw
}

func sortEntries(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Batch.BaseOffset(), b.Batch.BaseOffset()))
	})
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
