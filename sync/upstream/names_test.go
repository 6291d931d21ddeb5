package upstream

import (
	"errors"
	"strings"
	"testing"
)

func TestTemplateMakesCentralNames(t *testing.T) {
	for _, c := range []struct{ template, topic, want string }{
		{"{site}.{topic}", "air", "north.air"},
		{"{topic}", "air", "air"},
		{"city-{topic}-{site}-{topic}", "air.raw", "city-air.raw-north-air.raw"},
		{"all", "air", "all"},
	} {
		tmpl, err := parseTemplate(c.template, "north")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tmpl.name(c.topic); got != c.want || err != nil {
			t.Errorf("%s of %s is %q, %v", c.template, c.topic, got, err)
		}
	}
	tmpl, err := parseTemplate("{site}.{topic}", "north")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tmpl.name(strings.Repeat("a", 244)); !errors.Is(err, ErrTopicName) {
		t.Errorf("250 characters: %v", err)
	}
}

func TestTemplatesThatAreNoneAreRefused(t *testing.T) {
	for template, want := range map[string]string{
		"":               "not a legal topic name",
		"..":             "not a legal topic name",
		"{topic":         "no partner",
		"topic}":         "no partner",
		"{device}":       "unknown placeholder {device}",
		"{site}/{topic}": `makes "north/"`,
		"a b":            "only letters",
		"{}":             "unknown placeholder {}",
	} {
		if _, err := parseTemplate(template, "north"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", template, err, want)
		}
	}
	if _, err := parseTemplate("{site}.{topic}", ""); err == nil || !strings.Contains(err.Error(), "needs a site") {
		t.Errorf("without a site: %v", err)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{site}.{topic}", "{topic}", "{", "}", "{}{}", "x{topic}{topic}{site}"} {
		f.Add(s, "north", "air")
	}
	f.Fuzz(func(t *testing.T, template, site, topic string) {
		tmpl, err := parseTemplate(template, site)
		if err != nil {
			return
		}
		if name, err := tmpl.name(topic); err == nil && checkTopic(name) != nil {
			t.Fatalf("%q is no legal name", name)
		}
	})
}

func TestSelectorTakesPatternsAndNeverInternalTopics(t *testing.T) {
	s, err := newSelector([]string{"*"}, []string{"*.raw", "tes?"})
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]bool{
		"air": true, "air.raw": false, "test": false, "tests": true, "_x": true, "__consumer_offsets": false, "__x.raw": false,
	} {
		if s.match(topic) != want {
			t.Errorf("%s: %v", topic, !want)
		}
	}
	for _, p := range []string{"", "[a]", `a\b`, "{topic}", "a/b"} {
		if _, err := newSelector([]string{p}, nil); err == nil {
			t.Errorf("pattern %q is taken", p)
		}
	}
}

func TestConfigurationTellsEverythingThatIsWrong(t *testing.T) {
	c := Default()
	c.Brokers, c.Site = []string{"centre:9092", "[::1]:9093"}, "north"
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		want string
		do   func(*Config)
	}{
		{"no brokers", func(c *Config) { c.Brokers = nil }},
		{`broker "centre" is not host:port`, func(c *Config) { c.Brokers = []string{"centre"} }},
		{"is not host:port", func(c *Config) { c.Brokers = []string{"centre:http"} }},
		{"is not host:port", func(c *Config) { c.Brokers = []string{"centre:0"} }},
		{"needs a site", func(c *Config) { c.Site = "" }},
		{"topic pattern", func(c *Config) { c.Exclude = []string{"a b"} }},
		{"compression", func(c *Config) { c.Compression = "rar" }},
		{"max batch bytes", func(c *Config) { c.MaxBatchBytes = 100 }},
		{"max inflight bytes", func(c *Config) { c.MaxInflightBytes = 1000 }},
		{"linger", func(c *Config) { c.Linger = -1 }},
		{"must be positive", func(c *Config) { c.StoreInterval = 0 }},
		{"-1 or positive", func(c *Config) { c.Create.Partitions = 0 }},
		{"refused is", func(c *Config) { c.Refused = "drop" }},
		{"TLS settings without TLS", func(c *Config) { c.TLS.CAFile = "ca.pem" }},
		{"both its file and its key's", func(c *Config) { c.TLS.Enabled, c.TLS.CertFile = true, "c.pem" }},
		{"without a mechanism", func(c *Config) { c.SASL.User = "north" }},
		{"needs a user and a password file", func(c *Config) { c.SASL.Mechanism = "PLAIN" }},
		{"is not one of", func(c *Config) { c.SASL.Mechanism = "GSSAPI" }},
	} {
		c := c
		x.do(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v, want %q", err, x.want)
		}
	}
	err := Config{}.Validate()
	if n := strings.Count(err.Error(), "\n"); n < 5 {
		t.Errorf("only %d errors: %v", n+1, err)
	}
}
