package config

import (
	"fmt"
	"slices"
	"strings"
)

// upstream checks the section of that name.
func (v *validator) upstream() {
	u := &v.c.Upstream
	for i, b := range u.Brokers {
		key := fmt.Sprintf("upstream.brokers[%d]", i)
		switch host, port, err := splitAddress(b); {
		case err != nil || port == 0 || host == "":
			v.wrong(key, "is "+quote(b)+", which is no address", `write it like "kafka.example:9092"`)
		case slices.Contains(u.Brokers[:i], b):
			v.wrong(key, "names "+b+" again", "")
		case b == v.c.Kafka.Advertise || isSelf(b, v.c.Kafka.Listen):
			v.conflict([]string{key, "kafka.listen"}, "is "+b+", where this node listens itself",
				"name the brokers of the centre")
		}
	}
	if u.Site != "" && u.Site != v.c.Node.Name && !isTopicName(u.Site) {
		v.wrong("upstream.site", "is "+quote(u.Site), "use letters, digits, dot, dash and underscore only")
	}
	v.upstreamTopic()
	v.patterns("upstream.topics", u.Topics)
	v.patterns("upstream.exclude", u.Exclude)
	if len(u.Topics) == 0 && len(u.Brokers) > 0 {
		v.conflict([]string{"upstream.topics", "upstream.brokers"}, "is empty, so nothing would be forwarded",
			`write ["*"] to forward every topic, or take the brokers out`)
	}
	v.upstreamTLS()
	v.upstreamSASL()
}

// patterns checks a list of topics' names and patterns.
func (v *validator) patterns(key string, list []string) {
	for i, p := range list {
		if !isTopicName(strings.NewReplacer("*", "x", "?", "x").Replace(p)) {
			v.wrong(fmt.Sprintf("%s[%d]", key, i), "is "+quote(p)+", which is no pattern",
				`write a topic's name, or a pattern like "city-*"`)
		}
	}
}

// upstreamTopic checks the template of topic names at the centre.
func (v *validator) upstreamTopic() {
	const key = "upstream.topic"
	u := &v.c.Upstream
	name := strings.NewReplacer("{site}", "s", "{topic}", "t").Replace(u.Topic)
	single := len(u.Topics) == 1 && !strings.ContainsAny(u.Topics[0], "*?")
	switch {
	case strings.ContainsAny(name, "{}"):
		v.wrong(key, "is "+quote(u.Topic), "the placeholders are {site} and {topic}")
	case !isTopicName(name):
		v.wrong(key, "is "+quote(u.Topic)+", which makes no name for a topic",
			"use letters, digits, dot, dash, underscore, {site} and {topic} only")
	case !strings.Contains(u.Topic, "{topic}") && !single:
		v.wrong(key, "is "+quote(u.Topic)+", so all topics would become one", `use {topic} in it, like "{site}.{topic}"`)
	}
}

func (v *validator) upstreamTLS() {
	t := &v.c.Upstream.TLS
	for _, f := range []struct{ key, value string }{
		{"upstream.tls.ca_file", t.CAFile}, {"upstream.tls.server_name", t.ServerName},
		{"upstream.tls.cert_file", t.CertFile}, {"upstream.tls.key_file", t.KeyFile},
	} {
		if f.value != "" && !t.Enabled {
			v.conflict([]string{f.key, "upstream.tls.enabled"}, "is set, but upstream.tls.enabled is false", "set it to true")
		}
	}
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		v.wrong("upstream.tls.cert_file", "is set without key_file", "a certificate needs its private key")
	case t.CertFile == "" && t.KeyFile != "":
		v.wrong("upstream.tls.key_file", "is set without cert_file", "a private key needs its certificate")
	}
}

func (v *validator) upstreamSASL() {
	s := &v.c.Upstream.SASL
	mechanisms := []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
	switch {
	case s.Mechanism == "":
		if s.User != "" {
			v.wrong("upstream.sasl.user", "is set without mechanism", "write one of "+strings.Join(quoteAll(mechanisms), ", "))
		} else if s.PasswordFile != "" {
			v.wrong("upstream.sasl.password_file", "is set without mechanism", "write one of "+strings.Join(quoteAll(mechanisms), ", "))
		}
	case !slices.Contains(mechanisms, s.Mechanism):
		v.wrong("upstream.sasl.mechanism", "is "+quote(s.Mechanism), "write one of "+strings.Join(quoteAll(mechanisms), ", "))
	case s.User == "" || s.PasswordFile == "":
		v.wrong("upstream.sasl.mechanism", "is "+s.Mechanism+", which needs user and password_file", "")
	}
}
