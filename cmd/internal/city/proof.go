package city

import (
	"hash/maphash"
	"slices"

	"github.com/culvert-mq/culvert/cmd/internal/load/ledger"
)

// Proof holds what was sent against what arrived, device by device. Of each device it keeps a few numbers: how many
// messages were sent, which sequence comes next, and a hash over all payloads in their order on both sides.
//
// Sent and Arrived may not be called at the same time.
type Proof struct {
	seed    maphash.Seed
	devices map[string]*account
	foreign int64
}

type account struct {
	sent      int64
	sentHash  uint64
	arrived   ledger.Stream
	arrivedAs uint64
}

// NewProof begins an account.
func NewProof() *Proof { return &Proof{seed: maphash.MakeSeed(), devices: make(map[string]*account)} }

// Sent notes a message before it is published. The sequence of a device runs from 0.
func (p *Proof) Sent(device []byte, _ int64, payload []byte) {
	a, ok := p.devices[string(device)]
	if !ok {
		a = &account{}
		p.devices[string(device)] = a
	}
	a.sent++
	a.sentHash = p.chain(a.sentHash, payload)
}

// Arrived notes a message read at the far end. What is nobody's counts as foreign.
func (p *Proof) Arrived(device, payload []byte) {
	a, ok := p.devices[string(device)]
	seq, numbered := payloadSeq(payload)
	if !ok || !numbered {
		p.foreign++
		return
	}
	a.arrived.Note(seq)
	a.arrivedAs = p.chain(a.arrivedAs, payload)
}

// chain makes the hash depend on every payload and on their order.
func (p *Proof) chain(h uint64, payload []byte) uint64 {
	return h*0x9e3779b97f4a7c15 + maphash.Bytes(p.seed, payload) + 1
}

// Verdict is what a proof comes to.
type Verdict struct {
	Devices int `json:"devices"`
	ledger.Tally
	Foreign int64    `json:"foreign"` // messages of no device
	Altered int      `json:"altered"` // devices whose messages are all there, in order, with another content
	Worst   []string `json:"worst,omitempty"`
}

// Ok reports whether everything arrived once, in order and as it was.
func (v *Verdict) Ok() bool { return v.Exact() && v.Foreign == 0 && v.Altered == 0 && v.Devices > 0 }

// Verdict closes the account.
func (p *Proof) Verdict() Verdict {
	v := Verdict{Devices: len(p.devices), Foreign: p.foreign}
	for id, a := range p.devices {
		t := a.arrived.Tally(a.sent)
		v.Add(t)
		altered := t.Exact() && a.sentHash != a.arrivedAs
		if altered {
			v.Altered++
		}
		if altered || !t.Exact() {
			v.Worst = append(v.Worst, id)
		}
	}
	slices.Sort(v.Worst)
	v.Worst = v.Worst[:min(len(v.Worst), 10)]
	return v
}

// Expected is how many messages were sent.
func (p *Proof) Expected() int64 {
	n := int64(0)
	for _, a := range p.devices {
		n += a.sent
	}
	return n
}
