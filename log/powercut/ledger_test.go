//go:build powercut

package powercut

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// ledger is what the driver's marks say of the store: what must be in it, and what may be.
type ledger struct {
	opt      storeOptions
	parts    map[uint32]*account
	dropped  []uint32                         // acknowledged
	creating map[[16]byte]store.PartitionInfo // asked for, by topic id
}

// account is the ledger's side of one partition.
type account struct {
	state    *store.PartitionState // as of what is acknowledged
	tail     []record.Batch        // headers of what was appended behind that, in order
	asked    []operation           // not acknowledged
	dropping bool                  // asked for
	cleaned  int64                 // what is superseded before it may be missing
}

func newLedger() *ledger {
	return &ledger{parts: map[uint32]*account{}, creating: map[[16]byte]store.PartitionInfo{}}
}

// clone returns a copy that the next marks do not change.
func (l *ledger) clone() *ledger {
	c := *l
	c.parts = make(map[uint32]*account, len(l.parts))
	for id, a := range l.parts {
		b := *a
		b.state = a.state.Clone()
		c.parts[id] = &b
	}
	c.creating = maps.Clone(l.creating)
	return &c
}

// apply takes the next mark into account. An error says that the store told the driver something that cannot be.
func (l *ledger) apply(m *mark) error {
	a := l.parts[m.ID]
	switch m.Kind {
	case markBase:
	case markLife:
		l.opt = *m.Options
	case markOpened:
		if err := l.check(m.States); err != nil {
			return fmt.Errorf("a start after SIGKILL: %w", err)
		}
		l.adopt(m.States)
	case markCreating:
		for _, info := range m.Infos {
			l.creating[info.TopicID] = info
		}
	case markCreated:
		for _, info := range m.Infos {
			if l.parts[info.ID] != nil || slices.Contains(l.dropped, info.ID) {
				return fmt.Errorf("a new partition gets the id %d, which is another's", info.ID)
			}
			delete(l.creating, info.TopicID)
			l.parts[info.ID] = &account{state: &store.PartitionState{PartitionInfo: info}}
		}
	default:
		if a == nil { // its drop was acknowledged while its last records were
			return nil
		}
		return l.applyTo(a, m)
	}
	return nil
}

func (l *ledger) applyTo(a *account, m *mark) error {
	switch m.Kind {
	case markAppending:
		for _, h := range m.Headers {
			a.tail = append(slices.Clip(a.tail), h)
		}
	case markAcked:
		if err := a.ack(m.Offset); err != nil {
			return fmt.Errorf("partition %d: %w", m.ID, err)
		}
	case markAsking:
		a.asked = append(slices.Clip(a.asked), *m.Op)
	case markDone:
		if m.Op.Kind == opCut {
			a.state = m.States[0].Clone()
		}
		m.Op.apply(a.state)
		a.asked = slices.DeleteFunc(slices.Clone(a.asked), func(o operation) bool { return o == *m.Op })
	case markCleaning:
		a.cleaned = max(a.cleaned, m.Offset)
	case markDropping:
		a.dropping = true
	case markDropped:
		delete(l.parts, m.ID)
		l.dropped = append(slices.Clip(l.dropped), m.ID)
	default:
		return fmt.Errorf("unknown mark %q", m.Kind)
	}
	return nil
}

// ack moves the acknowledged end.
func (a *account) ack(end int64) error {
	for a.state.Next < end {
		if len(a.tail) == 0 || a.tail[0].NextOffset() > end {
			return fmt.Errorf("offset %d is no end of what was appended", end)
		}
		a.state.Apply(a.tail[0])
		a.tail = a.tail[1:]
	}
	return nil
}

// check compares what a store says that it has with what it must and may have.
func (l *ledger) check(states []*store.PartitionState) error {
	var errs []error
	seen := map[uint32]bool{}
	for _, st := range states {
		seen[st.ID] = true
		if err := l.checkState(st); err != nil {
			errs = append(errs, fmt.Errorf("partition %d: %w", st.ID, err))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.parts)) {
		if a := l.parts[id]; !seen[id] && !a.dropping {
			errs = append(errs, fmt.Errorf("partition %d with records up to %d is lost", id, a.state.Next))
		}
	}
	return errors.Join(errs...)
}

func (l *ledger) checkState(st *store.PartitionState) error {
	if slices.Contains(l.dropped, st.ID) {
		return errors.New("is back after its drop was acknowledged")
	}
	a := l.parts[st.ID]
	if a == nil {
		info, ok := l.creating[st.TopicID]
		if info.ID = st.ID; !ok || st.PartitionInfo != info {
			return fmt.Errorf("%+v was not asked for", st.PartitionInfo)
		}
		return alike(&store.PartitionState{PartitionInfo: info}, st)
	}
	if a.mayBeCut(st) {
		return nil
	}
	if st.Next < a.state.Next {
		return fmt.Errorf("acknowledged records are lost: it ends at %d, acknowledged is %d", st.Next, a.state.Next)
	}
	var first error
	for done := range 1 << len(a.asked) { // any of what was asked for may have come to be
		want := a.state.Clone()
		for _, h := range a.tail {
			if h.NextOffset() <= st.Next {
				want.Apply(h)
			}
		}
		if want.Next != st.Next {
			return fmt.Errorf("ends at %d, where nothing that was appended ends (%d does)", st.Next, want.Next)
		}
		for i := range a.asked {
			if done&(1<<i) != 0 {
				a.asked[i].apply(want)
			}
		}
		err := alike(want, st)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if len(a.asked) > 0 {
		first = fmt.Errorf("%w (neither with nor without %+v)", first, a.asked)
	}
	return first
}

// mayBeCut tells whether the log ends where a truncation that was asked for, and nothing beside it, has put its end. What
// the state is then the store says only when it is durable.
func (a *account) mayBeCut(st *store.PartitionState) bool {
	return len(a.asked) == 1 && a.asked[0].Kind == opCut && st.Next <= a.asked[0].Offset && st.Next < a.state.Next &&
		(len(st.Epochs) == 0 || st.Epochs[len(st.Epochs)-1].Start < st.Next)
}

// adopt takes what a store found as acknowledged: readers see it from now on.
func (l *ledger) adopt(states []*store.PartitionState) {
	seen := map[uint32]bool{}
	for _, st := range states {
		seen[st.ID] = true
		b := &account{state: st.Clone()}
		if a := l.parts[st.ID]; a != nil {
			b.cleaned = a.cleaned
		}
		l.parts[st.ID] = b
	}
	for _, id := range slices.Sorted(maps.Keys(l.parts)) {
		if !seen[id] {
			delete(l.parts, id)
			l.dropped = append(slices.Clip(l.dropped), id)
		}
	}
	clear(l.creating)
}

// alike compares two states in all that is exported; what is empty is like what is not there.
func alike(want, have any) error {
	if path := differ(reflect.ValueOf(want), reflect.ValueOf(have)); path != "" {
		return fmt.Errorf("its state is not that of its records:%s", path)
	}
	return nil
}

// differ returns where two values of one type differ, "" where they do not.
func differ(a, b reflect.Value) string {
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return fmt.Sprintf(" is %v, want %v", b, a)
			}
			return ""
		}
		return differ(a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			if f := a.Type().Field(i); f.IsExported() {
				if d := differ(a.Field(i), b.Field(i)); d != "" {
					return " " + f.Name + d
				}
			}
		}
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return fmt.Sprintf(" is %v, want %v", b, a)
		}
		for i := range a.Len() {
			if d := differ(a.Index(i), b.Index(i)); d != "" {
				return fmt.Sprintf("[%d]%s", i, d)
			}
		}
	case reflect.Map:
		if a.Len() != b.Len() {
			return fmt.Sprintf(" has %d entries, want %d", b.Len(), a.Len())
		}
		for _, k := range a.MapKeys() {
			if !b.MapIndex(k).IsValid() {
				return fmt.Sprintf("[%v] is missing", k)
			}
			if d := differ(a.MapIndex(k), b.MapIndex(k)); d != "" {
				return fmt.Sprintf("[%v]%s", k, d)
			}
		}
	default:
		if !a.Equal(b) {
			return fmt.Sprintf(" is %v, want %v", b, a)
		}
	}
	return ""
}
