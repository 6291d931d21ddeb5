package partition

// Retain moves the start past what retention lets go, whole runs of sealed segments at a time: those whose newest record
// is older than maxAge (ms; negative keeps all) before now (ms), and the oldest while more than maxBytes would remain
// (negative keeps all). It returns the number of offsets and bytes that went.
func (p *Partition) Retain(now, maxAge, maxBytes int64) (records, bytes int64, err error) {
	start := p.start.Load()
	to := start
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
	if to == start {
		return 0, 0, nil
	}
	if err := p.AdvanceStart(to); err != nil {
		return 0, 0, err
	}
	return to - start, bytes, nil
}

// AdvanceStart makes offset the first one that can be read, and returns when that is durable. An offset before the start
// changes nothing. Error: ErrOffsetOutOfRange behind the end.
func (p *Partition) AdvanceStart(offset int64) error {
	if offset > p.end.Load() {
		return ErrOffsetOutOfRange
	}
	if offset <= p.start.Load() {
		return nil
	}
	if err := p.st.SetStart(p.info.ID, offset); err != nil {
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
