package mqtt

// window gives out packet identifiers for QoS 1 messages to one subscriber and remembers which are acknowledged.
// Identifiers go up and around, so that those in use are a stretch, of which the oldest is not acknowledged.
type window struct {
	first, next uint64 // sequence numbers of the oldest in use and of the next to give out
	done        []bool // by sequence number modulo the length, which is a power of two
}

const (
	allIDs       = 65535
	keepWindowAt = 64 // entries that an empty window keeps
)

// span is the number of identifiers from the oldest in use to the newest.
func (w *window) span() int { return int(w.next - w.first) } //nolint:gosec // G115: at most 65,535

// id of a sequence number; never 0 [MQTT-2.3.1-1].
func (w *window) id(seq uint64) uint16 { return uint16(seq%allIDs) + 1 }

// take returns an identifier that is not in use [MQTT-2.3.1-4]. The caller has seen that span is below 65,535.
func (w *window) take() uint16 {
	if w.span() == len(w.done) {
		w.grow()
	}
	w.done[w.next%uint64(len(w.done))] = false
	w.next++
	return w.id(w.next - 1)
}

func (w *window) grow() {
	larger := make([]bool, max(8, 2*len(w.done)))
	for seq := w.first; seq < w.next; seq++ {
		larger[seq%uint64(len(larger))] = w.done[seq%uint64(len(w.done))]
	}
	w.done = larger
}

// acknowledge takes an identifier that the client is done with. One that is not in use is ignored.
func (w *window) acknowledge(id uint16) {
	if id == 0 || w.span() == 0 {
		return
	}
	ahead := (uint64(id) - 1 + allIDs - w.first%allIDs) % allIDs
	if ahead >= w.next-w.first {
		return
	}
	w.done[(w.first+ahead)%uint64(len(w.done))] = true
	for w.first < w.next && w.done[w.first%uint64(len(w.done))] {
		w.first++
	}
	if w.first == w.next && len(w.done) > keepWindowAt {
		w.done = nil
	}
}
