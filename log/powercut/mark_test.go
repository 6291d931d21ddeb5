//go:build powercut

package powercut

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"

	"github.com/culvert-mq/culvert/log/store"
)

// markKind is what the driver notes: before it asks the store for something, and after the store has said that it is
// durable.
type markKind string

const (
	markBase      markKind = "base"      // by the recorder: what came before is on the disk, cuts begin here
	markLife      markKind = "life"      // Options: a driver begins and opens the store
	markOpened    markKind = "opened"    // States: what the store says it has
	markCreating  markKind = "creating"  // Infos, without ids
	markCreated   markKind = "created"   // Infos
	markAppending markKind = "appending" // ID, Headers: of batches in offset order
	markAcked     markKind = "acked"     // ID, Offset: all before it
	markAsking    markKind = "asking"    // ID, Op
	markDone      markKind = "done"      // ID, Op
	markCleaning  markKind = "cleaning"  // ID, Offset: what is superseded before it may go
	markDropping  markKind = "dropping"  // ID
	markDropped   markKind = "dropped"   // ID
)

// mark is one note of the driver.
type mark struct {
	Kind    markKind
	ID      uint32                  `json:",omitempty"`
	Offset  int64                   `json:",omitempty"`
	Headers [][]byte                `json:",omitempty"`
	Infos   []store.PartitionInfo   `json:",omitempty"`
	States  []*store.PartitionState `json:",omitempty"`
	Op      *operation              `json:",omitempty"`
	Options *storeOptions           `json:",omitempty"`
}

// opKind is what an operation does to a partition.
type opKind string

const (
	opStart   opKind = "start"   // Offset, Gone
	opEpoch   opKind = "epoch"   // Epoch, Offset
	opExpire  opKind = "expire"  // Offset, which is a time
	opCleaned opKind = "cleaned" // Offset
	opCut     opKind = "cut"     // Offset; markDone has the state that was returned
)

// operation is what the store is asked to do to a partition beside appending.
type operation struct {
	Kind   opKind
	Offset int64
	Epoch  int32
	Gone   store.Gone
}

// apply does to a state what the store does.
func (o *operation) apply(p *store.PartitionState) {
	switch o.Kind {
	case opStart:
		if o.Offset > p.Start {
			p.Start = o.Offset
			p.Expired += o.Gone.Expired
			p.Lost += o.Gone.Lost
		}
	case opEpoch:
		p.BeginEpoch(o.Epoch, o.Offset)
	case opExpire:
		maps.DeleteFunc(p.Producers, func(_ int64, pr *store.Producer) bool { return pr.Time < o.Offset })
	case opCleaned:
		p.Cleaned = max(p.Cleaned, o.Offset)
	}
}

func (m *mark) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("a mark of plain fields: %v", err))
	}
	return b
}

func decodeMark(b []byte) (m mark, err error) {
	err = json.Unmarshal(b, &m)
	return m, err
}

// marks writes to the recorder's journal. Its methods may be called from any goroutine.
type marks struct{ f *os.File }

// write notes m; when it returns, the note stands in the journal.
func (w marks) write(m mark) error {
	_, err := w.f.Write(m.encode())
	return err
}
