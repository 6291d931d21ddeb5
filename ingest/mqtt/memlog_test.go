package mqtt

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// memLog is a Log in memory. Commits are completed by hand (commit, fail) or, after auto, by a goroutine, as fast as
// possible or with a sync of a file for each.
type memLog struct {
	parts  int                           // partitions of a new topic
	forget bool                          // keep no records, only their number
	block  atomic.Pointer[chan struct{}] // unless nil, Append waits for it to be closed
	pause  time.Duration                 // of a commit, as if a disk took so long

	mu        sync.Mutex
	topics    map[string][]*memPartition
	sources   []Source
	watchers  map[chan<- struct{}]bool
	open      *memCommit
	closed    []*memCommit // cut off by cut, in order, not completed
	cutAfter  int          // unless 0, each commit takes so many records
	fullAfter int          // unless 0, Append answers ErrFull once so many records are there
	total     int
	wrap      func(Commit) Commit
	refuse    error // what Append and Bind answer, nil: they work
	binds     int
	arrived   sync.Cond // something was appended, or the log is stopped
	stopped   bool
	syncing   bool // a commit is under way
	done      sync.WaitGroup
	journal   *os.File
}

func newMemLog() *memLog {
	l := &memLog{parts: 1, topics: map[string][]*memPartition{}, watchers: map[chan<- struct{}]bool{}}
	l.arrived.L = &l.mu
	return l
}

type memPartition struct {
	log   *memLog
	topic string
	index int32

	mu      sync.Mutex
	start   int64
	end     int64 // committed
	records []memRecord
	base    int64 // offset of records[0]
	broken  error // what Read answers
	gone    bool
	reads   int
}

type memRecord struct {
	Record
}

type memCommit struct {
	log     *memLog
	done    chan struct{}
	err     error
	ends    map[*memPartition]int64
	bytes   int
	records int
	mu      sync.Mutex
	notify  []Waiter
	over    bool
}

func (c *memCommit) Done() <-chan struct{} { return c.done }
func (c *memCommit) Err() error            { return c.err }

func (c *memCommit) Notify(w Waiter) {
	c.mu.Lock()
	if !c.over {
		c.notify = append(c.notify, w)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	w.Committed()
}

// complete ends the commit.
func (c *memCommit) complete(err error) {
	c.err = err
	if err == nil {
		for p, end := range c.ends {
			p.mu.Lock()
			p.end = max(p.end, end)
			p.mu.Unlock()
		}
	}
	close(c.done)
	c.mu.Lock()
	c.over = true
	notify := c.notify
	c.notify = nil
	c.mu.Unlock()
	for _, w := range notify {
		w.Committed()
	}
	c.log.mu.Lock()
	c.log.kick()
	c.log.mu.Unlock()
}

// kick tells the watchers. mu is held.
func (l *memLog) kick() {
	for ch := range l.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (l *memLog) Bind(_ context.Context, topic string, key []byte, headers []Header) (Appender, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.binds++
	if l.refuse != nil {
		return nil, l.refuse
	}
	parts := l.create(topic)
	h := fnv.New32a()
	h.Write(key)
	return &memAppender{p: parts[int(h.Sum32()%uint32(len(parts)))], key: key, headers: headers}, nil
}

// create returns the partitions of a topic. mu is held.
func (l *memLog) create(topic string) []*memPartition {
	if parts := l.topics[topic]; parts != nil {
		return parts
	}
	var parts []*memPartition
	for i := range l.parts {
		p := &memPartition{log: l, topic: topic, index: int32(i)}
		parts = append(parts, p)
		l.sources = append(slices.Clip(l.sources), p)
	}
	l.topics[topic] = parts
	l.kick()
	return parts
}

func (l *memLog) Sources() []Source {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sources
}

func (l *memLog) Watch(ch chan<- struct{}) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers[ch] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers, ch)
	}
}

func (l *memLog) watched() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.watchers)
}

// drop deletes a topic.
func (l *memLog) drop(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.topics[topic] {
		p.mu.Lock()
		p.gone = true
		p.mu.Unlock()
		l.sources = slices.DeleteFunc(slices.Clone(l.sources), func(s Source) bool { return s == Source(p) })
	}
	delete(l.topics, topic)
	l.kick()
}

// setRefuse sets what Append and Bind answer.
func (l *memLog) setRefuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = err
}

type memAppender struct {
	p       *memPartition
	key     []byte
	headers []Header
}

func (a *memAppender) Append(ts int64, value []byte) (Commit, error) {
	p, l := a.p, a.p.log
	if block := l.block.Load(); block != nil {
		<-*block
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return nil, l.refuse
	}
	if l.fullAfter > 0 && l.total >= l.fullAfter {
		return nil, ErrFull
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil, ErrStale
	}
	l.total++
	offset := p.base + int64(len(p.records))
	var v []byte
	if value != nil && !l.forget {
		v = append([]byte{}, value...)
	}
	if l.forget {
		p.base++
		p.start = p.base
	} else {
		p.records = append(p.records, memRecord{Record{Offset: offset, Timestamp: ts, Key: a.key, Value: v, Headers: a.headers}})
	}
	if l.open == nil {
		l.open = &memCommit{log: l, done: make(chan struct{}), ends: map[*memPartition]int64{}}
		l.arrived.Signal()
	}
	c := l.open
	c.ends[p] = offset + 1
	c.bytes += len(value) + 100
	if c.records++; c.records == l.cutAfter {
		l.closed = append(l.closed, c)
		l.open = nil
	}
	if l.wrap != nil {
		return l.wrap(c), nil
	}
	return c, nil
}

// cut closes the open commit: what comes later belongs to another.
func (l *memLog) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil {
		l.closed = append(l.closed, l.open)
		l.open = nil
	}
}

// pending returns commits that are not completed, in order.
func (l *memLog) pending() []*memCommit {
	l.cut()
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.closed
	l.closed = nil
	return p
}

// commit completes everything appended so far.
func (l *memLog) commit() {
	for _, c := range l.pending() {
		c.complete(nil)
	}
}

// auto completes commits by itself, each after a sync of journal if that is not nil.
func (l *memLog) auto(t testing.TB, journal *os.File) {
	l.journal = journal
	l.done.Go(l.run)
	t.Cleanup(l.stop)
}

func (l *memLog) stop() {
	l.mu.Lock()
	l.stopped = true
	l.arrived.Broadcast()
	l.mu.Unlock()
	l.done.Wait()
}

func (l *memLog) run() {
	block := make([]byte, 1<<20)
	for {
		l.mu.Lock()
		for l.open == nil && !l.stopped {
			l.arrived.Wait()
		}
		c := l.open
		l.open = nil
		l.syncing = c != nil
		l.mu.Unlock()
		if c == nil {
			return
		}
		if l.journal != nil {
			n := min((c.bytes+4095)&^4095, len(block))
			if _, err := l.journal.WriteAt(block[:n], 0); err != nil {
				c.complete(err)
				return
			}
			if err := l.journal.Sync(); err != nil {
				c.complete(err)
				return
			}
		}
		if l.pause > 0 {
			waitForDisk(l.pause)
		}
		c.complete(nil)
		l.mu.Lock()
		l.syncing = false
		l.mu.Unlock()
	}
}

// settled tells whether everything appended was committed by auto.
func (l *memLog) settled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open == nil && !l.syncing
}

// waitForDisk takes as long as a sync would.
func waitForDisk(d time.Duration) { time.Sleep(d) }

func (p *memPartition) Topic() string { return p.topic }
func (p *memPartition) Index() int32  { return p.index }

func (p *memPartition) Bounds() (start, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start, p.end
}

func (p *memPartition) Read(from int64, most int, visit func(*Record) bool) (int64, error) {
	p.mu.Lock()
	p.reads++
	if p.broken != nil {
		defer p.mu.Unlock()
		return from, p.broken
	}
	if p.gone {
		defer p.mu.Unlock()
		return from, errors.New("the partition is gone")
	}
	if from < p.start || from > p.end {
		defer p.mu.Unlock()
		return from, ErrOutOfRange
	}
	records := p.records[from-p.base : p.end-p.base]
	p.mu.Unlock()
	next := from
	for i := range records {
		if most <= 0 && i > 0 {
			break
		}
		r := records[i].Record
		if r.Offset < 0 { // compacted away
			next++
			continue
		}
		most -= len(r.Key) + len(r.Value) + 50
		if !visit(&r) {
			return r.Offset, nil
		}
		next = r.Offset + 1
	}
	return next, nil
}

// trim removes records before start.
func (p *memPartition) trim(start int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records = slices.Clone(p.records[start-p.base:])
	p.base, p.start = start, start
}

// all returns the committed records of a topic, by partition.
func (l *memLog) all(topic string) []Record {
	l.mu.Lock()
	parts := l.topics[topic]
	l.mu.Unlock()
	var out []Record
	for _, p := range parts {
		start, end := p.Bounds()
		if start == end {
			continue
		}
		if _, err := p.Read(start, 1<<30, func(r *Record) bool {
			out = append(out, *r)
			return true
		}); err != nil {
			panic(err)
		}
	}
	return out
}

// describe renders a record for comparisons.
func describe(r Record) string {
	s := fmt.Sprintf("%s=%q", r.Key, r.Value)
	if r.Value == nil {
		s = fmt.Sprintf("%s=null", r.Key)
	}
	for _, h := range r.Headers {
		s += fmt.Sprintf(" %s=%s", h.Key, h.Value)
	}
	return s
}

// nullLog takes everything and keeps nothing; it is for measuring what the server itself costs.
type nullLog struct {
	commit *memCommit
}

func newNullLog() *nullLog {
	l := &nullLog{commit: &memCommit{done: make(chan struct{}), over: true}}
	close(l.commit.done)
	return l
}

func (l *nullLog) Bind(context.Context, string, []byte, []Header) (Appender, error) { return l, nil }
func (l *nullLog) Append(int64, []byte) (Commit, error)                             { return l.commit, nil }
func (l *nullLog) Sources() []Source                                                { return nil }
func (l *nullLog) Watch(chan<- struct{}) (stop func())                              { return func() {} }

// eventually polls until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
