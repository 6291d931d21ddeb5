package config

import (
	"errors"
	"strings"
	"testing"
)

// bad is a table of configurations that are refused, and with what words.
var bad = []struct{ name, document, want string }{
	{"no TOML", "[mqtt]\nlisten = 127.0.0.1", `f:2: is no TOML here: `},
	{"text without quotes", "[node]\nname = cabinet", `f:2: is no TOML here: expected value but found "cabinet" instead; text is written in quotes, like "text"`},
	{"twice", "[node]\nid = 1\nid = 2", `f:3: is no TOML here: Key 'node.id' has already been defined.; each key and section may stand once`},
	{"misspelt key", "[mqtt]\n\nlisen = \"127.0.0.1:1883\"", `f:3: mqtt.lisen is an unknown key; did you mean mqtt.listen?`},
	{"other case", "[mqtt]\nListen = \"127.0.0.1:1883\"", `f:2: mqtt.Listen is an unknown key; did you mean mqtt.listen?`},
	{"dashes", "[node]\ndata-dir = \"/srv\"", `f:2: node.data-dir is an unknown key; did you mean node.data_dir?`},
	{"misspelt section", "[mqttt]\nlisten = \"127.0.0.1:1883\"", `f:1: mqttt is an unknown section; did you mean mqtt?`},
	{"misspelt section in a dotted key", "mqt.listen = \"127.0.0.1:1883\"", `f:1: mqt is an unknown section; did you mean mqtt?`},
	{"key in the wrong section", "[node]\nretention = \"7d\"", `f:2: node.retention is an unknown key; did you mean log.retention?`},
	{"key before all sections", "listen = \":1883\"", `f:1: listen is an unknown key; did you mean kafka.listen, mqtt.listen or http.listen?`},
	{"key like no other", "[node]\nblue = 1", `f:2: node.blue is an unknown key`},
	{"misspelt key of a route", "[[mqtt.route]]\nfilter=\"a\"\ntopic=\"b\"\n[[mqtt.route]]\nfilter=\"c\"\ntopc=\"b\"",
		"f:6: mqtt.route[1].topc is an unknown key; did you mean mqtt.route[1].topic?"},
	{"several", "[node]\nblue = 1\n[http]\npprof = 1", "f:2: node.blue is an unknown key\nf:4: http.pprof must be true or false, not a number; write true or false"},

	{"number in quotes", "[node]\nid = \"7\"", `f:2: node.id must be a whole number, not text; write 7, without quotes`},
	{"fraction", "[node]\nid = 7.5", `f:2: node.id must be a whole number, not a number`},
	{"number too large", "[node]\nid = 3000000000", `f:2: node.id is 3000000000, which is out of range`},
	{"number for text", "[node]\nname = 7", `f:2: node.name must be a text in quotes, not a number; write "7"`},
	{"truth in quotes", "[kafka]\nallow_anonymous = \"true\"", `f:2: kafka.allow_anonymous must be true or false, not text; write true or false, without quotes`},
	{"text for a list", "[upstream]\nbrokers = \"a:1\"", `f:2: upstream.brokers must be a list, not text; write it like ["one", "two"]`},
	{"list of numbers", "[upstream]\ntopics = [\n\"a\",\n1\n]", `f:4: upstream.topics[1] must be a text in quotes, not a number`},
	{"section as a value", "node = 7", `f:1: node is a section, not a number; write [node] on a line of its own`},
	{"route as a section", "[mqtt.route]\nfilter = \"a\"", `f:1: mqtt.route is a list of sections, not a section; write [[mqtt.route]]`},
	{"routes as texts", "[mqtt]\nroute = [\"a\"]", `f:2: mqtt.route[0] is a section, not text`},
	{"headers as a list", "[[mqtt.route]]\nfilter=\"a\"\ntopic=\"b\"\nheaders = []", `f:4: mqtt.route[0].headers must be a table, not a list; write it like { name = "value" }`},
	{"header that is no text", "[[mqtt.route]]\nfilter=\"a\"\ntopic=\"b\"\nheaders = { x = 1 }", `f:4: mqtt.route[0].headers.x must be a text in quotes, not a number`},
	{"date", "[log]\nretention = 2026-01-01", `f:2: log.retention must be a number or a text in quotes, not a date or time`},

	{"size in a short unit", "[log]\nsegment_bytes = \"64M\"", `f:2: log.segment_bytes is wrong: size "64M" has the unit "M": write "64MiB"`},
	{"size in the wrong case", "[log]\nsegment_bytes = \"64mib\"", `f:2: log.segment_bytes is wrong: size "64mib" has the unit "mib": write "64MiB"`},
	{"size in parsecs", "[log]\nsegment_bytes = \"64pc\"", `f:2: log.segment_bytes is wrong: size "64pc" has the unknown unit "pc": use B, kB, MB, GB, TB or KiB, MiB, GiB, TiB`},
	{"fraction of a size", "[log]\nsegment_bytes = \"1.5GiB\"", `f:2: log.segment_bytes is wrong: size "1.5GiB" has a fraction: write a whole number of a smaller unit`},
	{"negative size", "[log]\nsegment_bytes = -5", `f:2: log.segment_bytes is wrong: "-5" is no size: write it like 67108864 or "64MiB"`},
	{"size beyond 63 bits", "[log]\nmax_bytes = \"9999999999GiB\"", `f:2: log.max_bytes is wrong: size "9999999999GiB" is too large`},
	{"size below the least", "[log]\njournal_bytes = \"64KiB\"", `f:2: log.journal_bytes is 64KiB; the least is 1MiB`},
	{"size above the most", "[kafka]\nmax_request_bytes = \"1GiB\"", `f:2: kafka.max_request_bytes is 1GiB; the most is 256MiB`},
	{"unlimited where there is a limit", "[log]\njournal_bytes = \"unlimited\"", `f:2: log.journal_bytes is unlimited; the least is 1MiB`},
	{"below the least, with an exception", "[log]\nmax_bytes = \"1MiB\"", `f:2: log.max_bytes is 1MiB; the least is 4MiB, or 0`},
	{"memory limit as a negative number", "[node]\nmemory_limit = -1", `f:2: node.memory_limit is wrong: "-1" is no size: write "auto", or a size like "200MiB"`},
	{"time without a unit", "[log]\nretention = 168", `f:2: log.retention is wrong: duration "168" has no unit: write it like "168s", "168h" or "168d"`},
	{"no time", "[log]\nretention = \"a week\"", `f:2: log.retention is wrong: "a week" is no duration: write it like "250ms", "30s", "1h30m" or "7d"`},
	{"negative time", "[log]\nretention = \"-1h\"", `f:2: log.retention is wrong: "-1h" is no duration: write it like "250ms", "30s", "1h30m" or "7d"`},
	{"time too short", "[log]\nretention = \"1s\"", `f:2: log.retention is 1s; the least is 1m, or "unlimited"`},
	{"time too long", "[commit]\nlinger = \"1m\"", `f:2: commit.linger is 1m; the most is 5s, or "auto"`},
	{"zero where there is a least", "[mqtt]\nmax_connections = 0", `f:2: mqtt.max_connections is 0; the least is 1`},

	{"no such level", "[node]\nlog_level = \"warning\"", `f:2: node.log_level is "warning"; write one of "debug", "info", "warn", "error"`},
	{"almost a level", "[node]\nlog_level = \"wran\"", `f:2: node.log_level is "wran"; did you mean "warn"?`},
	{"codec the builder lacks", "[commit]\ncompression = \"zstd\"", `f:2: commit.compression is "zstd"; write one of "lz4", "none"`},
	{"name with blanks", "[node]\nname = \"my node\"", `f:2: node.name is "my node"; use letters, digits, dot, dash and underscore only`},
	{"default topic with slashes", "[mqtt.defaults]\ntopic = \"city/all\"", `f:2: mqtt.defaults.topic is "city/all", which is no name for a topic; use letters, digits, dot, dash and underscore only`},

	{"open listener", "[mqtt]\nlisten = \"0.0.0.0:1883\"", `f:2: mqtt.listen is "0.0.0.0:1883", which other machines can reach, and nobody is asked for a password; write allow_anonymous = true into [mqtt] if that is meant, or listen on 127.0.0.1`},
	{"listener without a host", "[kafka]\nlisten = \":9092\"", `f:2: kafka.listen is ":9092", which other machines can reach, and nobody is asked for a password; write allow_anonymous = true into [kafka] if that is meant, or listen on 127.0.0.1`},
	{"listener on a name", "[http]\nlisten = \"gateway:8080\"", `f:2: http.listen is "gateway:8080", which other machines can reach, and nobody is asked for a password; write allow_anonymous = true into [http] if that is meant, or listen on 127.0.0.1`},
	{"open listener, allowed elsewhere", "[kafka]\nallow_anonymous = true\n[http]\nlisten = \"[::]:8080\"", `f:4: http.listen is "[::]:8080", which other machines can reach, and nobody is asked for a password; write allow_anonymous = true into [http] if that is meant, or listen on 127.0.0.1`},
	{"listener without a port", "[mqtt]\nlisten = \"127.0.0.1\"", `f:2: mqtt.listen is "127.0.0.1": it has no port, or more than one; write it like "127.0.0.1:9092"`},
	{"listener on a port's name", "[mqtt]\nlisten = \"127.0.0.1:mqtt\"", `f:2: mqtt.listen is "127.0.0.1:mqtt": the port "mqtt" is no number up to 65535; write it like "127.0.0.1:9092"`},
	{"listener on a high port", "[mqtt]\nlisten = \"127.0.0.1:65536\"", `f:2: mqtt.listen is "127.0.0.1:65536": the port "65536" is no number up to 65535; write it like "127.0.0.1:9092"`},
	{"listener on a URL", "[mqtt]\nlisten = \"tcp://127.0.0.1:1883\"", `f:2: mqtt.listen is "tcp://127.0.0.1:1883": it has no port, or more than one; write it like "127.0.0.1:9092"`},
	{"one port twice", "[kafka]\nlisten = \"127.0.0.1:1883\"", `f:2: mqtt.listen is "127.0.0.1:1883", and kafka.listen is "127.0.0.1:1883"; give each its own port`},
	{"one port twice, once for all addresses", "[mqtt]\nlisten=\"0.0.0.0:8080\"\nallow_anonymous=true", `f:2: http.listen is "127.0.0.1:8080", and mqtt.listen is "0.0.0.0:8080"; give each its own port`},
	{"nothing to listen on", "kafka.listen = \"\"\nmqtt.listen = \"\"", `f:1: kafka.listen and mqtt.listen are empty, so nothing could reach the node (mqtt.listen: f:2); give one of them an address`},
	{"advertising no address", "[kafka]\nadvertise = \"0.0.0.0:9092\"", `f:2: kafka.advertise is "0.0.0.0:9092", where no client can connect to; write it like "gateway-7.example:9092"`},

	{"batch above the request", "[kafka]\nmax_request_bytes = \"8MiB\"\n[log]\nmax_message_bytes = \"9MiB\"", `f:4: log.max_message_bytes is 9MiB, but kafka.max_request_bytes is 8MiB: no client could send such a batch (kafka.max_request_bytes: f:2); make it 8MiB or less, or raise kafka.max_request_bytes`},
	{"packet above the batch", "[log]\nmax_message_bytes = \"512KiB\"", `f:2: mqtt.max_packet_bytes is 1MiB, but log.max_message_bytes is 512KiB: such a message could not be stored; make it 512KiB or less, or raise log.max_message_bytes`},
	{"both places are told", "[log]\nmax_message_bytes = \"512KiB\"\n[mqtt]\nmax_packet_bytes = \"768KiB\"", `f:4: mqtt.max_packet_bytes is 768KiB, but log.max_message_bytes is 512KiB: such a message could not be stored (log.max_message_bytes: f:2); make it 512KiB or less, or raise log.max_message_bytes`},
	{"absorption above the segment", "[log]\nsegment_bytes = \"1MiB\"\n[commit]\nabsorb_bytes = \"2MiB\"", `f:4: commit.absorb_bytes is 2MiB, but log.segment_bytes is 1MiB: a segment must hold what is written to it at a time (log.segment_bytes: f:2); make it 1MiB or less, or raise log.segment_bytes`},
	{"absorption above the journal", "[commit]\nabsorb_bytes = \"12MiB\"", `f:2: commit.absorb_bytes is 12MiB, but log.journal_bytes is 8MiB: so much can never gather in the journal; make it 8MiB or less, or raise log.journal_bytes`},
	{"direct above the journal", "[commit]\ndirect_bytes = \"8MiB\"", `f:2: commit.direct_bytes is 8MiB, but log.journal_bytes is 8MiB: the journal must have room for another commit while one is written to the segment; make it 4MiB or less, or raise log.journal_bytes`},
	{"log of one segment", "[log]\nsegment_bytes = \"16MiB\"\nmax_bytes = \"16MiB\"", `f:2: log.segment_bytes is 16MiB, but log.max_bytes is 16MiB: one segment is written while another can be dropped (log.max_bytes: f:3); make it 8MiB or less, or raise log.max_bytes`},
	{"partition above the log", "[log]\nmax_bytes = \"1GiB\"\nretention_bytes = \"2GiB\"", `f:3: log.retention_bytes is 2GiB, but log.max_bytes is 1GiB: one partition would be promised more than the log may take in all (log.max_bytes: f:2); make it 1GiB or less, or raise log.max_bytes`},
	{"segments older than the retention", "[log]\nretention = \"1h\"", `f:2: log.segment_age is 1d, but log.retention is 1h: records go in whole segments, so they would stay longer than promised; make it 1h or less`},
	{"delay below the linger", "[log]\nwrite_budget = \"2GB\"\n[commit]\nlinger = \"2s\"", `f:4: commit.max_delay is 1s, but commit.linger is 2s: commits wait that long already, so log.write_budget could do nothing; make it 2s or more`},
	{"budget of nothing", "[log]\nwrite_budget = 0", `f:2: log.write_budget is 0; the least is 1MiB, or "unlimited"`},
	{"endurance of a floppy disk", "[log]\ncard_endurance = \"1MB\"", `f:2: log.card_endurance is 1000000; the least is 1GB, or 0`},
	{"client above all clients", "[mqtt]\nmax_inflight_bytes = \"32MiB\"", `f:2: mqtt.max_inflight_bytes is 32MiB, but mqtt.max_total_inflight_bytes is 16MiB: one client would be promised more than all together; make it 16MiB or less, or raise mqtt.max_total_inflight_bytes`},
	{"promises above the memory", "[node]\nmemory_limit = \"96MiB\"", `f:2: node.memory_limit is 96MiB, but log.max_pending_bytes, kafka.max_inflight_bytes, mqtt.max_total_inflight_bytes, mqtt.max_total_outbound_bytes, mqtt.max_held_bytes, mqtt.max_retained_bytes together may take 128MiB; raise it, or lower them`},
	{"batch above all requests", "[kafka]\nmax_inflight_bytes = \"1MiB\"", `f:2: log.max_message_bytes is 1048588, but kafka.max_inflight_bytes is 1MiB: such a batch could not be held; make it 1MiB or less, or raise kafka.max_inflight_bytes`},

	{"route without a filter", "[[mqtt.route]]\ntopic = \"a\"", `f:1: mqtt.route[0].filter is missing; every route needs an MQTT topic filter`},
	{"route without a topic", "[[mqtt.route]]\nfilter = \"a\"", `f:1: mqtt.route[0].topic is missing; every route needs the topic of the log it leads to`},
	{"wildcard in the middle", "[[mqtt.route]]\nfilter = \"a/#/b\"\ntopic = \"a\"", `f:2: mqtt.route[0].filter is "a/#/b": # must be the whole last level`},
	{"wildcard in a level", "[[mqtt.route]]\nfilter = \"a/b+\"\ntopic = \"a\"", `f:2: mqtt.route[0].filter is "a/b+": + must be a whole level`},
	{"name in part of a level", "[[mqtt.route]]\nfilter = \"a/x{b}\"\ntopic = \"a\"", `f:2: mqtt.route[0].filter is "a/x{b}": "x{b}" must be a whole level like {device}, a name of letters, digits, - and _`},
	{"name twice", "[[mqtt.route]]\nfilter = \"{a}/{a}\"\ntopic = \"a\"", `f:2: mqtt.route[0].filter is "{a}/{a}": {a} stands twice`},
	{"whole topic as a level", "[[mqtt.route]]\nfilter = \"a/{topic}\"\ntopic = \"a\"", `f:2: mqtt.route[0].filter is "a/{topic}": {topic} is the whole MQTT topic, so it cannot name a level`},
	{"unknown name in a key", "[[mqtt.route]]\nfilter = \"a/{device}\"\ntopic = \"a\"\nkey = \"{devcie}\"", `f:4: mqtt.route[0].key is "{devcie}": {devcie} is no name in the filter, did you mean {device}?`},
	{"unknown name in a header", "[[mqtt.route]]\nfilter = \"a/{device}\"\ntopic = \"a\"\n[mqtt.route.headers]\nx = \"{y}\"", `f:5: mqtt.route[0].headers.x is "{y}": {y} is no name in the filter; known are {device}, {topic}`},
	{"unknown name in the default key", "[mqtt.defaults]\nkey = \"{device}\"", `f:2: mqtt.defaults.key is "{device}": {device} is no name in the filter; known are {topic}`},
	{"open brace", "[[mqtt.route]]\nfilter = \"a/{device}\"\ntopic = \"a{device\"", `f:3: mqtt.route[0].topic is "a{device": a brace has no partner`},
	{"whole MQTT topic as the log's", "[[mqtt.route]]\nfilter = \"#\"\ntopic = \"{topic}\"", `f:3: mqtt.route[0].topic is "{topic}": {topic} may hold a slash, which the name of a topic of the log may not`},
	{"route to an internal topic", "[[mqtt.route]]\nfilter = \"#\"\ntopic = \"__x\"", `f:3: mqtt.route[0].topic is "__x": names beginning with __ are internal`},
	{"route to no topic", "[[mqtt.route]]\nfilter = \"#\"\ntopic = \"a b\"", `f:3: mqtt.route[0].topic is "a b": use letters, digits, dot, dash, underscore and names of the filter only`},
	{"header of the server", "[[mqtt.route]]\nfilter = \"#\"\ntopic = \"a\"\nheaders = { \"mqtt.qos\" = \"1\" }", `f:4: mqtt.route[0].headers.mqtt.qos is a header that cannot be set; names beginning with mqtt. are set by the server`},
	{"internal default topic", "[mqtt.defaults]\ntopic = \"__consumer_offsets\"", `f:2: mqtt.defaults.topic is "__consumer_offsets", which is internal; names of your own do not begin with __`},
	{"route behind a wider one", "[[mqtt.route]]\nfilter = \"city/#\"\ntopic = \"a\"\n[[mqtt.route]]\nfilter = \"city/{device}/temp\"\ntopic = \"b\"",
		`f:5: mqtt.route[1].filter is "city/{device}/temp", which is never reached: mqtt.route[0] (f:2) matches all of it first; put the narrower route first`},

	{"broker without a port", "[upstream]\nbrokers = [\"centre\"]", `f:2: upstream.brokers[0] is "centre", which is no address; write it like "kafka.example:9092"`},
	{"broker twice", "[upstream]\nbrokers = [\"centre:1\", \"centre:1\"]", `f:2: upstream.brokers[1] names centre:1 again`},
	{"broker is the node itself", "[upstream]\nbrokers = [\"localhost:9092\"]", `f:2: upstream.brokers[0] is localhost:9092, where this node listens itself; name the brokers of the centre`},
	{"site with slashes", "[upstream]\nsite = \"a/b\"", `f:2: upstream.site is "a/b"; use letters, digits, dot, dash and underscore only`},
	{"template without the topic", "[upstream]\ntopic = \"{site}\"", `f:2: upstream.topic is "{site}", so all topics would become one; use {topic} in it, like "{site}.{topic}"`},
	{"unknown placeholder", "[upstream]\ntopic = \"{city}.{topic}\"", `f:2: upstream.topic is "{city}.{topic}"; the placeholders are {site} and {topic}`},
	{"template of no topic", "[upstream]\ntopic = \"{site}/{topic}\"", `f:2: upstream.topic is "{site}/{topic}", which makes no name for a topic; use letters, digits, dot, dash, underscore, {site} and {topic} only`},
	{"no pattern", "[upstream]\ntopics = [\"a[\"]", `f:2: upstream.topics[0] is "a[", which is no pattern; write a topic's name, or a pattern like "city-*"`},
	{"nothing to forward", "[upstream]\nbrokers = [\"centre:9092\"]\ntopics = []", `f:3: upstream.topics is empty, so nothing would be forwarded (upstream.brokers: f:2); write ["*"] to forward every topic, or take the brokers out`},
	{"certificate without TLS", "[upstream.tls]\nca_file = \"/ca.pem\"", `f:2: upstream.tls.ca_file is set, but upstream.tls.enabled is false; set it to true`},
	{"certificate without a key", "[upstream.tls]\nenabled = true\ncert_file = \"/c.pem\"", `f:3: upstream.tls.cert_file is set without key_file; a certificate needs its private key`},
	{"key without a certificate", "[upstream.tls]\nenabled = true\nkey_file = \"/c.pem\"", `f:3: upstream.tls.key_file is set without cert_file; a private key needs its certificate`},
	{"user without a mechanism", "[upstream.sasl]\nuser = \"u\"", `f:2: upstream.sasl.user is set without mechanism; write one of "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"`},
	{"unknown mechanism", "[upstream.sasl]\nmechanism = \"GSSAPI\"", `f:2: upstream.sasl.mechanism is "GSSAPI"; write one of "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"`},
	{"mechanism without a password", "[upstream.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"", `f:2: upstream.sasl.mechanism is PLAIN, which needs user and password_file`},
	{"no partitions upstream", "[upstream.create]\npartitions = 0", `f:2: upstream.create.partitions is 0; the least is 1, or -1`},
	{"deep nesting", "x = " + strings.Repeat("[", 1000), `f: line 1: keys, lists and tables nest deeper than 16`},
}

func TestBadFilesAreRefusedWithPlaceAndReason(t *testing.T) {
	for _, b := range bad {
		_, err := load("f", []byte(b.document), home, nil)
		switch {
		case err == nil:
			t.Errorf("%s: accepted, want %s", b.name, b.want)
		case err.Error() != b.want && b.name != "no TOML" || !strings.HasPrefix(err.Error(), b.want):
			t.Errorf("%s:\n got %s\nwant %s", b.name, err, b.want)
		case !errors.Is(err, ErrInvalid):
			t.Errorf("%s: the error is no ErrInvalid", b.name)
		}
	}
}

func TestBadVariablesAndFlagsAreRefusedByName(t *testing.T) {
	for variable, want := range map[string]string{
		"CULVERT_MQTT_LISEN=x":            "variable CULVERT_MQTT_LISEN: is no setting of culvert's; did you mean CULVERT_MQTT_LISTEN?",
		"CULVERT_XYZZY=1":                 "variable CULVERT_XYZZY: is no setting of culvert's",
		"CULVERT_NODE_ID=seven":           `variable CULVERT_NODE_ID: node.id is "seven", which is no whole number in range`,
		"CULVERT_HTTP_PPROF=yes":          `variable CULVERT_HTTP_PPROF: http.pprof is "yes"; write true or false`,
		"CULVERT_LOG_RETENTION=7":         `variable CULVERT_LOG_RETENTION: log.retention is wrong: duration "7" has no unit: write it like "7s", "7h" or "7d"`,
		"CULVERT_MQTT_ROUTE=a":            "variable CULVERT_MQTT_ROUTE: mqtt.route is too much for one line; write it into the configuration file",
		"CULVERT_MQTT_LISTEN=0.0.0.0:1":   `variable CULVERT_MQTT_LISTEN: mqtt.listen is "0.0.0.0:1", which other machines can reach, and nobody is asked for a password; write allow_anonymous = true into [mqtt] if that is meant, or listen on 127.0.0.1`,
		"CULVERT_KAFKA_MAX_CONNECTIONS=0": "variable CULVERT_KAFKA_MAX_CONNECTIONS: kafka.max_connections is 0; the least is 1",
	} {
		if _, err := load("", nil, []string{variable}, nil); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", variable, err, want)
		}
	}
	_, err := load("", nil, home, []Override{{Flag: "mqtt-listen", Key: "mqtt.listen", Value: "nowhere"}})
	want := `flag --mqtt-listen: mqtt.listen is "nowhere": it has no port, or more than one; write it like "127.0.0.1:9092"`
	if err == nil || err.Error() != want {
		t.Errorf("flag:\n got %v\nwant %s", err, want)
	}
}

func TestGoodFilesAreAccepted(t *testing.T) {
	for _, document := range []string{
		"[mqtt]\nlisten = \"localhost:1884\"", "[mqtt]\nlisten = \"[::1]:1883\"", "[mqtt]\nlisten = \"127.0.0.2:0\"",
		"[mqtt]\nlisten = \"0.0.0.0:1883\"\nallow_anonymous = true", "[mqtt]\nlisten = \"\"",
		"[log]\nsegment_bytes = \"1MiB\"\njournal_bytes = \"1MiB\"\nretention = \"unlimited\"",
		"[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"",
		"[kafka]\nlisten = \"127.0.0.1:9092\"\n[mqtt]\nlisten = \"127.0.0.2:9092\"",
		"[kafka]\nlisten=\"0.0.0.0:9092\"\nallow_anonymous=true\n[upstream]\nbrokers=[\"centre.example:9092\"]",
	} {
		if _, err := load("f", []byte(document), home, nil); err != nil {
			t.Errorf("%s: %v", document, err)
		}
	}
}
