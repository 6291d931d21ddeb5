package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/cmd/internal/load/ledger"
	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

// Check says how what was published is read back.
type Check struct {
	Subscribe bool          // by an MQTT subscriber, while it is published
	Native    string        // address of the native listener: by a consumer, afterwards
	Topic     string        // log topic that the native consumer reads
	Patience  time.Duration // how long nothing may arrive before the rest counts as missing, default 10 s
}

func (c Check) on() bool { return c.Subscribe || c.Native != "" }

// CheckReport says what was found.
type CheckReport struct {
	Via string `json:"via"` // "mqtt" or "native"
	ledger.Tally
	Foreign int64   `json:"foreign"` // messages of nobody's, or of another run
	Seconds float64 `json:"seconds"`
	Failure string  `json:"failure,omitempty"`
}

// Ok reports whether every acknowledged message was there once and in order.
func (r *CheckReport) Ok() bool { return r.Exact() && r.Failure == "" }

// checker reads back. A nil checker does nothing.
type checker struct {
	check   Check
	run     uint64
	topics  int64
	streams [][]ledger.Stream // by connection and topic
	arrived atomic.Int64
	foreign int64

	sub     *mqttc.Conn // of a check by subscription
	subDone chan struct{}
	subErr  error

	client *kgo.Client // of a check by consuming
	admin  *kadm.Client
	from   kadm.ListedOffsets
}

func newChecker(o MQTTOptions, run uint64) *checker {
	c := &checker{check: o.Check, run: run, topics: int64(o.TopicsPerConnection), streams: make([][]ledger.Stream, o.Connections)}
	if c.check.Patience <= 0 {
		c.check.Patience = 10 * time.Second
	}
	for i := range c.streams {
		c.streams[i] = make([]ledger.Stream, o.TopicsPerConnection)
	}
	return c
}

func startCheck(ctx context.Context, o MQTTOptions, run uint64) (*checker, error) {
	if !o.Check.on() {
		return nil, nil
	}
	c := newChecker(o, run)
	if o.Check.Native != "" {
		return c, c.startNative(ctx)
	}
	conn, err := mqttc.Dial(ctx, o.Addr, mqttc.Options{ClientID: fmt.Sprintf("%s-%08x-check", o.ClientID, uint32(run)),
		Credentials: o.Credentials, ReadBuffer: 256 << 10, MaxPacket: o.Size + 4096})
	if err != nil {
		return nil, err
	}
	if err := conn.Subscribe(topicPattern(o.Topics).filter(), o.QoS, 10*time.Second); err != nil {
		conn.Close()
		return nil, err
	}
	c.sub, c.subDone = conn, make(chan struct{})
	go func() {
		defer close(c.subDone)
		c.subErr = conn.Receive(func(m mqttc.Message) error {
			if !m.Retain {
				c.note(m.Payload)
			}
			return nil
		})
	}()
	return c, nil
}

func (c *checker) startNative(ctx context.Context) (err error) {
	if c.client, err = kgo.NewClient(kgo.SeedBrokers(c.check.Native), kgo.MetadataMinAge(100*time.Millisecond)); err != nil {
		return err
	}
	c.admin = kadm.NewClient(c.client)
	c.from, err = c.admin.ListEndOffsets(ctx, c.check.Topic)
	if err != nil {
		c.close()
	}
	return err
}

// note takes one message that came back.
func (c *checker) note(payload []byte) {
	s, ok := parseStamp(payload)
	if !ok || s.run != c.run || int(s.conn) >= len(c.streams) || s.seq < 0 {
		c.foreign++
		return
	}
	c.streams[s.conn][s.seq%c.topics].Note(s.seq / c.topics)
	c.arrived.Add(1)
}

// finish waits for what is still on its way and closes the account.
func (c *checker) finish(ctx context.Context, flows []*flow) (*CheckReport, error) {
	start := time.Now()
	sent := int64(0)
	for _, f := range flows {
		sent += f.next
	}
	via, err := "mqtt", error(nil)
	if c.sub != nil {
		err = c.finishSubscription(ctx, sent)
	} else {
		via, err = "native", c.finishNative(ctx)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r := c.tally(flows)
	r.Via, r.Seconds = via, time.Since(start).Seconds()
	if err != nil {
		r.Failure = err.Error()
	}
	return r, nil
}

// tally closes the account: every acknowledged message must be there.
func (c *checker) tally(flows []*flow) *CheckReport {
	r := &CheckReport{Foreign: c.foreign}
	for conn, f := range flows {
		acked := f.head
		if f.qos == 0 {
			acked = f.next
		}
		for t := range c.topics {
			s := &c.streams[conn][t]
			tally := s.Tally(share(acked, t, c.topics))
			// What was sent and not acknowledged may be there.
			tally.Unexpected = s.Tally(share(f.next, t, c.topics)).Unexpected
			r.Add(tally)
		}
	}
	return r
}

// share is how many of the numbers below n leave the remainder t when divided by of.
func share(n, t, of int64) int64 { return (n - t + of - 1) / of }

func (c *checker) finishSubscription(ctx context.Context, sent int64) error {
	defer func() { <-c.subDone }()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	last, since := int64(-1), time.Now()
	for {
		if n := c.arrived.Load(); n >= sent {
			// A moment more, in which a duplicate would show.
			_ = c.sub.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			return nil
		} else if n != last {
			last, since = n, time.Now()
		}
		select {
		case <-c.subDone:
			return fmt.Errorf("the subscriber lost its connection: %w", c.subErr)
		case <-ctx.Done():
			c.sub.Close()
			return ctx.Err()
		case <-poll.C:
		}
		if time.Since(since) > c.check.Patience {
			c.sub.Close()
			return nil
		}
	}
}

func (c *checker) finishNative(ctx context.Context) error {
	to, err := c.ends(ctx)
	if err != nil {
		return err
	}
	starts, left := make(map[int32]kgo.Offset), make(map[int32]int64)
	to.Each(func(o kadm.ListedOffset) {
		from := int64(0)
		if before, ok := c.from.Lookup(c.check.Topic, o.Partition); ok && before.Err == nil {
			from = before.Offset
		}
		if from < o.Offset {
			starts[o.Partition] = kgo.NewOffset().At(from)
			left[o.Partition] = o.Offset
		}
	})
	if len(left) == 0 {
		return nil
	}
	c.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{c.check.Topic: starts})
	for len(left) > 0 {
		pollCtx, cancel := context.WithTimeout(ctx, c.check.Patience)
		fetches := c.client.PollFetches(pollCtx)
		cancel()
		if err := fetches.Err0(); err != nil && errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("nothing read for %s: %w", c.check.Patience, os.ErrDeadlineExceeded)
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				if end, ok := left[p.Partition]; ok && r.Offset < end {
					c.note(r.Value)
				}
				if r.Offset >= left[p.Partition]-1 {
					delete(left, p.Partition)
				}
			}
		})
	}
	return nil
}

// ends lists the end offsets once they no longer grow: at QoS 0 what was read need not be stored yet.
func (c *checker) ends(ctx context.Context) (kadm.ListedOffsets, error) {
	const quiet = 500 * time.Millisecond
	poll := time.NewTicker(quiet)
	defer poll.Stop()
	giveUp := time.Now().Add(c.check.Patience)
	for before := int64(-1); ; {
		to, err := c.admin.ListEndOffsets(ctx, c.check.Topic)
		if err == nil {
			err = to.Error()
		}
		// The topic may have been made by what was published, and the client still remember that it was missing.
		if err != nil && (!errors.Is(err, kerr.UnknownTopicOrPartition) || time.Now().After(giveUp)) {
			return nil, fmt.Errorf("end offsets of topic %s: %w", c.check.Topic, err)
		}
		if err == nil {
			total := int64(0)
			to.Each(func(o kadm.ListedOffset) { total += o.Offset })
			if total == before {
				return to, nil
			}
			before = total
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// close ends what is still open.
func (c *checker) close() {
	if c == nil {
		return
	}
	if c.sub != nil {
		c.sub.Close()
		<-c.subDone
	}
	if c.client != nil {
		c.client.Close()
	}
}
