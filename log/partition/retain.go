package partition

import "github.com/culvert-mq/culvert/log/store"

// Expiring returns up to where retention lets records go, whole runs of sealed segments at a time: those whose newest record
// is older than maxAge (ms; negative keeps all) before now (ms), and the oldest while more than maxBytes would remain
// (negative keeps all); and the bytes of the runs that go. It is the start where nothing goes.
func (p *Partition) Expiring(now, maxAge, maxBytes int64) (to, bytes int64) {
	start := p.start.Load()
	to = start
	size := p.log.Size()
	for _, r := range p.log.SealedRuns() {
		expired := maxAge >= 0 && r.MaxTime < now-maxAge
		over := maxBytes >= 0 && size-r.Bytes >= maxBytes
		if !expired && !over {
			break
		}
		size -= r.Bytes
		if r.Next > start {
			to, bytes = r.Next, bytes+r.Bytes
		}
	}
	return to, bytes
}

// AdvanceStart makes offset the first one that can be read, and returns when that is durable together with what goes. An
// offset before the start changes nothing. Error: ErrOffsetOutOfRange behind the end. It is called by one goroutine at a
// time.
func (p *Partition) AdvanceStart(offset int64, gone store.Gone) error {
	if offset > p.end.Load() {
		return ErrOffsetOutOfRange
	}
	if offset <= p.start.Load() {
		return nil
	}
	if err := p.st.SetStart(p.info.ID, offset, gone); err != nil {
		return err
	}
	for {
		have := p.start.Load()
		if have >= offset || p.start.CompareAndSwap(have, offset) {
			break
		}
	}
	p.advanced()
	return nil
}

// Close ends appends with ErrGone. What was appended before still becomes durable.
func (p *Partition) Close() {
	p.gone.Store(true)
	p.advanced()
}

// Gone reports whether the partition was closed.
func (p *Partition) Gone() bool { return p.gone.Load() }
