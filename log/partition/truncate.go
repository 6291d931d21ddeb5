package partition

import (
	"errors"

	"github.com/culvert-mq/culvert/log/store"
)

// Truncate takes everything at and past an offset off the end, in whole batches, as a follower does whose log has left its
// leader's (KIP-101): the batch that holds the offset goes too. It returns when that is durable. Offsets behind the new end
// are given again. What is being appended becomes durable first; appends wait meanwhile. Errors: ErrGone, and those of the
// store.
func (p *Partition) Truncate(offset int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	if p.gone.Load() {
		return ErrGone
	}
	if offset >= p.end.Load() {
		return nil
	}
	state, err := p.st.Truncate(p.info.ID, offset)
	if err != nil {
		if errors.Is(err, store.ErrDropped) {
			return ErrGone
		}
		return err
	}
	p.live = state
	p.sent = state.Next
	p.start.Store(state.Start)
	p.end.Store(state.Next)
	p.advanced()
	return nil
}

// settle waits until nothing is on its way. The caller holds mu, and goes on holding it: nothing is appended until it lets
// go, so that it may wait for an operation of its own to become durable.
func (p *Partition) settle() {
	for p.group != nil || p.inFlight != nil {
		g := p.group
		if g == nil {
			g = p.inFlight
		}
		p.mu.Unlock()
		<-g.Done()
		p.mu.Lock()
	}
}

// BeginEpoch notes that a leader epoch begins at the end, before its first batch is there. Error: those of the store.
func (p *Partition) BeginEpoch(epoch int32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	if err := p.st.BeginEpoch(p.info.ID, epoch, p.live.Next); err != nil {
		return err
	}
	p.live.BeginEpoch(epoch, p.live.Next)
	return nil
}

// FirstUnstable returns the offset below which no transaction is open, at most the durable end (KIP-98: the last stable
// offset).
func (p *Partition) FirstUnstable() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(p.live.FirstUnstable(), p.end.Load())
}

// Aborted returns the aborted transactions that a reader of the offsets from (inclusive) to (exclusive) has to pass over,
// as far as their end is durable.
func (p *Partition) Aborted(from, to int64) []store.Aborted {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.live.AbortedIn(from, to)
	end := p.end.Load()
	for len(in) > 0 && in[len(in)-1].Last >= end {
		in = in[:len(in)-1]
	}
	return in
}
