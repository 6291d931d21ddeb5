package replica

import (
	"github.com/culvert-mq/culvert/log/store"
)

// Forwarded tells up to where a partition has been forwarded to the centre, and false for one that is not to be. It must
// not wait, and may be called from any goroutine.
type Forwarded func(p *Partition) (offset int64, forwarded bool)

// SetForwarded has records that leave before they were forwarded counted as lost. Until it is called nothing is forwarded.
func (m *Manager) SetForwarded(f Forwarded) { m.forwarded.Store(&f) }

// Position returns up to where the partition has been forwarded to the centre, and false if it is not to be.
func (p *Partition) Position() (offset int64, forwarded bool) {
	f := p.m.forwarded.Load()
	if f == nil {
		return 0, false
	}
	return (*f)(p)
}

// AdvanceStart makes offset the first one that can be read, and returns when that is durable, together with what becomes of
// the records before it: in the ledger they are expired, or lost if the centre was still to get them. An offset before the
// start changes nothing. Error: ErrOffsetOutOfRange behind the end.
func (p *Partition) AdvanceStart(offset int64) error {
	_, err := p.advance(offset)
	return err
}

// DeleteRecords is AdvanceStart for a client that no longer wants what lies before an offset. Error: ErrOffsetOutOfRange
// behind the high watermark.
func (p *Partition) DeleteRecords(before int64) error {
	if before > p.HighWatermark() {
		return ErrOffsetOutOfRange
	}
	gone, err := p.advance(before)
	if err == nil {
		t := make(tally)
		t.add(p.topic, reasonClient, gone, 0)
		p.m.report(t)
	}
	return err
}

// advance moves the start, and tells what left with it.
func (p *Partition) advance(to int64) (store.Gone, error) {
	p.moving.Lock()
	defer p.moving.Unlock()
	start := p.log.Start()
	if to <= start {
		return store.Gone{}, nil
	}
	if to > p.log.End() {
		return store.Gone{}, ErrOffsetOutOfRange
	}
	gone := p.leaving(start, to)
	if err := p.log.AdvanceStart(to, gone); err != nil {
		return store.Gone{}, err
	}
	return gone, nil
}

// leaving counts the records at offsets from one to another, by what becomes of them if they go now.
func (p *Partition) leaving(from, to int64) store.Gone {
	all := p.count(from, to)
	position, forwarded := p.Position()
	switch {
	case !forwarded || position >= to:
		return store.Gone{Expired: all}
	case position <= from:
		return store.Gone{Lost: all}
	}
	lost := min(p.count(position, to), all)
	return store.Gone{Expired: all - lost, Lost: lost}
}

// count returns the number of records at offsets from one to another. What cannot be read must be able to go, too: then
// every offset counts as a record, as far as there are so many.
func (p *Partition) count(from, to int64) int64 {
	n, err := p.records.Count(from, to)
	if err != nil {
		n = min(to-from, p.Ledger().Stored)
		p.m.log.Warn("records that go cannot be counted exactly", "topic", p.topic, "partition", p.index, "from", from, "to", to, "counted", n, "err", err)
	}
	return n
}
