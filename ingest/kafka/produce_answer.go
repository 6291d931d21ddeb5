package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// produced is the answer to Produce: complete when its batches are durable.
type produced struct {
	resp    kmsg.ProduceResponse
	pending []pendingBatch
	until   time.Time
	silent  bool // acks=0: nothing is answered
}

type pendingBatch struct {
	commit           Commit
	topic, partition int    // index in the answer
	memory           []byte // that the log was given
}

// refuse fills in why a partition's records were not appended.
func (a *produced) refuse(s *Server, q *call, t *kmsg.ProduceResponseTopic, rp *kmsg.ProduceResponseTopicPartition, err error) {
	code := codeOf(err)
	if code == codeUnknownServerError {
		s.log.Error("records could not be appended", "topic", t.Topic, "partition", rp.Partition, "error", err)
	}
	rp.ErrorCode, rp.ErrorMessage = q.fail(code), errorText(err)
	rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = -1, -1, -1
	rp.ErrorRecords = errorRecords(err)
	if code == codeNotLeaderOrFollower && q.version >= 10 {
		rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = s.leader(t.Topic, t.TopicID, rp.Partition)
		a.hintBrokers(s, q)
	}
}

// hintBrokers tells where the brokers are that hints point to.
func (a *produced) hintBrokers(s *Server, q *call) {
	if len(a.resp.Brokers) > 0 {
		return
	}
	for _, b := range s.brokers(s.meta.State(), q.conn, false) {
		rb := kmsg.NewProduceResponseBroker()
		rb.NodeID, rb.Host, rb.Port, rb.Rack = b.id, b.host, b.port, b.rack
		a.resp.Brokers = append(a.resp.Brokers, rb)
	}
}

func (a *produced) write(w *writer, q *call) error {
	var timeout <-chan time.Time
	for i := range a.pending {
		p := &a.pending[i]
		err := w.await(p.commit, &timeout, a.until)
		if err == nil {
			lendAgain(&slabs, p.commit, p.memory)
			continue
		}
		if w.c.ctx.Err() != nil || a.silent {
			return err
		}
		rp := &a.resp.Topics[p.topic].Partitions[p.partition]
		rp.ErrorCode, rp.ErrorMessage = q.fail(codeOf(err)), errorText(err)
		rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = -1, -1, -1
	}
	if !a.silent {
		w.message(q, &a.resp)
	}
	return nil
}
