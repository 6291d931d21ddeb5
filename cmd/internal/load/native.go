package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Requests are written by hand, in the versions that every broker of the last ten years and every current one has in
// common and that have no tagged fields.
const (
	produceKey, produceVersion = 0, 7
	fetchKey, fetchVersion     = 1, 10
	apiVersionsKey             = 18
	clientID                   = "culvert-bench"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrFrame is returned for a response that cannot be read; the connection is of no use after it.
var ErrFrame = errors.New("bad response")

// leaders says where the partitions of a topic are led.
type leaders map[string][]int32 // address -> partitions

// prepareTopic creates the topic if it is missing and finds the leaders of its partitions. partitions is how many it
// should have; 0 takes the topic as it is.
func prepareTopic(ctx context.Context, addr, topic string, partitions int32) (leaders, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ClientID(clientID))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if partitions > 0 {
		if _, err := admin.CreateTopic(ctx, partitions, -1, nil, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return nil, fmt.Errorf("creating topic %s: %w", topic, err)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		l, err := findLeaders(ctx, admin, topic)
		if err == nil || time.Now().After(deadline) {
			return l, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func findLeaders(ctx context.Context, admin *kadm.Client, topic string) (leaders, error) {
	meta, err := admin.Metadata(ctx, topic)
	if err != nil {
		return nil, err
	}
	t := meta.Topics[topic]
	if t.Err != nil {
		return nil, fmt.Errorf("topic %s: %w", topic, t.Err)
	}
	found := make(leaders)
	for _, p := range t.Partitions.Sorted() {
		i := slices.IndexFunc(meta.Brokers, func(b kadm.BrokerDetail) bool { return b.NodeID == p.Leader })
		if p.Err != nil || i < 0 {
			return nil, fmt.Errorf("partition %d of topic %s has no leader", p.Partition, topic)
		}
		addr := net.JoinHostPort(meta.Brokers[i].Host, strconv.Itoa(int(meta.Brokers[i].Port)))
		found[addr] = append(found[addr], p.Partition)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("topic %s has no partitions", topic)
	}
	return found, nil
}

// spread deals the partitions out to n connections, each to one broker: at least one connection for every broker, and no
// connection without a partition.
func (l leaders) spread(n int) []connPlan {
	var plans []connPlan
	addrs := make([]string, 0, len(l))
	for addr := range l {
		addrs = append(addrs, addr)
	}
	slices.Sort(addrs)
	for i, addr := range addrs {
		share := n / len(addrs)
		if i < n%len(addrs) {
			share++
		}
		share = min(max(share, 1), len(l[addr]))
		mine := make([]connPlan, share)
		for j, p := range l[addr] {
			mine[j%share].addr = addr
			mine[j%share].partitions = append(mine[j%share].partitions, p)
		}
		plans = append(plans, mine...)
	}
	return plans
}

// connPlan is what one connection serves.
type connPlan struct {
	addr       string
	partitions []int32
}

// buildBatch encodes a record batch of about size bytes before compression, at least one record.
func buildBatch(size, recordSize int, codec kgo.CompressionCodec, fill Filler, seed uint64) (batch []byte, records int32, err error) {
	n := max(size/recordSize, 1)
	rng := noise(seed*0x9e3779b97f4a7c15 | 1)
	value := make([]byte, recordSize)
	payload, noiseFrom, noiseTo := newPayload(max(recordSize, headerSize), seed, 0, fill)
	var raw []byte
	for i := range n {
		copy(value, payload)
		if fill == FillRandom {
			rng.bytes(value)
		} else {
			for from := min(noiseFrom, recordSize); from < recordSize; from += noiseTo - noiseFrom + 100 {
				rng.digits(value[from:min(from+noiseTo-noiseFrom, recordSize)])
			}
		}
		rec := kmsg.Record{OffsetDelta: int32(i), Value: value}
		rec.Length = int32(len(rec.AppendTo(nil)) - 1) // the length 0 itself took one byte
		raw = rec.AppendTo(raw)
	}
	attributes := int16(0)
	compressor, err := kgo.DefaultCompressor(codec)
	if err != nil {
		return nil, 0, err
	}
	if compressor != nil {
		var dst bytes.Buffer
		packed, used := compressor.Compress(&dst, raw)
		raw, attributes = slices.Clone(packed), int16(used)
	}
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, Attributes: attributes, LastOffsetDelta: int32(n - 1),
		FirstTimestamp: now, MaxTimestamp: now, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(n),
		Records: raw}
	batch = b.AppendTo(nil)
	binary.BigEndian.PutUint32(batch[8:], uint32(len(batch)-12))
	binary.BigEndian.PutUint32(batch[17:], crc32.Checksum(batch[21:], castagnoli))
	return batch, int32(n), nil
}

// ParseCompression finds a codec by its name.
func ParseCompression(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "", "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("%w: compression %q: none, gzip, snappy, lz4 and zstd are possible", ErrOptions, name)
}

// appendRequestHeader begins a request: the size to be filled in by finishRequest, key, version, a correlation id of 0 at
// correlationAt, and the client id.
func appendRequestHeader(dst []byte, key, version int16) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(key))
	dst = binary.BigEndian.AppendUint16(dst, uint16(version))
	dst = append(dst, 0, 0, 0, 0)
	return appendKafkaString(dst, clientID)
}

const correlationAt = 8

func finishRequest(req []byte, more int) []byte {
	binary.BigEndian.PutUint32(req, uint32(len(req)-4+more))
	return req
}

func appendKafkaString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// cursor reads a response; short is set once it would have read past the end.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.b, c.short = nil, true
		return nil
	}
	t := c.b[:n]
	c.b = c.b[n:]
	return t
}

func (c *cursor) int16() int16 {
	if t := c.take(2); t != nil {
		return int16(binary.BigEndian.Uint16(t))
	}
	return 0
}

func (c *cursor) int32() int32 {
	if t := c.take(4); t != nil {
		return int32(binary.BigEndian.Uint32(t))
	}
	return 0
}

// count reads the length of an array whose elements take at least size bytes each: no more can be there than fit.
func (c *cursor) count(size int) int {
	n := int(c.int32())
	if n > len(c.b)/size {
		c.short = true
		return 0
	}
	return max(n, 0)
}

// skipString passes over a string.
func (c *cursor) skipString() { c.take(int(c.int16())) }

// errorName is how the protocol calls an error code.
func errorName(code int16) string {
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return "NONE"
}
