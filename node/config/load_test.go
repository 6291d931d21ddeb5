package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// home is an environment in which nothing but the home directory is set.
var home = []string{"HOME=/home/city"}

func TestWithoutAFileTheConfigurationIsTheDefault(t *testing.T) {
	c, err := Load("", home)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Resolve(home)
	c.origins = nil
	if !reflect.DeepEqual(c, want) {
		t.Errorf("Load without a file = %+v, want %+v", c, want)
	}
	if c.Node.Name == "" || c.Upstream.Site != c.Node.Name {
		t.Errorf("name %q, site %q: want the host's name for both", c.Node.Name, c.Upstream.Site)
	}
}

func TestTheDocumentedDefaultReadsBackAsTheDefault(t *testing.T) {
	var b bytes.Buffer
	if err := WriteDefault(&b); err != nil {
		t.Fatal(err)
	}
	c, problems := parse("default.toml", b.Bytes())
	if err := problems.err(); err != nil {
		t.Fatalf("%v\nin\n%s", err, b.String())
	}
	if changes := Default().Changes(c); len(changes) > 0 {
		t.Errorf("read back, the default differs: %+v", changes)
	}
	for _, key := range keys() {
		if origin := c.Origin(key); strings.HasPrefix(key, "mqtt.route.") != origin.IsDefault() {
			t.Errorf("%s is not in the default file, or should not be: %v", key, origin)
		}
	}
}

func TestEveryKeyIsExplained(t *testing.T) {
	docs := comments()
	var check func(typ reflect.Type)
	check = func(typ reflect.Type) {
		for _, f := range fieldsOf(typ) {
			name := typ.Name() + "." + typ.Field(f.index).Name
			switch {
			case isTable(f.typ) || isTables(f.typ):
				section := f.typ
				if isTables(f.typ) {
					section = f.typ.Elem()
				}
				if len(docs[section.Name()]) == 0 {
					t.Errorf("%s has no comment", section.Name())
				}
				check(section)
			case len(docs[name]) == 0:
				t.Errorf("%s has no comment", name)
			}
		}
	}
	check(reflect.TypeFor[Config]())
}

func TestTheExampleInTheDefaultFileIsValid(t *testing.T) {
	var b bytes.Buffer
	if err := WriteDefault(&b); err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(b.String(), "# [[mqtt.route]]\n")
	example, _, ended := strings.Cut(example, "\n\n")
	if !found || !ended {
		t.Fatal("no example of a route in the default file")
	}
	c, err := load("f", []byte("[[mqtt.route]]\n"+strings.ReplaceAll(example, "# ", "")), home, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Route{{Filter: "city/{district}/{device}/{measurement}", Topic: "telemetry", Key: "{device}",
		Headers: map[string]string{"district": "{district}", "measurement": "{measurement}"}}}
	if !reflect.DeepEqual(c.MQTT.Routes, want) {
		t.Errorf("routes = %+v, want %+v", c.MQTT.Routes, want)
	}
}

const full = `
[node]
id = 7
name = "cabinet-7"
data_dir = "/srv/culvert"
memory_limit = "200MiB"

[log]
max_bytes = 34359738368 # 32 GiB
retention = "90d"
retention_bytes = -1

[commit]
linger = "50ms"

[kafka]
listen = "0.0.0.0:9092"
advertise = "cabinet-7.example:9092"
allow_anonymous = true

[mqtt.defaults]
topic = ""

[[mqtt.route]]
filter = "city/{district}/#"
topic  = "telemetry"
headers = { district = "{district}", "content type" = "a \"quoted\" \\ line\tend" }

[[mqtt.route]]
filter = "zigbee2mqtt/{device}/#"
topic  = "zigbee"
key    = "{device}"

[upstream]
brokers = ["centre-1.example:9092", "centre-2.example:9092"]
exclude = [
	"debug-*", # noisy
	"scratch",
]
`

func TestAFileIsRead(t *testing.T) {
	c, err := load("culvert.toml", []byte(full), home, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct {
		key       string
		got, want any
	}{
		{"node.id", c.Node.ID, int32(7)},
		{"node.memory_limit", c.Node.MemoryLimit, AutoSize(200 * MiB)},
		{"log.max_bytes", c.Log.MaxBytes, 32 * GiB},
		{"log.retention", c.Log.Retention.Std(), 90 * 24 * time.Hour},
		{"log.retention_bytes", c.Log.RetentionBytes, Size(Unlimited)},
		{"commit.linger", c.Commit.Linger.Std(), 50 * time.Millisecond},
		{"kafka.allow_anonymous", c.Kafka.AllowAnonymous, true},
		{"mqtt.defaults.topic", c.MQTT.Defaults.Topic, ""},
		{"mqtt.defaults.key", c.MQTT.Defaults.Key, "{topic}"},
		{"mqtt.route[0].headers", c.MQTT.Routes[0].Headers["content type"], "a \"quoted\" \\ line\tend"},
		{"upstream.exclude", strings.Join(c.Upstream.Exclude, " "), "debug-* scratch"},
		{"upstream.site", c.Upstream.Site, "cabinet-7"},
	} {
		if check.got != check.want {
			t.Errorf("%s = %v, want %v", check.key, check.got, check.want)
		}
	}
	for key, line := range map[string]int{
		"node.id": 3, "log.max_bytes": 9, "mqtt.route": 24, "mqtt.route[0].topic": 26, "mqtt.route[1].key": 32,
		"mqtt.route[0].headers": 27, "upstream.exclude[1]": 36,
	} {
		if o := c.Origin(key); o.File != "culvert.toml" || o.Line != line && key != "upstream.exclude[1]" {
			t.Errorf("%s comes from %v, want line %d", key, o, line)
		}
	}
	if o := c.Origin("http.listen"); !o.IsDefault() {
		t.Errorf("http.listen comes from %v, want the default", o)
	}
}

func TestWhatIsShownReadsBackTheSame(t *testing.T) {
	c, err := load("culvert.toml", []byte(full), home, []Override{{Flag: "http-listen", Key: "http.listen", Value: ":0"},
		{Flag: "x", Key: "http.allow_anonymous", Value: "true"}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	again, err := load("shown.toml", b.Bytes(), nil, nil)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, b.String())
	}
	if changes := c.Changes(again); len(changes) > 0 {
		t.Errorf("read back, it differs: %+v", changes)
	}
	for _, want := range []string{`listen = ":0" # flag --http-listen`, `id = 7 # culvert.toml:3`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not shown in\n%s", want, b.String())
		}
	}
}

func TestTheEnvironmentOverridesTheFileAndFlagsOverrideBoth(t *testing.T) {
	env := append([]string{
		"CULVERT_NODE_ID=8", "CULVERT_NODE_NAME=from-env", "CULVERT_MQTT_DEFAULTS_TOPIC=raw", "CULVERT_HTTP_PPROF=true",
		"CULVERT_UPSTREAM_BROKERS=a.example:9092, b.example:9092", "CULVERT_COMMIT_LINGER=auto", "CULVERT_LOG_RETENTION=unlimited",
		"CULVERT_CONFIG=/x", "CULVERT_BROKER=x:1", "CULVERT_HTTP=x:1", "CULVERTX=1", "PATH=/bin",
		"CULVERT_SERVICE_HOST=10.0.0.1", "CULVERT_PORT=tcp://10.0.0.1:1883", "CULVERT_PORT_1883_TCP_ADDR=10.0.0.1",
		"CULVERT_INTEROP=require", "CULVERT_CROSS=require",
	}, home...)
	c, err := load("culvert.toml", []byte(full), env, []Override{{Flag: "name", Key: "node.name", Value: "from-flag"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Node.ID != 8 || c.Node.Name != "from-flag" || c.MQTT.Defaults.Topic != "raw" || !c.HTTP.Pprof ||
		!c.Commit.Linger.IsAuto() || c.Log.Retention != Unlimited {
		t.Errorf("node %+v, defaults %+v, http %+v", c.Node, c.MQTT.Defaults, c.HTTP)
	}
	if got := strings.Join(c.Upstream.Brokers, " "); got != "a.example:9092 b.example:9092" {
		t.Errorf("brokers = %q", got)
	}
	for key, want := range map[string]string{
		"node.id": "variable CULVERT_NODE_ID", "node.name": "flag --name", "node.data_dir": "culvert.toml:5",
		"http.listen": "default",
	} {
		if got := c.Origin(key).String(); got != want {
			t.Errorf("%s comes from %q, want %q", key, got, want)
		}
	}
}

func TestEveryKeyHasAVariableOfItsOwn(t *testing.T) {
	seen := map[string]string{VariableConfig: "", VariableBroker: "", VariableHTTP: ""}
	for _, key := range keys() {
		name := Variable(key)
		if other, ok := seen[name]; ok {
			t.Errorf("%s stands for %s and %s", name, key, other)
		}
		seen[name] = key
	}
}

func TestNoKeyHasAVariableOfTheContainerRuntime(t *testing.T) {
	for _, key := range keys() {
		if foreign(Variable(key)) {
			t.Errorf("%s would be ignored for %s", Variable(key), key)
		}
	}
}

func TestDataDirectoryFollowsTheRules(t *testing.T) {
	for _, c := range []struct {
		env  string
		uid  int
		want string
	}{
		{"STATE_DIRECTORY=/var/lib/a HOME=/home/x", 0, "/var/lib/a"},
		{"STATE_DIRECTORY=/var/lib/a:/var/lib/b", 1000, "/var/lib/a"},
		{"HOME=/root XDG_STATE_HOME=/s", 0, "/var/lib/culvert"},
		{"HOME=/home/x XDG_STATE_HOME=/s", 1000, "/s/culvert"},
		{"HOME=/home/x XDG_STATE_HOME=relative", 1000, "/home/x/.local/state/culvert"},
		{"HOME=/home/x", 1000, "/home/x/.local/state/culvert"},
		{"", 1000, "/var/lib/culvert"},
	} {
		if got := defaultDataDir(strings.Fields(c.env), c.uid); got != c.want {
			t.Errorf("%q as user %d: %s, want %s", c.env, c.uid, got, c.want)
		}
	}
}

func TestALargeFileIsRefusedBeforeItIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.toml")
	if err := os.WriteFile(path, bytes.Repeat([]byte("# x\n"), MaxFileBytes/4+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path, home)
	if want := path + ": is larger than 256KiB, so it is no configuration file"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := Load("/dev/zero", home); !errors.Is(err, ErrInvalid) {
		t.Errorf("an endless file: %v", err)
	}
}

func TestAMissingFileIsAnErrorOfReading(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"), home)
	if !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrInvalid) {
		t.Errorf("error %v", err)
	}
}
