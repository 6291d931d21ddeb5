package mqtt

import "sync"

// run is a stretch of messages, in the order they were received, that become durable with the same commit.
type run struct {
	commit Commit
	acks   int // packet identifiers to acknowledge; fewer than messages if there was QoS 0
	bytes  int // size of the packets
}

// ackQueue is a FIFO of messages that wait for their commit: two bytes for each acknowledgement and one run for each
// change of commit. The reader fills one while it walks through what it has read, without a lock, and then hands it to
// the connection as a whole.
type ackQueue struct {
	ids     []uint16
	runs    []run
	idHead  int // ids before are done
	runHead int
	bytes   int // of the runs that are left
}

// note adds a message. id 0 is a message that is not acknowledged.
func (q *ackQueue) note(commit Commit, id uint16, size int) {
	last := len(q.runs) - 1
	if last < q.runHead || q.runs[last].commit != commit {
		q.runs = append(q.runs, run{commit: commit})
		last++
	}
	r := &q.runs[last]
	r.bytes += size
	q.bytes += size
	if id != 0 {
		r.acks++
		q.ids = append(q.ids, id)
	}
}

// waiting returns the number of acknowledgements in the queue.
func (q *ackQueue) waiting() int { return len(q.ids) - q.idHead }

func (q *ackQueue) empty() bool { return q.runHead == len(q.runs) }

// add appends all of o, which is left as it is.
func (q *ackQueue) add(o *ackQueue) {
	if q.idHead > len(q.ids)/2 {
		n := copy(q.ids, q.ids[q.idHead:])
		q.ids, q.idHead = q.ids[:n], 0
	}
	if q.runHead > len(q.runs)/2 {
		n := copy(q.runs, q.runs[q.runHead:])
		clear(q.runs[n:])
		q.runs, q.runHead = q.runs[:n], 0
	}
	q.ids = append(q.ids, o.ids[o.idHead:]...)
	more := o.runs[o.runHead:]
	if last := len(q.runs) - 1; last >= q.runHead && len(more) > 0 && q.runs[last].commit == more[0].commit {
		q.runs[last].acks += more[0].acks
		q.runs[last].bytes += more[0].bytes
		more = more[1:]
	}
	q.runs = append(q.runs, more...)
	q.bytes += o.bytes
}

// pop takes the first run if its commit has ended. err is how it ended.
func (q *ackQueue) pop() (ids []uint16, bytes int, ok bool, err error) {
	if q.empty() {
		return nil, 0, false, nil
	}
	r := &q.runs[q.runHead]
	select {
	case <-r.commit.Done():
	default:
		return nil, 0, false, nil
	}
	if err := r.commit.Err(); err != nil {
		return nil, 0, false, err
	}
	ids, bytes = q.ids[q.idHead:q.idHead+r.acks], r.bytes
	q.idHead += r.acks
	q.bytes -= r.bytes
	r.commit = nil
	q.runHead++
	return ids, bytes, true, nil
}

// reset empties the queue, and lets go of what it points to.
func (q *ackQueue) reset() {
	clear(q.runs)
	q.ids, q.runs = q.ids[:0], q.runs[:0]
	q.idHead, q.runHead, q.bytes = 0, 0, 0
}

// ackQueues is a pool of empty queues: a connection has one only while something waits.
type ackQueues struct{ pool sync.Pool }

func (p *ackQueues) get() *ackQueue {
	if q, ok := p.pool.Get().(*ackQueue); ok {
		return q
	}
	return &ackQueue{}
}

func (p *ackQueues) put(q *ackQueue) {
	q.reset()
	p.pool.Put(q)
}
