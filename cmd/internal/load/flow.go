package load

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

// maxFromBroker caps the packets a broker sends to a publisher: CONNACK, PUBACK, PINGRESP.
const maxFromBroker = 1 << 10

// flow is one publishing connection without its socket: what is to be sent, and what the acknowledgements say. It takes
// times as input, in nanoseconds of the run's clock, and does no I/O.
type flow struct {
	packets            [][]byte // one PUBLISH for each topic of the connection
	idAt, seqAt        int      // where packet id and sequence stand in them; -1: not at all
	noiseFrom, noiseTo int
	noise              noise
	random             bool

	window int64
	qos    byte
	last   int64 // messages to send in all
	paced  bool
	first  int64 // intended time of message 0, when paced
	every  int64 // from one intended time to the next, when paced
	meter  *meter

	allowed int64   // messages the schedule has released, when paced
	next    int64   // the message to be sent next
	head    int64   // the oldest message without an acknowledgement
	sent    []int64 // time of sending, or the intended time, of message n at n & mask
	done    []bool  // acknowledged ahead of its turn
	mask    int64
	pinging bool // a PINGREQ behind the last message asks whether all has been read (QoS 0)
	ponged  bool
}

// meter takes measurements between two times. Several flows of one thread share it.
type meter struct {
	from, to  int64 // nanoseconds of the run's clock; outside of them nothing counts
	paced     bool  // what counts is when a message should have been sent, not when it was acknowledged
	latencies *hdrhistogram.Histogram
	acked     int64 // messages acknowledged within the time
	misorder  int64 // acknowledgements ahead of their turn
}

func (m *meter) record(now, since, n int64) {
	at := now
	if m.paced {
		at = since // else the slowest, those that come in after the end, would be left out
	}
	if at < m.from || at >= m.to {
		return
	}
	m.acked += n
	_ = m.latencies.RecordValues(min(max(now-since, 0), maxLatency), n)
}

// newFlow makes the flow of one connection.
func newFlow(o MQTTOptions, run uint64, conn int, m *meter) *flow {
	payload, noiseFrom, noiseTo := newPayload(o.Size, run, uint32(conn), o.Fill)
	f := &flow{window: int64(o.Window), qos: o.QoS, last: math.MaxInt64, meter: m,
		random: o.Fill == FillRandom, noise: noise(run ^ uint64(conn+1)*0x9e3779b97f4a7c15 | 1)}
	for t := range o.TopicsPerConnection {
		topic := []byte(topicPattern(o.Topics).topic(conn, t))
		p := mqttc.AppendPublish(nil, topic, payload, o.QoS, 1)
		f.packets = append(f.packets, p)
		// All topics of a pattern have the same length, so the offsets hold for every packet.
		f.seqAt, f.noiseFrom, f.noiseTo = len(p)-len(payload)+seqOffset, len(p)-len(payload)+noiseFrom, len(p)-len(payload)+noiseTo
		f.idAt = -1
		if o.QoS > 0 {
			f.idAt = mqttc.PacketIDOffset(len(topic), len(payload))
		}
	}
	if o.Size < headerSize {
		f.seqAt = -1
	}
	size := int64(1)
	for size < f.window {
		size *= 2
	}
	f.sent, f.done, f.mask = make([]int64, size), make([]bool, size), size-1
	return f
}

// due is how many messages may be sent now.
func (f *flow) due() int64 {
	n := f.last - f.next
	if f.qos > 0 {
		n = min(n, f.window-(f.next-f.head))
	}
	if f.paced {
		n = min(n, f.allowed-f.next)
	}
	return max(n, 0)
}

// emit appends up to n messages, as far as they fit into dst's capacity.
func (f *flow) emit(dst []byte, n, now int64) []byte {
	for ; n > 0; n-- {
		p := f.packets[0]
		if len(f.packets) > 1 {
			p = f.packets[f.next%int64(len(f.packets))]
		}
		if len(dst)+len(p) > cap(dst) {
			break
		}
		at := len(dst)
		dst = append(dst, p...)
		q := dst[at:]
		if f.idAt >= 0 {
			id := f.next%mqttc.MaxPacketID + 1
			q[f.idAt], q[f.idAt+1] = byte(id>>8), byte(id)
			f.sent[f.next&f.mask] = f.intended(f.next, now)
		}
		if f.seqAt >= 0 {
			binary.BigEndian.PutUint64(q[f.seqAt:], uint64(f.next))
		}
		if f.random {
			f.noise.bytes(q[f.noiseFrom:f.noiseTo])
		} else {
			f.noise.digits(q[f.noiseFrom:f.noiseTo])
		}
		f.next++
	}
	return dst
}

// intended is when message n should have been sent: by the schedule if there is one, else now.
func (f *flow) intended(n, now int64) int64 {
	if f.paced {
		return f.first + n*f.every
	}
	return now
}

// stop lets no further message out, but those the schedule has released.
func (f *flow) stop() { f.last = min(f.last, max(f.next, f.allowed)) }

// finish appends the PINGREQ whose answer says that the broker has read everything, once nothing is left to send at QoS 0.
func (f *flow) finish(dst []byte) []byte {
	if f.qos > 0 || f.pinging || f.next < f.last {
		return dst
	}
	f.pinging = true
	return mqttc.AppendEmpty(dst, mqttc.TypePingreq)
}

// idle reports whether everything was sent and answered.
func (f *flow) idle() bool {
	if f.next < f.last {
		return false
	}
	if f.qos == 0 {
		return f.ponged
	}
	return f.head == f.next
}

// unacked is how many messages lack an acknowledgement.
func (f *flow) unacked() int64 {
	if f.qos == 0 {
		if f.ponged {
			return 0
		}
		return f.next
	}
	n := f.next - f.head
	for _, ahead := range f.done {
		if ahead {
			n--
		}
	}
	return n
}

// receive takes bytes from the broker and returns how many it used: a packet cut off at the end waits for more.
func (f *flow) receive(b []byte, now int64) (used int, err error) {
	for used < len(b) {
		rest := b[used:]
		if len(rest) >= 4 && rest[0] == mqttc.TypePuback<<4 && rest[1] == 2 {
			used += 4 * f.pubacks(rest, now)
			rest = b[used:]
			if len(rest) < 4 {
				return used, nil
			}
			if rest[0] == mqttc.TypePuback<<4 && rest[1] == 2 {
				if err := f.ahead(int64(rest[2])<<8|int64(rest[3]), now); err != nil {
					return used, err
				}
				used += 4
			}
			continue
		}
		p, n, err := mqttc.Split(rest, maxFromBroker)
		if err != nil || n == 0 {
			return used, err
		}
		if p.Type == mqttc.TypePingresp {
			f.ponged = true
		} else if p.Type != mqttc.TypePublish {
			return used, fmt.Errorf("%w: a packet of type %d from the broker", mqttc.ErrMalformed, p.Type)
		}
		used += n
	}
	return used, nil
}

// pubacks takes the PUBACKs at the front of b that come in their turn and returns how many they are.
func (f *flow) pubacks(b []byte, now int64) int {
	n, run, since := 0, int64(0), int64(0)
	want := f.head % mqttc.MaxPacketID
	for len(b) >= 4 && b[0] == mqttc.TypePuback<<4 && b[1] == 2 && f.head < f.next {
		if want++; int64(b[2])<<8|int64(b[3]) != want {
			break
		}
		if want == mqttc.MaxPacketID {
			want = 0
		}
		i := f.head & f.mask
		if f.done[i] {
			break
		}
		if at := f.sent[i]; at != since {
			if run > 0 {
				f.meter.record(now, since, run)
			}
			since, run = at, 0
		}
		run++
		f.head++
		n++
		b = b[4:]
	}
	if run > 0 {
		f.meter.record(now, since, run)
	}
	f.skip()
	return n
}

// skip moves the head past what was acknowledged ahead of its turn.
func (f *flow) skip() {
	for f.head < f.next && f.done[f.head&f.mask] {
		f.done[f.head&f.mask] = false
		f.head++
	}
}

// ahead takes one PUBACK that is not the next one. A broker must acknowledge in the order of sending (MQTT-4.6.0-2), so it
// is counted, but it is an acknowledgement.
func (f *flow) ahead(id, now int64) error {
	n := f.head + (id-1-f.head%mqttc.MaxPacketID+mqttc.MaxPacketID)%mqttc.MaxPacketID
	if id == 0 || n >= f.next || f.done[n&f.mask] {
		return fmt.Errorf("%w: PUBACK for packet id %d, which is not in flight", mqttc.ErrMalformed, id)
	}
	if n != f.head {
		f.meter.misorder++
	}
	f.meter.record(now, f.sent[n&f.mask], 1)
	f.done[n&f.mask] = true
	f.skip()
	return nil
}
