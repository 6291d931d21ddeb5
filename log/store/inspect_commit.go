package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/culvert-mq/culvert/log/record"
)

// commit looks at a commit.
func (p *pass) commit(c *rawCommit) {
	sound, missing := p.checkSum(c)
	p.broken = p.broken || missing
	r := p.rep
	r.Commits++
	if r.First == 0 {
		r.First = c.seq
	}
	var ops []op
	var entries []Entry
	bad := make(map[uint32]bool) // partitions of which something in it is not whole
	for _, it := range c.items {
		if id := binary.BigEndian.Uint32(it.k); id != opPartition {
			continue
		}
		err := p.im.spend(2 * len(it.v))
		var o op
		if err == nil {
			o, err = decodeOp(it.v)
		}
		if err != nil {
			p.problem(Problem{Commit: c.seq, Err: fmt.Errorf("operation: %w", err)})
			continue
		}
		ops = append(ops, o)
		p.operation(o)
	}
	for _, it := range c.items {
		id := binary.BigEndian.Uint32(it.k)
		if id == opPartition {
			continue
		}
		b, err := p.batch(c.seq, id, it, sound, missing)
		if err != nil {
			bad[id] = true
			p.badBatch(c.seq, id, it, err)
			continue
		}
		p.closeOpen(id, b.BaseOffset())
		p.ends[id] = max(p.ends[id], b.NextOffset())
		entries = append(entries, Entry{id, b})
	}
	indexed := entries[:0:0]
	for _, e := range entries {
		if p.take(c.seq, e) {
			indexed = append(indexed, e)
		}
		if p.err != nil {
			return
		}
	}
	p.compareIndex(c.seq, indexed, bad)
	if p.state != nil {
		p.state.apply(ops, entries)
	}
	if p.opt.Commit != nil {
		p.err = p.opt.Commit(c.seq)
	}
}

// checkSum reports whether the sum of a commit, which is over its keys, its operations and the beginnings of its batches,
// is right, and whether entries are missing.
func (p *pass) checkSum(c *rawCommit) (sound, missing bool) {
	var sum commitSum
	_, err := p.im.try(func() {
		for _, it := range c.items {
			if p.im.work > 0 {
				sum.add(it.k, it.v)
			}
		}
	})
	bad := func(err error) { p.problem(Problem{Commit: c.seq, Err: err}) }
	if err != nil {
		bad(err)
		return false, true
	}
	if c.check == nil {
		bad(errors.New("it is not whole: its end is missing"))
		return false, true
	}
	want, err := decodeSum(c.check)
	if err != nil {
		bad(fmt.Errorf("its sum cannot be read: %w", err))
		return false, true
	}
	p.h.tx = max(p.h.tx, want.tx)
	if want.seq != c.seq {
		bad(fmt.Errorf("it is commit %d: the key that leads to it is not what was written", want.seq))
		c.seq = want.seq
	}
	if want.before != p.last {
		p.broken = true
		bad(fmt.Errorf("%w: it comes behind commit %d, but the one before it is %d", ErrMissing, want.before, p.last))
	}
	switch sound = want.count == sum.count && want.crc == sum.crc; {
	case want.count != sum.count:
		bad(fmt.Errorf("it is not whole: %d of %d entries", sum.count, want.count))
	case !sound:
		bad(errors.New("keys, operations or the beginnings of batches are not what was written"))
	}
	return sound, want.count > sum.count
}

// decodeSum reads what commitSum.encode wrote.
func decodeSum(b []byte) (s commitSum, err error) {
	body, err := unseal(checkMagic, b)
	if err != nil {
		return s, err
	}
	r := reader{b: body}
	s = commitSum{tx: r.u64(), seq: r.u64(), before: r.u64(), count: r.u32(), crc: r.u32()}
	return s, r.end()
}

// operation notes what an operation says about the end of its partition.
func (p *pass) operation(o op) {
	switch id := o.info.ID; o.kind {
	case opReset:
		p.ends[id] = min(p.ends[id], o.state.Next)
	case opHole:
		p.ends[id] = max(p.ends[id], o.to)
	}
}

// batch checks a batch. In a commit whose sum is wrong the key may be that of another partition, which shows in that the
// batch does not fit there.
func (p *pass) batch(seq uint64, id uint32, it rawItem, sound, missing bool) (b record.Batch, err error) {
	if _, e := p.im.try(func() { b, err = shapeOf(it.k, it.v) }); e != nil {
		return nil, e
	}
	if err == nil && p.opt.Checksums {
		err = p.im.verify(b)
	}
	if err != nil {
		return nil, err
	}
	if b.LastOffsetDelta() < 0 || b.NextOffset() < b.BaseOffset() {
		return nil, fmt.Errorf("it ends at offset %d", b.LastOffset())
	}
	end, known := p.ends[id]
	fits := known && (b.BaseOffset() == end || b.BaseOffset() > end && missing) || p.inIndex(id, seq, b)
	switch {
	case !sound && !fits:
		return nil, errors.New("its commit is damaged, and it does not fit where it is")
	case b.BaseOffset() > end && known && p.broken && p.index[id] == nil: // else the index tells
		p.problem(Problem{Commit: seq, Partition: id, From: end, To: b.BaseOffset(), Err: fmt.Errorf("%w: the records before it", ErrMissing)})
	case sound && b.BaseOffset() < end:
		p.problem(Problem{Commit: seq, Partition: id, From: b.BaseOffset(), To: min(end, b.NextOffset()), Err: fmt.Errorf("the records before end at offset %d", end)})
	}
	return b, nil
}

// badBatch notes that a batch cannot be read. Where it ended the next one of its partition tells, or the index.
func (p *pass) badBatch(seq uint64, id uint32, it rawItem, err error) {
	base := int64(binary.BigEndian.Uint64(it.k[4:]))
	p.closeOpen(id, base)
	one := Problem{Commit: seq, Partition: id, From: base, To: base, Err: fmt.Errorf("batch at offset %d: %w", base, err)}
	_, _ = p.im.try(func() { // what cannot be read was noted
		if b := record.Batch(it.v); len(b) >= record.HeaderSize && b.NextOffset() > base {
			one.To = b.NextOffset()
		}
	})
	if i := p.problem(one); i >= 0 {
		p.open[id] = i
	}
}

// closeOpen tells where the batch of a partition ended that cannot be read: at most where the next one begins; -1 where
// there is none, so that what it said itself, or the index, counts.
func (p *pass) closeOpen(id uint32, next int64) {
	i, ok := p.open[id]
	if !ok {
		return
	}
	delete(p.open, id)
	one := &p.rep.List[i]
	if e, ok := p.indexOf(id, one.Commit); ok && one.From < e.next && (next < 0 || next > e.next) {
		next = e.next
	}
	if next > one.From {
		one.To = next
	}
}

// take counts a batch, hands it on, and reports whether no later commit of the file truncated it.
func (p *pass) take(seq uint64, e Entry) (whole bool) {
	whole = !cut(p.cuts[e.Partition], seq, e.Batch)
	live := p.runs.add(e.Partition, e.Batch, whole, p.opt.Live)
	if p.opt.Batch != nil {
		p.err = p.opt.Batch(BatchReport{Commit: seq, Partition: e.Partition, Batch: e.Batch, Live: live})
	}
	return whole
}
