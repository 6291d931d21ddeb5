package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/sync/meta"
)

// What a commit is refused for.
var (
	// ErrIllegalGeneration says that a commit names a generation of a group that is not known [ILLEGAL_GENERATION].
	ErrIllegalGeneration = errors.New("the group has no such generation")
	// ErrUnknownMember says that a commit names a generation of a group that is known, but that nobody has joined
	// [UNKNOWN_MEMBER_ID].
	ErrUnknownMember = fmt.Errorf("%w: nobody has joined it", ErrIllegalGeneration)
	// ErrInvalidGroup says that the name of the group is too long [INVALID_GROUP_ID].
	ErrInvalidGroup = fmt.Errorf("%w: the name of the group has more than %d bytes", meta.ErrInvalidRequest, MaxGroupName)
	// ErrInvalidOffset says that a name or a text beside an offset is too long to be stored [INVALID_REQUEST].
	ErrInvalidOffset = fmt.Errorf("%w: an offset cannot be stored", meta.ErrInvalidRequest)
	// ErrTooMany says that no more offsets fit into memory [POLICY_VIOLATION].
	ErrTooMany = fmt.Errorf("%w: too many committed offsets", meta.ErrPolicyViolation)
)

// Bounds of what is kept.
const (
	// MaxGroupName is how many bytes the name of a group may have.
	MaxGroupName = 1024
	// DefaultMaxBytes is the default of Options.MaxBytes.
	DefaultMaxBytes = 16 << 20

	maxText = 32767 // of a string in a record of Kafka
)

// Log is the offsets topic.
type Log interface {
	// Partitions returns the partitions of the topic, all led by this node, in order. Where the topic is missing it is
	// created if create is true, else there are none.
	Partitions(ctx context.Context, create bool) ([]Partition, error)
}

// Partition is one partition of the offsets topic. Nobody else appends to it.
type Partition interface {
	// AppendBatch adds a batch, which it owns from then on, and returns its base offset and the commit it becomes durable
	// with.
	AppendBatch(b record.Batch) (base int64, c Commit, err error)
	StartOffset() int64
	HighWatermark() int64
	// Read returns whole durable batches from the one that holds from, and what gives them back.
	Read(from int64, size int) (batches []record.Batch, release func(), err error)
	// AdvanceStart removes the records before an offset.
	AdvanceStart(offset int64) error
}

// Commit is durable, or has failed, when Done is closed; Err may be asked for then.
type Commit interface {
	Done() <-chan struct{}
	Err() error
}

// Options configures a Coordinator.
type Options struct {
	Log       Log
	Retention func() time.Duration // of committed offsets after their commit
	Now       func() time.Time
	Logger    *slog.Logger
	MaxBytes  int64 // about how much memory offsets may take; 0 stands for DefaultMaxBytes
}

// Coordinator keeps committed offsets. Its methods may be called from any goroutine.
type Coordinator struct {
	opt Options

	mu     sync.RWMutex
	shards []*shard // guarded by mu: one per partition of the topic; none before the first commit

	clockMu sync.Mutex
	clock   clock // guarded by clockMu
}

// shard is one partition of the offsets topic.
type shard struct {
	p   Partition
	log *slog.Logger

	appends sync.RWMutex // held for reading from an append until it is applied; for writing while the log is rewritten

	mu    sync.Mutex // taken after appends; not held while anything is awaited
	state *offsets   // guarded by mu
	late  []late     // guarded by mu
}

// late is a commit that nobody waits for any more: its records are in the log, and it counts when they are durable.
type late struct {
	commit  Commit
	group   string
	commits []stored
}

// Bounds of what is read and of a shard's log.
const (
	readBytes = 1 << 20
	maxBatch  = 16 << 20 // decompressed
	// rewriteRecords and rewriteShare say when a shard's live offsets are written anew and the records before them
	// dropped: when there are this many records, and this many times as many as offsets.
	rewriteRecords = 10_000
	rewriteShare   = 4
	chunkOffsets   = 1000 // offsets in a batch of the coordinator's own
)

// Open reads the committed offsets of a topic that exists. A record that cannot be read is reported and passed over.
func Open(ctx context.Context, opt Options) (*Coordinator, error) {
	if opt.MaxBytes == 0 {
		opt.MaxBytes = DefaultMaxBytes
	}
	now := opt.Now()
	c := &Coordinator{opt: opt, clock: clock{opened: now, last: now}}
	ps, err := opt.Log.Partitions(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("committed offsets: %w", err)
	}
	return c, c.load(ps)
}

// load reads all partitions. The caller holds mu, or is alone.
func (c *Coordinator) load(ps []Partition) error {
	var shards []*shard
	for i, p := range ps {
		s := &shard{p: p, log: c.opt.Logger.With("offsets_partition", i), state: newOffsets()}
		if err := s.load(); err != nil {
			return fmt.Errorf("committed offsets, partition %d: %w", i, err)
		}
		shards = append(shards, s)
	}
	c.shards = shards
	return nil
}

func (s *shard) load() error {
	var r record.Reader
	defer r.Close()
	for at := s.p.StartOffset(); at < s.p.HighWatermark(); {
		batches, release, err := s.p.Read(at, readBytes)
		if err != nil {
			return err
		}
		for _, b := range batches {
			s.loadBatch(&r, b)
			at = b.NextOffset()
		}
		release()
		if len(batches) == 0 {
			break
		}
	}
	s.state.next = max(s.state.next, s.p.HighWatermark())
	return nil
}

func (s *shard) loadBatch(r *record.Reader, b record.Batch) {
	err := r.Reset(b, maxBatch)
	for err == nil && r.Next() {
		rec := r.Record()
		if e := s.state.apply(rec.Offset, rec.Key, rec.Value); e != nil && !errors.Is(e, errNotOffset) {
			s.log.Error("a committed offset cannot be read", "offset", rec.Offset, "err", e)
		}
	}
	if err = errors.Join(err, r.Err()); err != nil {
		s.log.Error("committed offsets cannot be read", "offset", b.BaseOffset(), "err", err)
	}
}

// shard returns the shard of a group; nil where there is none and create is false.
func (c *Coordinator) shard(ctx context.Context, group string, create bool) (*shard, error) {
	c.mu.RLock()
	shards := c.shards
	c.mu.RUnlock()
	if len(shards) == 0 && create {
		ps, err := c.opt.Log.Partitions(ctx, true)
		if err != nil {
			return nil, fmt.Errorf("committed offsets: %w", err)
		}
		c.mu.Lock()
		if len(c.shards) == 0 {
			err = c.load(ps)
		}
		shards = c.shards
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	if len(shards) == 0 {
		return nil, nil
	}
	return shards[PartitionFor(group, len(shards))], nil
}

// Commit stores offsets of a group: all of them, or none and an error. It returns when they are durable. The generation is
// -1 for a client without the group protocol; another one is refused with ErrIllegalGeneration or ErrUnknownMember. An
// error of ctx leaves open whether the offsets are stored.
func (c *Coordinator) Commit(ctx context.Context, group string, generation int32, commits []Offset) error {
	if err := check(group, commits); err != nil {
		return err
	}
	if generation >= 0 {
		if s, _ := c.shard(ctx, group, false); s != nil && s.knows(group) {
			return ErrUnknownMember
		}
		return ErrIllegalGeneration
	}
	if len(commits) == 0 {
		return nil
	}
	s, err := c.shard(ctx, group, true)
	if err != nil {
		return err
	}
	if !s.fits(group, commits, c.opt.MaxBytes/int64(c.count())) {
		return ErrTooMany
	}
	now := c.opt.Now()
	var b record.Builder
	for _, o := range commits {
		key, value := encodeOffset(group, o, now)
		b.Append(now.UnixMilli(), key, value, nil)
	}
	bloated, err := s.commit(ctx, group, commits, &b, now)
	if err != nil || !bloated {
		return err
	}
	if err := s.rewrite(ctx); err != nil { // the commit itself is stored
		s.log.Warn("committed offsets cannot be written anew", "err", err)
	}
	return nil
}

// check refuses what does not fit into a record.
func check(group string, commits []Offset) error {
	if len(group) > MaxGroupName {
		return ErrInvalidGroup
	}
	for _, o := range commits {
		if len(o.Topic) > meta.MaxTopicName || len(o.Metadata) > maxText {
			return fmt.Errorf("%w: topic of %d and metadata of %d bytes", ErrInvalidOffset, len(o.Topic), len(o.Metadata))
		}
	}
	return nil
}

func (c *Coordinator) count() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.shards)
}

// knows reports whether a group has offsets.
func (s *shard) knows(group string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.groups[group] != nil
}

// fits reports whether the commits leave the shard below its share of the memory. What is there already may always be
// committed again.
func (s *shard) fits(group string, commits []Offset, limit int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := s.state.growth(group, commits)
	return more <= 0 || s.state.bytes+more <= limit
}

// commit stores the records of commits and applies them. It reports whether the log is worth being rewritten.
func (s *shard) commit(ctx context.Context, group string, commits []Offset, b *record.Builder, now time.Time) (bloated bool, err error) {
	s.appends.RLock()
	defer s.appends.RUnlock()
	base, done, err := s.append(b)
	if err != nil {
		return false, err
	}
	all := make([]stored, len(commits))
	for i, o := range commits {
		all[i] = stored{o, base + int64(i), now.UnixMilli()}
	}
	err = wait(ctx, done)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if ctx.Err() != nil {
			s.late = append(s.late, late{done, group, all})
		}
		return false, err
	}
	s.set(group, all)
	s.settle()
	return s.bloated(), nil
}

// set applies a durable commit. The caller holds mu.
func (s *shard) set(group string, all []stored) {
	for _, o := range all {
		s.state.set(group, o)
		s.state.next = max(s.state.next, o.at+1)
	}
}

// settle applies the late commits that are durable by now. The caller holds mu.
func (s *shard) settle() {
	s.late = slices.DeleteFunc(s.late, func(l late) bool {
		select {
		case <-l.commit.Done():
			if l.commit.Err() == nil {
				s.set(l.group, l.commits)
			}
			return true
		default:
			return false
		}
	})
}

// alone waits until no commit is under way, and returns what lets them go on.
func (s *shard) alone(ctx context.Context) (release func(), err error) {
	s.appends.Lock()
	s.mu.Lock()
	all := slices.Clone(s.late)
	s.mu.Unlock()
	for _, l := range all {
		select {
		case <-l.commit.Done():
		case <-ctx.Done():
			s.appends.Unlock()
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	s.settle()
	s.mu.Unlock()
	return s.appends.Unlock, nil
}

// remove stores deletions of offsets and applies them.
func (s *shard) remove(ctx context.Context, gone []keyed, now time.Time) error {
	release, err := s.alone(ctx) // so that what is deleted is what was seen
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	gone = slices.DeleteFunc(gone, func(o keyed) bool {
		have, ok := s.state.groups[o.group][o.TopicPartition]
		return !ok || have.at != o.at
	})
	s.mu.Unlock()
	for chunk := range slices.Chunk(gone, chunkOffsets) {
		var b record.Builder
		for _, o := range chunk {
			b.Append(now.UnixMilli(), encodeKey(o.group, o.TopicPartition), nil, nil)
		}
		base, done, err := s.append(&b)
		if err != nil {
			return err
		}
		if err := wait(ctx, done); err != nil {
			return err
		}
		s.mu.Lock()
		for _, o := range chunk {
			s.state.remove(o.group, o.TopicPartition)
		}
		s.state.next = max(s.state.next, base+int64(len(chunk)))
		s.mu.Unlock()
	}
	return nil
}

// append hands the records of a builder to the log as one batch.
func (s *shard) append(b *record.Builder) (base int64, c Commit, err error) {
	return s.p.AppendBatch(slices.Clone(b.Finish(0, -1, record.LZ4, nil)))
}

// wait returns when c is durable, or has failed, or ctx ends.
func wait(ctx context.Context, c Commit) error {
	select {
	case <-c.Done():
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bloated reports whether the shard's log is worth being rewritten. The caller holds mu.
func (s *shard) bloated() bool {
	n := s.state.next - s.p.StartOffset()
	return n >= rewriteRecords && n >= rewriteShare*int64(s.state.count)
}

// rewrite writes the live offsets anew, with their commit times, and drops the records before them. Nothing is committed
// meanwhile, so that no copy can come after a newer commit. Where it is cut short the old records are still there.
func (s *shard) rewrite(ctx context.Context) error {
	release, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	bloated, from := s.bloated(), s.state.next
	live := s.state.selected(func(string, stored) bool { return true })
	s.mu.Unlock()
	if !bloated {
		return nil // another commit has seen to it
	}
	for chunk := range slices.Chunk(live, chunkOffsets) {
		var b record.Builder
		for _, o := range chunk {
			key, value := encodeOffset(o.group, o.Offset, time.UnixMilli(o.committed))
			b.Append(o.committed, key, value, nil)
		}
		base, done, err := s.append(&b)
		if err != nil {
			return err
		}
		if err := wait(ctx, done); err != nil {
			return err
		}
		s.mu.Lock()
		for i, o := range chunk {
			o.at = base + int64(i)
			s.set(o.group, []stored{o.stored})
		}
		s.mu.Unlock()
	}
	return s.p.AdvanceStart(from)
}

// Fetch returns the offsets that a group has committed, ordered by topic and partition.
func (c *Coordinator) Fetch(group string) []Offset {
	s, _ := c.shard(context.Background(), group, false) // without creation there is nothing that can fail
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	return s.state.fetch(group)
}

// Expire deletes the offsets that were committed longer ago than the retention, except those of internal groups. It is to
// be called from time to time, also to notice when the clock was set.
func (c *Coordinator) Expire(ctx context.Context) error {
	now, retention := c.opt.Now(), c.opt.Retention()
	c.clockMu.Lock()
	c.clock.see(now)
	clock := c.clock
	c.clockMu.Unlock()
	return c.removeAll(ctx, now, func(s *offsets) []keyed { return s.expired(now, clock, retention) })
}

// DropTopic deletes the offsets of a topic that is no more.
func (c *Coordinator) DropTopic(ctx context.Context, topic string) error {
	return c.removeAll(ctx, c.opt.Now(), func(s *offsets) []keyed {
		return s.selected(func(_ string, o stored) bool { return o.Topic == topic })
	})
}

func (c *Coordinator) removeAll(ctx context.Context, now time.Time, which func(*offsets) []keyed) error {
	c.mu.RLock()
	shards := c.shards
	c.mu.RUnlock()
	var errs []error
	for _, s := range shards {
		s.mu.Lock()
		gone := which(s.state)
		s.mu.Unlock()
		if len(gone) > 0 {
			errs = append(errs, s.remove(ctx, gone, now))
		}
	}
	return errors.Join(errs...)
}
