package kafka

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func describeRequest(kind kmsg.ConfigResourceType, name string, keys ...string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, keys
	req.Resources = append(req.Resources, r)
	return req
}

func config(t *testing.T, resp *kmsg.DescribeConfigsResponse, key string) kmsg.DescribeConfigsResponseResourceConfig {
	t.Helper()
	for _, c := range resp.Resources[0].Configs {
		if c.Name == key {
			return c
		}
	}
	t.Fatalf("no %s in %+v", key, resp)
	return kmsg.DescribeConfigsResponseResourceConfig{}
}

func TestDescribeConfigsTellsWhereAValueComesFrom(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.static["log.retention.ms"] = "1000" })
	r.topic("t", 1, "cleanup.policy=compact")
	w := r.wire()
	for version := int16(0); version <= 4; version++ {
		req := describeRequest(kmsg.ConfigResourceTypeTopic, "t")
		req.IncludeSynonyms, req.IncludeDocumentation = true, true
		resp := ask[*kmsg.DescribeConfigsResponse](w, req, version)
		for key, want := range map[string]struct {
			value  string
			source kmsg.ConfigSource
		}{
			"cleanup.policy":  {"compact", kmsg.ConfigSourceDynamicTopicConfig},
			"retention.ms":    {"1000", kmsg.ConfigSourceStaticBrokerConfig},
			"retention.bytes": {"-1", kmsg.ConfigSourceDefaultConfig},
		} {
			c := config(t, resp, key)
			if *c.Value != want.value || version >= 1 && c.Source != want.source {
				t.Errorf("version %d: %s is %s from %v", version, key, *c.Value, c.Source)
			}
			if version == 0 && c.IsDefault != (want.source == kmsg.ConfigSourceDefaultConfig) {
				t.Errorf("%s: is default: %v", key, c.IsDefault)
			}
			if version >= 1 && len(c.ConfigSynonyms) == 0 || version >= 3 && (c.Documentation == nil || c.ConfigType == 0) {
				t.Errorf("version %d: %+v", version, c)
			}
		}
	}
	if resp := ask[*kmsg.DescribeConfigsResponse](w, describeRequest(kmsg.ConfigResourceTypeTopic, "t", "retention.ms"), 2); len(resp.Resources[0].Configs) != 1 {
		t.Errorf("%d keys instead of one", len(resp.Resources[0].Configs))
	}
	resp := ask[*kmsg.DescribeConfigsResponse](w, describeRequest(kmsg.ConfigResourceTypeBroker, "1"), 4)
	if c := config(t, resp, "log.retention.ms"); *c.Value != "1000" || c.Source != kmsg.ConfigSourceStaticBrokerConfig {
		t.Errorf("%+v", c)
	}
	if resp := ask[*kmsg.DescribeConfigsResponse](w, describeRequest(kmsg.ConfigResourceTypeBroker, ""), 4); resp.Resources[0].ErrorCode != 0 || len(resp.Resources[0].Configs) != 0 {
		t.Errorf("dynamic defaults: %+v", resp)
	}
}

func TestDescribeConfigsRefusesWhatIsNotHere(t *testing.T) {
	w := newRig(t).wire()
	for _, c := range []struct {
		kind kmsg.ConfigResourceType
		name string
		want errorCode
	}{
		{kmsg.ConfigResourceTypeTopic, "none", codeUnknownTopicOrPartition},
		{kmsg.ConfigResourceTypeTopic, "no/name", codeInvalidTopic},
		{kmsg.ConfigResourceTypeBroker, "2", codeInvalidRequest},
		{kmsg.ConfigResourceTypeBroker, "one", codeInvalidRequest},
		{kmsg.ConfigResourceTypeBrokerLogger, "1", codeInvalidRequest},
	} {
		resp := ask[*kmsg.DescribeConfigsResponse](w, describeRequest(c.kind, c.name), 4)
		if r := resp.Resources[0]; r.ErrorCode != int16(c.want) || r.ErrorMessage == nil {
			t.Errorf("%v %q: %+v", c.kind, c.name, r)
		}
	}
}

// alter sends changes of the form "key=value", "key-" (delete), "key+=value" and "key-=value".
func alter(w *wire, dry bool, kind kmsg.ConfigResourceType, name string, changes ...string) errorCode {
	w.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = dry
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, ch := range changes {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		key, value, set := strings.Cut(ch, "=")
		c.Name, c.Value = key, &value
		switch {
		case !set && strings.HasSuffix(key, "-"):
			c.Name, c.Value, c.Op = key[:len(key)-1], nil, kmsg.IncrementalAlterConfigOpDelete
		case strings.HasSuffix(key, "+"):
			c.Name, c.Op = key[:len(key)-1], kmsg.IncrementalAlterConfigOpAppend
		case strings.HasSuffix(key, "-"):
			c.Name, c.Op = key[:len(key)-1], kmsg.IncrementalAlterConfigOpSubtract
		case !set:
			c.Value = nil
		}
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	resp := ask[*kmsg.IncrementalAlterConfigsResponse](w, req, 1)
	return errorCode(resp.Resources[0].ErrorCode)
}

func TestIncrementalAlterConfigs(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1, "retention.ms=5")
	w := r.wire()
	const topic, broker = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	for i, c := range []struct {
		dry     bool
		kind    kmsg.ConfigResourceType
		name    string
		changes []string
		want    errorCode
		after   string // of the topic
	}{
		{false, topic, "t", []string{"retention.bytes=7"}, codeNone, "retention.bytes=7 retention.ms=5"},
		{true, topic, "t", []string{"retention.bytes=8"}, codeNone, "retention.bytes=7 retention.ms=5"},
		{false, topic, "t", []string{"retention.ms-"}, codeNone, "retention.bytes=7"},
		{false, topic, "t", []string{"cleanup.policy+=compact", "retention.bytes-"}, codeNone, "cleanup.policy=delete,compact"},
		{false, topic, "t", []string{"cleanup.policy-=delete"}, codeNone, "cleanup.policy=compact"},
		{false, topic, "t", []string{"retention.ms+=5"}, codeInvalidConfig, "cleanup.policy=compact"},
		{false, topic, "t", []string{"retention.ms=soon"}, codeInvalidConfig, "cleanup.policy=compact"},
		{false, topic, "t", []string{"retention.ms"}, codeInvalidRequest, "cleanup.policy=compact"},
		{false, topic, "t", []string{"retention.ms=1", "retention.ms=2"}, codeInvalidRequest, "cleanup.policy=compact"},
		{false, topic, "none", []string{"retention.ms=1"}, codeUnknownTopicOrPartition, "cleanup.policy=compact"},
		{false, broker, "2", []string{"log.retention.ms=1"}, codeInvalidRequest, "cleanup.policy=compact"},
		{false, broker, "", []string{"log.retention.ms=1"}, codeNone, "cleanup.policy=compact"},
		{false, kmsg.ConfigResourceTypeBrokerLogger, "1", nil, codeInvalidRequest, "cleanup.policy=compact"},
	} {
		if got := alter(w, c.dry, c.kind, c.name, c.changes...); got != c.want {
			t.Errorf("%d %v: %v, want %v", i, c.changes, got, c.want)
		}
		if got := overrides(r, "t"); got != c.after {
			t.Errorf("%d %v: %s, want %s", i, c.changes, got, c.after)
		}
	}
	if v := r.meta.State().ClusterConfigs["log.retention.ms"]; v != "1" {
		t.Errorf("dynamic default %q", v)
	}
}

func overrides(r *rig, topic string) string {
	var out []string
	for _, key := range []string{"cleanup.policy", "retention.bytes", "retention.ms"} {
		if v, ok := r.meta.State().Topic(topic).Configs[key]; ok {
			out = append(out, key+"="+v)
		}
	}
	return strings.Join(out, " ")
}

func TestAlterConfigsReplacesTheWholeConfiguration(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1, "retention.ms=5", "cleanup.policy=compact")
	w := r.wire()
	send := func(value *string, twice bool) errorCode {
		req := kmsg.NewPtrAlterConfigsRequest()
		rr := kmsg.NewAlterConfigsRequestResource()
		rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
		rr.Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.bytes", Value: value}}
		req.Resources = append(req.Resources, rr)
		if twice {
			req.Resources = append(req.Resources, rr)
		}
		resp := ask[*kmsg.AlterConfigsResponse](w, req, 2)
		if len(resp.Resources) != 1 {
			t.Errorf("%d answers", len(resp.Resources))
		}
		return errorCode(resp.Resources[0].ErrorCode)
	}
	if code := send(nil, false); code != codeInvalidRequest {
		t.Error(code)
	}
	if code := send(new("9"), true); code != codeInvalidRequest {
		t.Error(code)
	}
	if code := send(new("9"), false); code != codeNone || overrides(r, "t") != "retention.bytes=9" {
		t.Error(code, overrides(r, "t"))
	}
}

func TestDescribeLogDirsTellsTheSizeOfThePartitions(t *testing.T) {
	r := newRig(t, func(c *rigConfig) { c.Space = func() (int64, int64, error) { return 1000, 400, nil } })
	r.topic("t", 2)
	r.topic("u", 1)
	r.fill(1, sized(5000))
	w := r.wire()
	resp := ask[*kmsg.DescribeLogDirsResponse](w, kmsg.NewPtrDescribeLogDirsRequest(), 4)
	d := resp.Dirs[0]
	if len(resp.Dirs) != 1 || d.Dir != "/data" || d.TotalBytes != 1000 || d.UsableBytes != 400 || len(d.Topics) != 2 || d.Topics[0].Partitions[1].Size < 5000 || d.Topics[0].Partitions[0].Size != 0 {
		t.Errorf("%+v", resp)
	}
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "t", Partitions: []int32{1, 1, 7}}, {Topic: "none", Partitions: []int32{0}}}
	if d := ask[*kmsg.DescribeLogDirsResponse](w, req, 1).Dirs[0]; len(d.Topics) != 1 || len(d.Topics[0].Partitions) != 1 {
		t.Errorf("%+v", d)
	}
}
