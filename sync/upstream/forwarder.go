package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Forwarder forwards a source to the centre. Make one with New, then call Run once.
//
// Goroutines: the pump reads and sends, keepPartitions follows the source's list, keepStoring stores positions, the
// prober looks for refused records, a lookup asks the centre for topics, keepAsking finds out whether it is there; the
// client library has its own, one of which calls answer for every record. Locks are taken in this order: flowsMu,
// flow.mu, and below that one of checkMu, centralTopic.mu, link.mu.
type Forwarder struct {
	cfg       Config
	template  template
	options   []kgo.Opt
	source    Source
	positions Positions
	log       *slog.Logger
	metrics   *Metrics

	selector atomic.Pointer[selector]
	budget   budget
	link     *link
	started  atomic.Bool
	running  atomic.Bool
	wg       sync.WaitGroup // lookups, and clients that are being closed

	client      atomic.Pointer[kgo.Client]
	clientAt    time.Time    // when the client was made; the pump's
	confirmed   atomic.Bool  // something was confirmed since the last report
	confirmedAt atomic.Int64 // when something was, by the last report, in ns
	onWay       atomic.Int64 // records with the producers
	resent      atomic.Int64
	storeFailed atomic.Bool
	lastState   State     // the storer's
	toldLost    bool      // the storer's: that the centre has not been reached yet
	downAt      time.Time // the storer's

	flows    atomic.Pointer[flowSet]
	flowsMu  sync.Mutex               // guards writing flows, and what follows
	retired  []*flow                  // not to be forwarded any more, with records on their way or a position to be stored
	centrals map[string]*centralTopic // keepPartitions' own

	data chan struct{} // some partition's high watermark moved
	wake chan struct{} // memory was given back, a flow was settled, a topic looked up
	list chan struct{} // the list of partitions or the choice of topics changed

	ready     []*flow // the pump's
	turn      int     // the pump's
	lookingUp atomic.Bool

	checkMu   sync.Mutex
	checks    []*flow       // in mode careful, not yet with the prober
	checkable chan struct{} // checks has something
}

// New makes a forwarder. It reads the certificates and passwords that the configuration names, and connects to nothing.
func New(cfg Config, source Source, positions Positions, log *slog.Logger, metrics *Metrics) (*Forwarder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	w := &Forwarder{
		cfg: cfg, source: source, positions: positions, log: log, metrics: metrics,
		budget: budget{total: cfg.MaxInflightBytes}, centrals: map[string]*centralTopic{},
		data: make(chan struct{}, 1), wake: make(chan struct{}, 1), list: make(chan struct{}, 1), checkable: make(chan struct{}, 1),
	}
	w.link = newLink(metrics, w.poke)
	w.flows.Store(&flowSet{})
	var err error
	if w.template, err = parseTemplate(cfg.Topic, cfg.Site); err != nil {
		return nil, err
	}
	if err := w.SetTopics(cfg.Topics, cfg.Exclude); err != nil {
		return nil, err
	}
	if w.options, err = clientOptions(cfg, w.link, log); err != nil {
		return nil, err
	}
	if cfg.SASL.Mechanism == saslPlain && !cfg.TLS.Enabled {
		log.Warn("the password for the centre travels in the clear: SASL PLAIN without TLS")
	}
	return w, nil
}

// SetTopics changes which topics are forwarded, also while Run is running.
func (w *Forwarder) SetTopics(include, exclude []string) error {
	sel, err := newSelector(include, exclude)
	if err != nil {
		return err
	}
	w.selector.Store(sel)
	select {
	case w.list <- struct{}{}:
	default:
	}
	return nil
}

// Run forwards until ctx is done. Then it reads nothing more, waits for what is on its way, no longer than
// Config.DrainTimeout and not at all while the centre is away, stores the positions and returns nil. It can be called
// once.
func (w *Forwarder) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return errors.New("upstream: the forwarder has been run before")
	}
	cl, err := w.newClient()
	if err != nil {
		return err
	}
	w.client.Store(cl)
	w.clientAt = time.Now()
	w.lastState = StateConnecting
	w.running.Store(true)
	defer w.running.Store(false)
	w.log.Info("forwarding to the centre", "brokers", w.cfg.Brokers, "topic", w.cfg.Topic, "site", w.cfg.Site)

	var g, asking sync.WaitGroup
	g.Go(func() { w.keepPartitions(ctx) })
	g.Go(func() { w.pump(ctx) })
	g.Go(func() { w.prober(ctx) })
	g.Go(func() { w.keepStoring(ctx) })
	asking.Go(func() { w.keepAsking(ctx) })
	g.Wait()
	w.drain()
	w.client.Load().Close()
	asking.Wait() // the library heeds no context while a connection begins: closing cuts a question off
	w.wg.Wait()
	w.awaitAnswers()

	for _, f := range w.flows.Load().list {
		f.stop()
	}
	w.commit()
	w.report(time.Now())
	s := w.Status()
	w.log.Info("forwarding stopped", "lag_records", s.Lag, "confirmed_records", s.Confirmed)
	return nil
}

// tellDraining is how long draining takes before it is told.
const tellDraining = time.Second

// drain waits for what is on its way.
func (w *Forwarder) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), w.cfg.DrainTimeout)
	defer cancel()
	done := make(chan struct{})
	w.wg.Go(func() {
		defer close(done)
		_ = w.client.Load().Flush(ctx)
	})
	t := time.NewTicker(downAfter / 4)
	defer t.Stop()
	tell := time.NewTimer(tellDraining)
	defer tell.Stop()
	for {
		select {
		case <-done:
			if n := w.onWay.Load(); n > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				w.log.Warn("the centre has not confirmed what is on its way; it is sent again later", "records", n, "waited", w.cfg.DrainTimeout)
			}
			return
		case <-tell.C:
			w.log.Info("waiting for the centre to confirm what is on its way", "records", w.onWay.Load(), "longest", w.cfg.DrainTimeout)
		case <-t.C:
			if s := w.link.state(); s.down || !s.everUp {
				cancel()
			}
		}
	}
}

// awaitAnswers waits until the closed producers have told what became of every record.
func (w *Forwarder) awaitAnswers() {
	t := time.NewTimer(storeTimeout)
	defer t.Stop()
	for w.onWay.Load() > 0 {
		select {
		case <-w.wake:
		case <-t.C:
			w.log.Error("the client library does not tell what became of some records", "records", w.onWay.Load())
			return
		}
	}
}

// newClient makes a client with the usual options and these.
func (w *Forwarder) newClient(more ...kgo.Opt) (*kgo.Client, error) {
	cl, err := kgo.NewClient(append(append([]kgo.Opt{}, w.options...), more...)...)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	return cl, nil
}

// renew replaces the client, unless it is younger than the failure or something has been confirmed since: after some
// errors the library's producer never works again. Called by the pump.
func (w *Forwarder) renew(failedAt, now time.Time) {
	if w.clientAt.After(failedAt) || w.confirmed.Load() || w.confirmedAt.Load() > failedAt.UnixNano() {
		return
	}
	cl, err := w.newClient()
	if err != nil {
		w.log.Error("cannot replace the producer", "err", err)
		return
	}
	w.log.Debug("replacing the producer", "failed_at", failedAt)
	w.clientAt = now
	w.wg.Go(w.client.Swap(cl).Close)
}

// How often a centre is asked whether it is there when nothing else tells.
const (
	askAfter = time.Minute
	askEvery = time.Second
)

// keepAsking asks the centre for a sign of life while there is no traffic, so that its state is known: soon after the
// start, and when it has not been heard for a while.
func (w *Forwarder) keepAsking(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if w.link.quietFor() < askAfter {
			failures = 0
			t.Reset(askEvery)
			continue
		}
		ask, cancel := context.WithTimeout(ctx, lookupTimeout)
		err := w.client.Load().Ping(ask)
		cancel()
		if err == nil {
			w.link.ok()
			failures = 0
			t.Reset(askEvery)
			continue
		}
		failures++
		t.Reset(backoff(failures, min(dialBackoff, w.cfg.MaxBackoff), w.cfg.MaxBackoff))
	}
}

// startLookup looks topics up at the centre, unless a lookup is under way: it wakes the pump when it is over.
func (w *Forwarder) startLookup(ctx context.Context, topics []*centralTopic) {
	if w.lookingUp.Swap(true) {
		return
	}
	for _, t := range topics {
		t.mu.Lock()
		t.busy = true
		t.mu.Unlock()
	}
	cl := w.client.Load()
	w.wg.Go(func() {
		w.lookup(ctx, cl, topics)
		w.lookingUp.Store(false)
		w.poke()
	})
}

// poke makes the pump look at all flows again.
func (w *Forwarder) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
