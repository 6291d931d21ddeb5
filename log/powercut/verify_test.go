//go:build powercut

package powercut

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/culvert-mq/culvert/log/partition"
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// patient is a store that is looked at after a cut.
type patient struct {
	led  *ledger
	dir  string // of the store
	torn bool   // the disk may hold a part of what was last written, so that a commit may have to be taken back
	rng  *rand.Rand
}

// finding is what a store says of itself when it is opened.
type finding struct {
	states []*store.PartitionState
	sums   map[uint32]uint32 // of all bytes of a partition's batches
}

// verify opens the store that lies below root, which is an image of a disk, and compares it with the ledger. It opens it
// a second time, appends, and opens it a third time.
func verify(led *ledger, root string, v variant) error {
	p := &patient{led: led, dir: filepath.Join(root, storePath), rng: rand.New(rand.NewPCG(v.seed, 0x10ac))}
	p.torn = v.mode == ordered || v.mode == harsh || v.mode == one
	st, said, err := p.open()
	if err != nil {
		return fmt.Errorf("first start: %w", err)
	}
	first, err := p.look(st, said)
	p.torn = false // a start mends it
	if err != nil {
		return errors.Join(fmt.Errorf("first start: %w", err), st.Close())
	}
	if p.rng.IntN(3) == 0 { // the second start comes without a stop
		to := p.dir + "-killed"
		err := copyDir(p.dir, to)
		p.dir = to
		if err = errors.Join(err, st.Close()); err != nil {
			return err
		}
	} else if err := st.Close(); err != nil {
		return fmt.Errorf("first stop: %w", err)
	}

	if st, said, err = p.open(); err != nil {
		return fmt.Errorf("second start: %w", err)
	}
	second, err := p.look(st, said)
	if err == nil {
		err = same(first, second)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("second start: %w", err), st.Close())
	}
	err = p.goOn(st, second.states)
	if err == nil {
		err = said.err()
	}
	if err = errors.Join(err, st.Close()); err != nil {
		return fmt.Errorf("going on: %w", err)
	}

	if st, said, err = p.open(); err != nil {
		return fmt.Errorf("third start: %w", err)
	}
	if _, err = p.look(st, said); err != nil {
		err = fmt.Errorf("third start: %w", err)
	}
	return errors.Join(err, st.Close())
}

// open opens the store.
func (p *patient) open() (*store.Store, *alarms, error) {
	said := &alarms{unfinished: p.torn}
	st, err := p.led.opt.open(p.dir, slog.New(said))
	return st, said, err
}

// look compares an open store with the ledger and reads all of it.
func (p *patient) look(st *store.Store, said *alarms) (*finding, error) {
	damaged := func(d store.Damage) bool { return !p.torn || len(d.Lost) > 0 || !errors.Is(d.Err, store.ErrUnfinished) }
	if damage := st.Damage(); slices.ContainsFunc(damage, damaged) {
		return nil, fmt.Errorf("a mere power cut looks like damage: %+v", damage)
	}
	if err := said.err(); err != nil {
		return nil, err
	}
	if err := st.Refused(); err != nil {
		return nil, fmt.Errorf("appends are refused: %w", err)
	}
	if err := nothingAside(p.dir); err != nil {
		return nil, err
	}
	f := &finding{states: st.States(), sums: map[uint32]uint32{}}
	if err := p.led.check(f.states); err != nil {
		return nil, err
	}
	for _, id := range p.led.dropped {
		if st.Log(id) != nil {
			return nil, fmt.Errorf("partition %d is back after its drop was acknowledged", id)
		}
	}
	for _, state := range f.states {
		sum, err := p.read(st, state)
		if err != nil {
			return nil, fmt.Errorf("partition %d of %d to %d: %w", state.ID, state.Start, state.Next, err)
		}
		f.sums[state.ID] = sum
	}
	if damage := st.Damage(); slices.ContainsFunc(damage, damaged) {
		return nil, fmt.Errorf("reading finds damage: %+v", damage)
	}
	return f, said.err()
}

// nothingAside looks for files that were set aside, or left half made.
func nothingAside(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && (strings.Contains(e.Name(), ".damaged") || strings.HasSuffix(e.Name(), ".tmp")) {
			err = fmt.Errorf("%s is left", e.Name())
		}
		return err
	})
}

// read reads a partition from its start to its end: every record is the right one, and none is missing.
func (p *patient) read(st *store.Store, state *store.PartitionState) (sum uint32, err error) {
	l := st.Log(state.ID)
	if l == nil {
		return 0, errors.New("has a state and no records")
	}
	r := reading{info: state.PartitionInfo, state: state, next: state.Start}
	if a := p.led.parts[state.ID]; a != nil {
		r.cleaned = a.cleaned
	}
	for r.next < state.Next {
		sp, err := l.Read(r.next, state.Next, 16<<10)
		if err != nil {
			return 0, fmt.Errorf("reading at %d: %w", r.next, err)
		}
		for _, b := range sp.Batches {
			if err = r.batch(b); err != nil {
				break
			}
			sum = crc32.Update(sum, crc32.IEEETable, b)
		}
		n := len(sp.Batches)
		sp.Release()
		if err != nil {
			return 0, err
		}
		if n > 0 {
			continue
		}
		if err := r.skip(state.Next); err != nil { // a truncation may have cut off what had taken its place
			return 0, fmt.Errorf("nothing at offset %d: %w", r.next, err)
		}
	}
	if err := count(l, state, r.records); err != nil {
		return 0, err
	}
	sp, err := l.Read(state.Next, state.Next+1000, 16<<10)
	if err != nil {
		return 0, fmt.Errorf("reading at the end: %w", err)
	}
	defer sp.Release()
	if len(sp.Batches) > 0 {
		return 0, fmt.Errorf("something lies behind the end: a batch at %d", sp.Batches[0].BaseOffset())
	}
	return sum, nil
}

// count compares what the store says of the number of records with the records.
func count(l *store.Log, state *store.PartitionState, records int64) error {
	n, err := l.Count(state.Start, state.Next)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	if n != records {
		return fmt.Errorf("counts %d records, there are %d", n, records)
	}
	sum, err := l.Ledger()
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	left := sum.Expired + sum.Lost + sum.Superseded + sum.Damaged
	if sum.Accepted != state.Next || sum.Stored != records || sum.Superseded < 0 || sum.Stored+left != sum.Accepted {
		return fmt.Errorf("%+v does not add up: there are %d records", sum, records)
	}
	return nil
}

// same compares two findings.
func same(a, b *finding) error {
	if len(a.states) != len(b.states) {
		return fmt.Errorf("%d partitions, before %d", len(b.states), len(a.states))
	}
	for i := range a.states {
		if err := alike(a.states[i], b.states[i]); err != nil {
			return fmt.Errorf("partition %d: another start, another state: %w", a.states[i].ID, err)
		}
		if id := a.states[i].ID; a.sums[id] != b.sums[id] {
			return fmt.Errorf("partition %d: other bytes than at the first start", id)
		}
	}
	return nil
}

// goOn uses the store as the next hours would, and has the ledger note it.
func (p *patient) goOn(st *store.Store, states []*store.PartitionState) error {
	p.led.adopt(states)
	set := &partition.Settings{Codec: p.led.opt.Codec}
	for _, state := range states {
		part := partition.New(st, set, state, func() {})
		if err := p.sendAgain(part, state); err != nil {
			return fmt.Errorf("partition %d: %w", state.ID, err)
		}
		if err := p.append(part, state); err != nil {
			return fmt.Errorf("partition %d: %w", state.ID, err)
		}
	}
	info := store.PartitionInfo{Topic: "new", Index: 7}
	binary.BigEndian.PutUint64(info.TopicID[:], p.rng.Uint64())
	made, err := st.CreatePartitions([]store.PartitionInfo{info})
	if err != nil {
		return err
	}
	if err := p.led.apply(&mark{Kind: markCreated, Infos: []store.PartitionInfo{made[0].PartitionInfo}}); err != nil {
		return err
	}
	if err := p.append(partition.New(st, set, made[0], func() {}), made[0]); err != nil {
		return fmt.Errorf("new partition: %w", err)
	}
	if _, err := st.Reclaim(); err != nil {
		return fmt.Errorf("reclaim: %w", err)
	}
	return nil
}

// sendAgain sends the last batch of a producer again, as one does that got no answer.
func (p *patient) sendAgain(part *partition.Partition, state *store.PartitionState) error {
	for id, pr := range state.Producers {
		if len(pr.Batches) == 0 {
			continue
		}
		last := pr.Batches[len(pr.Batches)-1]
		var b record.Builder
		for range last.NextOffset - last.BaseOffset {
			b.Append(0, nil, nil, nil)
		}
		batch := slices.Clone(b.Finish(0, 0, record.None, nil))
		batch.SetProducer(id, pr.Epoch, last.BaseSequence)
		a, err := part.AppendBatch(batch)
		if err != nil || !a.Duplicate || a.BaseOffset != last.BaseOffset {
			return fmt.Errorf("producer %d sends its batch of offset %d again and gets %+v, %w", id, last.BaseOffset, a, err)
		}
	}
	return nil
}

func (p *patient) append(part *partition.Partition, state *store.PartitionState) error {
	epoch := int32(0)
	if n := len(state.Epochs); n > 0 {
		epoch = state.Epochs[n-1].Epoch
	}
	part.SetEpoch(epoch)
	next := part.End()
	a := p.led.parts[part.ID()]
	var g *store.Group
	for range 1 + p.rng.IntN(3) {
		offset, group, err := part.Append(1, keyOf(part.Info().TopicID, next), appendValue(nil, part.Info().TopicID, epoch, next, p.rng.IntN(300)), nil)
		if err != nil {
			return err
		}
		if offset != next {
			return fmt.Errorf("the next record gets offset %d, want %d", offset, next)
		}
		a.tail = append(a.tail, singleHeader(next, epoch))
		next++
		g = group
	}
	<-g.Done()
	if err := g.Err(); err != nil {
		return err
	}
	return a.ack(next)
}

// copyDir copies the files of a directory: what SIGKILL would leave.
func copyDir(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
