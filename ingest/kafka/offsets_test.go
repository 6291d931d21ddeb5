package kafka

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

func listRequest(partition int32, timestamps ...int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = "t"
	for i, ts := range timestamps {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp, p.CurrentLeaderEpoch, p.MaxNumOffsets = partition+int32(i), ts, -1, 1
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func TestListOffsetsFindsEndsTimesAndTheNewestRecord(t *testing.T) {
	r := newRig(t)
	r.topic("t", 2)
	base := time.Now().UnixMilli()
	for _, ts := range [][]int64{{base, base + 10}, {base + 50, base + 20}, {base + 30}} {
		var b record.Builder
		b.Reset(nil)
		for _, ts := range ts {
			b.Append(ts, nil, []byte("v"), nil)
		}
		r.fill(0, b.Finish(0, -1, record.None, nil))
	}
	w := r.wire()
	for _, c := range []struct {
		from   int16 // first version that knows it
		ts     int64
		offset int64
		time   int64
	}{
		{1, -1, 5, -1}, {1, -2, 0, -1}, {7, -3, 2, base + 50}, {8, -4, 0, -1}, {9, -5, -1, -1}, {11, -6, -1, -1},
		{1, 0, 0, base}, {1, base + 5, 1, base + 10}, {1, base + 11, 2, base + 50}, {1, base + 51, -1, -1},
	} {
		for version := int16(1); version <= 11; version++ {
			p := ask[*kmsg.ListOffsetsResponse](w, listRequest(0, c.ts), version).Topics[0].Partitions[0]
			if version < c.from {
				if p.ErrorCode != int16(codeUnsupportedVersion) {
					t.Errorf("version %d knows %d: %+v", version, c.ts, p)
				}
				continue
			}
			if p.ErrorCode != 0 || p.Offset != c.offset || p.Timestamp != c.time {
				t.Errorf("version %d, %d: offset %d at %d, error %d; want %d at %d", version, c.ts, p.Offset, p.Timestamp, p.ErrorCode, c.offset, c.time)
			}
			if want := int32(min(c.offset, 0)); version >= 4 && p.LeaderEpoch != want {
				t.Errorf("version %d, %d: epoch %d, want %d", version, c.ts, p.LeaderEpoch, want)
			}
		}
	}
	for ts, want := range map[int64][]int64{-1: {5}, -2: {0}, base + 11: {2}, base + 99: {5}} {
		p := ask[*kmsg.ListOffsetsResponse](w, listRequest(0, ts), 0).Topics[0].Partitions[0]
		if len(p.OldStyleOffsets) != 1 || p.OldStyleOffsets[0] != want[0] {
			t.Errorf("version 0, %d: %v, want %v", ts, p.OldStyleOffsets, want)
		}
	}
	if p := ask[*kmsg.ListOffsetsResponse](w, listRequest(1, -3), 7).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.Offset != -1 {
		t.Errorf("newest of nothing: %+v", p)
	}
	if p := ask[*kmsg.ListOffsetsResponse](w, listRequest(5, -1), 7).Topics[0].Partitions[0]; p.ErrorCode != int16(codeUnknownTopicOrPartition) {
		t.Errorf("unknown partition: %+v", p)
	}
	twice := listRequest(0, -1)
	twice.Topics = append(twice.Topics, twice.Topics[0])
	if p := ask[*kmsg.ListOffsetsResponse](w, twice, 7).Topics[1].Partitions[0]; p.ErrorCode != int16(codeInvalidRequest) {
		t.Errorf("a partition twice: %+v", p)
	}
	fenced := listRequest(0, -1)
	fenced.Topics[0].Partitions[0].CurrentLeaderEpoch = 3
	if p := ask[*kmsg.ListOffsetsResponse](w, fenced, 4).Topics[0].Partitions[0]; p.ErrorCode != int16(codeUnknownLeaderEpoch) {
		t.Errorf("newer epoch: %+v", p)
	}
}

func TestOffsetForLeaderEpoch(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.fill(0, batchOf("a", "b"))
	w := r.wire()
	for version := int16(0); version <= 4; version++ {
		for epoch, want := range map[int32]int64{0: 2, 1: -1, -1: -1} {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
			rt.Topic = "t"
			p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			p.LeaderEpoch, p.CurrentLeaderEpoch = epoch, -1
			rt.Partitions = append(rt.Partitions, p)
			req.Topics = append(req.Topics, rt)
			got := ask[*kmsg.OffsetForLeaderEpochResponse](w, req, version).Topics[0].Partitions[0]
			if got.ErrorCode != 0 || got.EndOffset != want {
				t.Errorf("version %d, epoch %d: %+v", version, epoch, got)
			}
		}
	}
}

func TestFindCoordinatorNamesThisBrokerForGroups(t *testing.T) {
	r := newRig(t)
	w := r.wire()
	ep := mustEndpoint(t, r.addr)
	for version := int16(0); version <= 6; version++ {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g", "h"}
		resp := ask[*kmsg.FindCoordinatorResponse](w, req, version)
		if version < 4 {
			if resp.ErrorCode != 0 || resp.NodeID != 1 || resp.Host != ep.host || resp.Port != ep.port {
				t.Errorf("version %d: %+v", version, resp)
			}
			continue
		}
		if len(resp.Coordinators) != 2 || resp.Coordinators[1].Key != "h" || resp.Coordinators[1].NodeID != 1 || resp.Coordinators[1].Port != ep.port {
			t.Errorf("version %d: %+v", version, resp)
		}
	}
}

func commitRequest(topics ...kmsg.OffsetCommitRequestTopic) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.Topics = "g", -1, topics
	return req
}

func commitTopic(name string, offset int64, metadata *string, partitions ...int32) kmsg.OffsetCommitRequestTopic {
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = name
	for _, i := range partitions {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = i, offset, 3, metadata
		t.Partitions = append(t.Partitions, p)
	}
	return t
}

func TestCommittedOffsetsComeBackInEveryVersion(t *testing.T) {
	r := newRig(t)
	id := r.topic("t", 2).ID
	w := r.wire()
	for version := int16(0); version <= 10; version++ {
		req := commitRequest(commitTopic("t", int64(version), new("note"), 0))
		req.Topics[0].TopicID = id
		if resp := ask[*kmsg.OffsetCommitResponse](w, req, version); resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Errorf("commit %d: %+v", version, resp)
		}
		for fv := int16(0); fv <= 10; fv++ {
			epoch := int32(-1)
			if version >= 6 && fv >= 5 {
				epoch = 3
			}
			o, e, m := fetchCommitted(t, w, fv, id)
			if o[0] != int64(version) || o[1] != -1 || e[0] != epoch || m[0] != "note" {
				t.Errorf("commit %d, fetch %d: %v %v %v", version, fv, o, e, m)
			}
		}
	}
}

// fetchCommitted asks for both partitions of the topic.
func fetchCommitted(t *testing.T, w *wire, version int16, id [16]byte) (offsets [2]int64, epochs [2]int32, metadata [2]string) {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = "g"
	rt := kmsg.NewOffsetFetchRequestTopic()
	rt.Topic, rt.Partitions = "t", []int32{0, 1}
	req.Topics = append(req.Topics, rt)
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = "g"
	gt := kmsg.NewOffsetFetchRequestGroupTopic()
	gt.Topic, gt.TopicID, gt.Partitions = "t", id, []int32{0, 1}
	g.Topics = append(g.Topics, gt)
	req.Groups = append(req.Groups, g)
	resp := ask[*kmsg.OffsetFetchResponse](w, req, version)
	epochs = [2]int32{-1, -1}
	if version >= 8 {
		if resp.Groups[0].ErrorCode != 0 || version >= 10 && resp.Groups[0].Topics[0].TopicID != id {
			t.Errorf("%+v", resp)
		}
		for i, p := range resp.Groups[0].Topics[0].Partitions {
			offsets[i], epochs[i], metadata[i] = p.Offset, p.LeaderEpoch, *p.Metadata
		}
		return offsets, epochs, metadata
	}
	for i, p := range resp.Topics[0].Partitions {
		offsets[i], metadata[i] = p.Offset, *p.Metadata
		if version >= 5 {
			epochs[i] = p.LeaderEpoch
		}
	}
	return offsets, epochs, metadata
}

func TestOffsetFetchOfAllThatAGroupHas(t *testing.T) {
	r := newRig(t)
	r.topic("t", 2)
	r.topic("u", 1)
	w := r.wire()
	ask[*kmsg.OffsetCommitResponse](w, commitRequest(commitTopic("t", 4, nil, 0, 1), commitTopic("u", 5, nil, 0)), 8)
	for version := int16(2); version <= 9; version++ {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = "g"
		req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g"}, {Group: "other"}}
		resp := ask[*kmsg.OffsetFetchResponse](w, req, version)
		n := len(resp.Topics)
		if version >= 8 {
			n = len(resp.Groups[0].Topics) + 10*len(resp.Groups[1].Topics)
		}
		if n != 2 {
			t.Errorf("version %d: %+v", version, resp)
		}
	}
}

func TestOffsetCommitRefusesSinglePartitions(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	w := r.wire()
	long := strings.Repeat("x", 4097)
	resp := ask[*kmsg.OffsetCommitResponse](w, commitRequest(commitTopic("t", 1, nil, 0, 1), commitTopic("none", 1, nil, 0), commitTopic("t", 1, &long, 0)), 8)
	var got []errorCode
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			got = append(got, errorCode(p.ErrorCode))
		}
	}
	if want := "[NONE UNKNOWN_TOPIC_OR_PARTITION UNKNOWN_TOPIC_OR_PARTITION OFFSET_METADATA_TOO_LARGE]"; want != fmt.Sprint(got) {
		t.Errorf("%v", got)
	}
	r.offsets.failWith(store.ErrFull)
	if resp := ask[*kmsg.OffsetCommitResponse](w, commitRequest(commitTopic("t", 1, nil, 0)), 8); resp.Topics[0].Partitions[0].ErrorCode != int16(codeCoordinatorNotAvailable) {
		t.Errorf("%+v", resp)
	}
	r.offsets.failWith(errors.New("bug"))
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g"}}
	if resp := ask[*kmsg.OffsetFetchResponse](w, req, 8); resp.Groups[0].ErrorCode != int16(codeUnknownServerError) {
		t.Errorf("%+v", resp)
	}
}
