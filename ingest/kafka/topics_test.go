package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
)

func metadataRequest(names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, n := range names {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &n})
	}
	return req
}

func topicNames(resp *kmsg.MetadataResponse) string {
	var out []string
	for _, t := range resp.Topics {
		name := "null"
		if t.Topic != nil {
			name = *t.Topic
		}
		if t.ErrorCode != 0 {
			name += ":" + errorCode(t.ErrorCode).String()
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func TestMetadataOfAllOfNoneAndOfNamedTopics(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.static["auto.create.topics.enable"] = "false" })
	r.topic("b", 1)
	a := r.topic("a", 2)
	w := r.wire()
	all := kmsg.NewPtrMetadataRequest()
	for version, want := range map[int16]string{0: "a b", 1: "", 4: "", 12: ""} {
		if got := topicNames(ask[*kmsg.MetadataResponse](w, metadataRequest(), version)); got != want {
			t.Errorf("version %d, empty list: %q, want %q", version, got, want)
		}
	}
	for _, version := range []int16{1, 4, 9, 12, 13} {
		resp := ask[*kmsg.MetadataResponse](w, all, version)
		if got := topicNames(resp); got != "a b" {
			t.Errorf("version %d, null: %q", version, got)
		}
		if len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 1 || resp.ControllerID != 1 {
			t.Errorf("%+v", resp)
		}
		if got := topicNames(ask[*kmsg.MetadataResponse](w, metadataRequest("b", "x", "b", "..", ""), version)); got != "b x:UNKNOWN_TOPIC_OR_PARTITION ..:INVALID_TOPIC_EXCEPTION :INVALID_TOPIC_EXCEPTION" {
			t.Errorf("version %d, named: %q", version, got)
		}
	}
	byID := kmsg.NewPtrMetadataRequest()
	byID.Topics = []kmsg.MetadataRequestTopic{{TopicID: a.ID}, {TopicID: [16]byte{9}}}
	if got := topicNames(ask[*kmsg.MetadataResponse](w, byID, 12)); got != "a null:UNKNOWN_TOPIC_ID" {
		t.Errorf("by id: %q", got)
	}
	if got := topicNames(ask[*kmsg.MetadataResponse](w, byID, 10)); got != ":INVALID_REQUEST :INVALID_REQUEST" {
		t.Errorf("by id, too early: %q", got)
	}
	ops := metadataRequest("a")
	ops.IncludeTopicAuthorizedOperations, ops.IncludeClusterAuthorizedOperations = true, true
	resp := ask[*kmsg.MetadataResponse](w, ops, 9)
	if resp.AuthorizedOperations != clusterOperations || resp.Topics[0].AuthorizedOperations != topicOperations {
		t.Errorf("authorized operations %d, %d", resp.AuthorizedOperations, resp.Topics[0].AuthorizedOperations)
	}
	if resp := ask[*kmsg.MetadataResponse](w, metadataRequest("a"), 9); resp.Topics[0].AuthorizedOperations != -2147483648 {
		t.Errorf("authorized operations without being asked: %d", resp.Topics[0].AuthorizedOperations)
	}
}

func TestMetadataCreatesTopicsThatAreNamedWhereItMay(t *testing.T) {
	r := newRig(t)
	w := r.wire()
	if resp := ask[*kmsg.MetadataResponse](w, metadataRequest("new"), 1); resp.Topics[0].ErrorCode != 0 || len(resp.Topics[0].Partitions) != 2 || resp.Topics[0].Partitions[1].Leader != 1 {
		t.Errorf("%+v", resp.Topics)
	}
	req := metadataRequest("flag")
	req.AllowAutoTopicCreation = false
	if got := topicNames(ask[*kmsg.MetadataResponse](w, req, 4)); got != "flag:UNKNOWN_TOPIC_OR_PARTITION" {
		t.Errorf("%q", got)
	}
	req.AllowAutoTopicCreation = true
	if got := topicNames(ask[*kmsg.MetadataResponse](w, req, 4)); got != "flag" {
		t.Errorf("%q", got)
	}
	if got := topicNames(ask[*kmsg.MetadataResponse](w, metadataRequest(meta.ConsumerOffsetsTopic), 3)); !strings.HasSuffix(got, ":UNKNOWN_TOPIC_OR_PARTITION") {
		t.Errorf("%q", got)
	}
	if got := topicNames(ask[*kmsg.MetadataResponse](w, metadataRequest("fl.ag", "fl_ag"), 3)); got != "fl.ag fl_ag:INVALID_TOPIC_EXCEPTION" {
		t.Errorf("names that collide: %q", got)
	}
	r.meta.failWith(errors.New("no quorum"))
	if got := topicNames(ask[*kmsg.MetadataResponse](w, metadataRequest("other"), 3)); got != "other:UNKNOWN_SERVER_ERROR" {
		t.Errorf("%q", got)
	}
}

func TestMetadataTellsTheAddressByWhichTheClientCame(t *testing.T) {
	r := newRig(t)
	resp := ask[*kmsg.MetadataResponse](r.wire(), metadataRequest(), 4)
	if b := resp.Brokers[0]; (endpoint{b.Host, b.Port}) != mustEndpoint(t, r.addr) {
		t.Errorf("%+v, listening on %s", b, r.addr)
	}
	r = newRig(t, func(c *rigConfig) { c.Advertise = "gateway.example:19092" })
	resp = ask[*kmsg.MetadataResponse](r.wire(), metadataRequest(), 4)
	if b := resp.Brokers[0]; b.Host != "gateway.example" || b.Port != 19092 {
		t.Errorf("%+v", b)
	}
	for _, bad := range []string{"host", "host:", ":9092", "host:0", "host:99999", "host:http"} {
		if _, err := NewServer(Config{Advertise: bad}, Deps{}, nil, nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func mustEndpoint(t *testing.T, addr string) endpoint {
	t.Helper()
	ep, err := parseEndpoint(addr)
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

func createRequest(topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 5000
	req.Topics = topics
	return req
}

func newTopic(name string, partitions int32, replicas int16, configs ...string) kmsg.CreateTopicsRequestTopic {
	c := kmsg.NewCreateTopicsRequestTopic()
	c.Topic, c.NumPartitions, c.ReplicationFactor = name, partitions, replicas
	for _, kv := range configs {
		k, v, _ := strings.Cut(kv, "=")
		c.Configs = append(c.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: k, Value: &v})
	}
	return c
}

func assigned(name string, replicas ...[]int32) kmsg.CreateTopicsRequestTopic {
	c := newTopic(name, -1, -1)
	for i, r := range replicas {
		c.ReplicaAssignment = append(c.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: r})
	}
	return c
}

func TestCreateTopicsAnswersEachTopicByItself(t *testing.T) {
	r := newRig(t)
	r.topic("there", 1)
	w := r.wire()
	both := assigned("both", []int32{1})
	both.NumPartitions = 1
	gap := assigned("gap", []int32{1}, []int32{1})
	gap.ReplicaAssignment[1].Partition = 5
	null := newTopic("null", 1, 1)
	null.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
	cases := []struct {
		topic kmsg.CreateTopicsRequestTopic
		want  errorCode
	}{
		{newTopic("three", 3, 1, "retention.ms=5"), codeNone},
		{newTopic("defaults", -1, -1), codeNone},
		{assigned("assigned", []int32{1}, []int32{1}), codeNone},
		{newTopic("there", 1, 1), codeTopicAlreadyExists},
		{newTopic("no/name", 1, 1), codeInvalidTopic},
		{newTopic(meta.ConsumerOffsetsTopic, 1, 1), codeInvalidTopic},
		{newTopic("zero", 0, 1), codeInvalidPartitions},
		{newTopic("replicas", 1, 2), codeInvalidReplicationFactor},
		{newTopic("config", 1, 1, "no.such.key=1"), codeInvalidConfig},
		{newTopic("value", 1, 1, "retention.ms=soon"), codeInvalidConfig},
		{newTopic("again", 1, 1, "retention.ms=1", "retention.ms=2"), codeInvalidRequest},
		{null, codeInvalidConfig},
		{both, codeInvalidRequest},
		{gap, codeInvalidReplicaAssignment},
		{assigned("nobody", []int32{7}), codeInvalidReplicaAssignment},
		{newTopic("twice", 1, 1), codeInvalidRequest},
		{newTopic("twice", 1, 1), codeInvalidRequest},
	}
	req := createRequest()
	for _, c := range cases {
		req.Topics = append(req.Topics, c.topic)
	}
	resp := ask[*kmsg.CreateTopicsResponse](w, req, 7)
	if len(resp.Topics) != len(cases)-1 { // "twice" is answered once
		t.Fatalf("%d answers", len(resp.Topics))
	}
	for i, rt := range resp.Topics {
		if c := cases[i]; rt.Topic != c.topic.Topic || rt.ErrorCode != int16(c.want) || (rt.ErrorMessage != nil) != (c.want != codeNone) {
			t.Errorf("%s: %v %v, want %v", rt.Topic, errorCode(rt.ErrorCode), rt.ErrorMessage, c.want)
		}
	}
	three := resp.Topics[0]
	st := r.meta.State()
	if three.NumPartitions != 3 || three.ReplicationFactor != 1 || three.TopicID != st.Topic("three").ID || len(three.Configs) < 20 {
		t.Errorf("%+v", three)
	}
	if n := len(st.Topic("defaults").Partitions); n != 2 {
		t.Errorf("%d partitions by default", n)
	}
	for _, none := range []string{"config", "twice", "gap"} {
		if st.Topic(none) != nil {
			t.Errorf("%s exists", none)
		}
	}
}

func TestCreateTopicsCanOnlyCheck(t *testing.T) {
	r := newRig(t)
	w := r.wire()
	req := createRequest(newTopic("a", 3, 1), newTopic("b", 0, 1))
	req.ValidateOnly = true
	resp := ask[*kmsg.CreateTopicsResponse](w, req, 7)
	if resp.Topics[0].ErrorCode != 0 || resp.Topics[0].NumPartitions != 3 || resp.Topics[0].TopicID != [16]byte{} || resp.Topics[1].ErrorCode != int16(codeInvalidPartitions) {
		t.Errorf("%+v", resp)
	}
	if r.meta.State().Topic("a") != nil {
		t.Error("the topic was created")
	}
}

func TestDeleteTopicsByNameAndByID(t *testing.T) {
	r := newRig(t)
	ids := map[string]meta.TopicID{}
	for _, n := range []string{"a", "b", "c", "d"} {
		ids[n] = r.topic(n, 1).ID
	}
	w := r.wire()
	for version := int16(0); version <= 5; version += 5 {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TopicNames = []string{[]string{"a", "b"}[version/5], "none"}
		resp := ask[*kmsg.DeleteTopicsResponse](w, req, version)
		if len(resp.Topics) != 2 || resp.Topics[0].ErrorCode != 0 || resp.Topics[1].ErrorCode != int16(codeUnknownTopicOrPartition) {
			t.Errorf("version %d: %+v", version, resp)
		}
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = 1000
	c, d := "c", "d"
	req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: ids["c"]}, {Topic: &d}, {TopicID: [16]byte{1}}, {}, {Topic: &c, TopicID: ids["c"]}}
	resp := ask[*kmsg.DeleteTopicsResponse](w, req, 6)
	var got []errorCode
	for _, rt := range resp.Topics {
		got = append(got, errorCode(rt.ErrorCode))
	}
	if want := []errorCode{0, 0, codeUnknownTopicID, codeInvalidRequest, codeInvalidRequest}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if *resp.Topics[0].Topic != "c" || resp.Topics[1].TopicID != ids["d"] || len(r.meta.State().Topics) != 0 {
		t.Errorf("%+v", resp)
	}
}

func TestDeletionOfTopicsCanBeDisabled(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.static["delete.topic.enable"] = "false" })
	r.topic("a", 1)
	w := r.wire()
	for version, want := range map[int16]errorCode{1: codeInvalidRequest, 3: codeTopicDeletionDisabled} {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TopicNames = []string{"a"}
		if resp := ask[*kmsg.DeleteTopicsResponse](w, req, version); resp.Topics[0].ErrorCode != int16(want) {
			t.Errorf("version %d: %v", version, errorCode(resp.Topics[0].ErrorCode))
		}
	}
}

func TestCreatePartitionsGrowsTopics(t *testing.T) {
	r := newRig(t)
	r.topic("a", 2)
	r.topic("b", 2)
	w := r.wire()
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 1000
	add := func(name string, n int32, assignment ...[]int32) {
		c := kmsg.NewCreatePartitionsRequestTopic()
		c.Topic, c.Count = name, n
		for _, a := range assignment {
			c.Assignment = append(c.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: a})
		}
		req.Topics = append(req.Topics, c)
	}
	add("a", 5)
	add("b", 2)
	add("none", 3)
	check := func(dry bool, want ...errorCode) {
		t.Helper()
		req.ValidateOnly = dry
		resp := ask[*kmsg.CreatePartitionsResponse](w, req, 3)
		for i, rt := range resp.Topics {
			if rt.ErrorCode != int16(want[i]) {
				t.Errorf("%s: %v, want %v", rt.Topic, errorCode(rt.ErrorCode), want[i])
			}
		}
		if len(resp.Topics) != len(want) {
			t.Errorf("%d answers", len(resp.Topics))
		}
	}
	check(true, codeNone, codeInvalidPartitions, codeUnknownTopicOrPartition)
	if n := len(r.meta.State().Topic("a").Partitions); n != 2 {
		t.Errorf("%d partitions after a mere check", n)
	}
	check(false, codeNone, codeInvalidPartitions, codeUnknownTopicOrPartition)
	if p := produce(w, 9, "a", batchOf("x")); p.ErrorCode != 0 {
		t.Errorf("%+v", p)
	}
	if n := len(r.meta.State().Topic("a").Partitions); n != 5 {
		t.Errorf("%d partitions", n)
	}
	req.Topics = nil
	add("b", 3, []int32{9})
	add("a", 6, []int32{1}, []int32{1})
	check(false, codeInvalidReplicaAssignment, codeInvalidReplicaAssignment)
}

func TestDescribeTopicPartitionsGoesPageByPage(t *testing.T) {
	r := newRig(t)
	for _, n := range []string{"a", "b", "c"} {
		r.topic(n, 3)
	}
	w := r.wire()
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 4
	var got []string
	for range 10 {
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](w, req, 0)
		n := 0
		for _, rt := range resp.Topics {
			for _, p := range rt.Partitions {
				got = append(got, fmt.Sprint(*rt.Topic, p.Partition))
				n++
			}
		}
		if n > 4 {
			t.Errorf("%d partitions in one answer", n)
		}
		if resp.NextCursor == nil {
			break
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
	if s := strings.Join(got, " "); s != "a0 a1 a2 b0 b1 b2 c0 c1 c2" {
		t.Error(s)
	}
	req.Cursor = nil
	req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "none"}, {Topic: "b"}, {Topic: "/"}}
	resp := ask[*kmsg.DescribeTopicPartitionsResponse](w, req, 0)
	if len(resp.Topics) != 3 || resp.Topics[0].ErrorCode != int16(codeInvalidTopic) || resp.Topics[2].ErrorCode != int16(codeUnknownTopicOrPartition) {
		t.Errorf("%+v", resp)
	}
}

// The Java client, and with it kafka-topics, fails on null lists of eligible leader replicas.
func TestDescribeTopicPartitionsHasEmptyListsAndNotNull(t *testing.T) {
	r := newRig(t)
	r.topic("a", 1)
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 10
	resp := ask[*kmsg.DescribeTopicPartitionsResponse](r.wire(), req, 0)
	if p := resp.Topics[0].Partitions[0]; p.EligibleLeaderReplicas == nil || p.LastKnownELR == nil {
		t.Errorf("%+v", p)
	}
}

func TestDescribeClusterTellsTheBrokers(t *testing.T) {
	r := newRig(t)
	w := r.wire()
	for version := int16(0); version <= 2; version++ {
		resp := ask[*kmsg.DescribeClusterResponse](w, kmsg.NewPtrDescribeClusterRequest(), version)
		if len(resp.Brokers) != 1 || resp.ControllerID != 1 || resp.ClusterID != r.meta.State().ClusterID || resp.ClusterAuthorizedOperations != -2147483648 {
			t.Errorf("%+v", resp)
		}
	}
	req := kmsg.NewPtrDescribeClusterRequest()
	req.EndpointType = 2
	if resp := ask[*kmsg.DescribeClusterResponse](w, req, 1); resp.ErrorCode != int16(codeMismatchedEndpointType) {
		t.Errorf("%+v", resp)
	}
}
