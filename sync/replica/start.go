package replica

import "github.com/culvert-mq/culvert/log/store"

// AdvanceStart makes offset the first one that can be read, and returns when that is durable. An offset before the start
// changes nothing. Error: ErrOffsetOutOfRange behind the end.
func (p *Partition) AdvanceStart(offset int64) error {
	n, err := p.m.st.Log(p.log.ID()).Count(p.log.Start(), offset)
	if err != nil {
		return err
	}
	return p.log.AdvanceStart(offset, store.Gone{Expired: n})
}

// DeleteRecords is AdvanceStart for a client that no longer wants what lies before an offset. Error: ErrOffsetOutOfRange
// behind the high watermark.
func (p *Partition) DeleteRecords(before int64) error {
	if before > p.HighWatermark() {
		return ErrOffsetOutOfRange
	}
	start := p.StartOffset()
	if err := p.AdvanceStart(before); err != nil {
		return err
	}
	gone := make(expired)
	gone.add(p.topic, reasonClient, p.StartOffset()-start, 0)
	p.m.report(gone)
	return nil
}
