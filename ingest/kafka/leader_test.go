package kafka

import (
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
	"github.com/culvert-mq/culvert/sync/quorum"
)

func TestClientOfTheWrongBrokerIsToldTheRightOne(t *testing.T) {
	r := newRig(t)
	rack := "north"
	for _, c := range []meta.Command{
		&meta.RegisterBroker{ID: 2, Incarnation: "two", Rack: rack, Endpoints: []meta.Endpoint{{Listener: "PLAINTEXT", Host: "two.example", Port: 9093}}},
		&meta.CreateTopic{Name: "t", ID: quorum.NewTopicID(), Assignment: [][]int32{{2}}},
	} {
		if _, err := r.meta.Propose(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	w := r.wire()
	md := ask[*kmsg.MetadataResponse](w, metadataRequest("t"), 12)
	if b := md.Brokers; len(b) != 2 || b[1].Host != "two.example" || b[1].Port != 9093 || *b[1].Rack != rack || md.Topics[0].Partitions[0].Leader != 2 {
		t.Errorf("%+v", md)
	}
	id := md.Topics[0].TopicID
	for version := int16(3); version <= 13; version++ {
		req := produceRequest("t", -1, batchOf("a"))
		req.Topics[0].TopicID = id
		resp := ask[*kmsg.ProduceResponse](w, req, version)
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != int16(codeNotLeaderOrFollower) {
			t.Errorf("Produce %d: %+v", version, p)
		}
		if version >= 10 && (p.CurrentLeader.LeaderID != 2 || len(resp.Brokers) != 2 || resp.Brokers[1].Host != "two.example") {
			t.Errorf("Produce %d: %+v", version, resp)
		}
	}
	for version := int16(4); version <= 18; version++ {
		req := fetchRequest("t", 0, 0)
		req.Topics[0].TopicID = id
		resp := ask[*kmsg.FetchResponse](w, req, version)
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != int16(codeNotLeaderOrFollower) || version >= 12 && p.CurrentLeader.LeaderID != 2 || version >= 16 && (len(resp.Brokers) != 2 || resp.Brokers[1].Port != 9093) {
			t.Errorf("Fetch %d: %+v", version, resp)
		}
	}
	if p := ask[*kmsg.ListOffsetsResponse](w, listRequest(0, -1), 7).Topics[0].Partitions[0]; p.ErrorCode != int16(codeNotLeaderOrFollower) {
		t.Errorf("ListOffsets: %+v", p)
	}
}

func TestStrangersCannotFillTheLog(t *testing.T) {
	var n noise
	now := time.Unix(1_700_000_000, 0)
	for i, want := range []slog.Level{slog.LevelInfo, slog.LevelDebug, slog.LevelDebug, slog.LevelDebug, slog.LevelInfo} {
		if got := n.level(now.Add(time.Duration(i) * 250 * time.Millisecond)); got != want {
			t.Errorf("%d: %v, want %v", i, got, want)
		}
	}
}
