//go:build interop

package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// python returns an interpreter that has a client library: Debian's when it is installed and the one that is asked for,
// else that of a virtual environment in the cache.
func python(t *testing.T, requirement string) string {
	t.Helper()
	if requirement == "kafka-python==2.0.2" {
		const debian = "/usr/bin/python3" // with the package python3-kafka
		out, err := exec.CommandContext(t.Context(), debian, "-c", "import kafka; print(kafka.__version__)").Output()
		if err == nil && strings.TrimSpace(string(out)) == "2.0.2" {
			return debian
		}
	}
	// kafka-python 2.0.2 cannot be imported by Python 3.12 and later.
	var base string
	for _, name := range []string{"python3.11", "python3"} {
		if path, err := exec.LookPath(name); err == nil {
			if exec.CommandContext(t.Context(), path, "-c", "import venv, ensurepip").Run() == nil {
				base = path
				break
			}
		}
	}
	if base == "" {
		missing(t, "Python 3 with venv", errors.New("neither python3.11 nor python3 has it"))
	}
	dir, err := cached("venv-"+strings.ReplaceAll(requirement, "==", "-"), func(dir string) error {
		if err := command(base, "-m", "venv", dir); err != nil {
			return err
		}
		// With what kafka-python needs for compression; confluent-kafka brings its own.
		return command(filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check",
			requirement, "lz4==4.4.4", "zstandard==0.23.0", "python-snappy==0.7.3")
	})
	if err != nil {
		missing(t, requirement, err)
	}
	return filepath.Join(dir, "bin", "python")
}

// script runs a Python script of testdata and decodes the JSON object that it prints.
func script(t *testing.T, interpreter, name string, into any, args ...string) {
	t.Helper()
	out := tool{path: interpreter, args: append([]string{filepath.Join("testdata", name)}, args...)}.run(t)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// What kafka_python.py tells.
type kafkaPython struct {
	Version   string            `json:"version"`
	Partition int               `json:"partitions"`
	Values    []string          `json:"values"`
	Keys      []string          `json:"keys"`
	Headers   [][2]string       `json:"headers"`
	Stamp     int64             `json:"timestamp"`
	End       int64             `json:"end"`
	Begin     int64             `json:"begin"`
	ForTime   int64             `json:"for_time"`
	Committed map[string]int64  `json:"committed"`
	Metadata  map[string]string `json:"metadata"`
	Again     []string          `json:"again"`
	Codecs    map[string]int    `json:"codecs"`
}

func TestKafkaPythonProducesConsumesAndCommits(t *testing.T) {
	for _, requirement := range []string{"kafka-python==2.0.2", "kafka-python==3.0.12"} {
		t.Run(requirement, func(t *testing.T) {
			interpreter := python(t, requirement)
			name := topic(t)
			var got kafkaPython
			script(t, interpreter, "kafka_python.py", &got, native(t), name)
			if got.Version != strings.TrimPrefix(requirement, "kafka-python==") {
				t.Errorf("version %s", got.Version)
			}
			var want []string
			for i := range 100 {
				want = append(want, fmt.Sprintf("value-%d", i))
			}
			if fmt.Sprint(got.Values) != fmt.Sprint(want) {
				t.Errorf("values %v", got.Values)
			}
			if len(got.Keys) != 100 || got.Keys[0] != "key-0" || got.Keys[9] != "key-9" || got.Keys[10] != "key-0" {
				t.Errorf("keys %v", got.Keys)
			}
			if fmt.Sprint(got.Headers) != "[[unit Cel] [empty ]]" {
				t.Errorf("headers %v", got.Headers)
			}
			if got.Stamp != 1_700_000_000_007 || got.Begin != 0 || got.End != 100 || got.ForTime != 50 {
				t.Errorf("timestamp %d, begin %d, end %d, offset for the time %d", got.Stamp, got.Begin, got.End, got.ForTime)
			}
			if got.Committed["0"] != 42 || got.Metadata["0"] != "half way" {
				t.Errorf("committed %v with %v", got.Committed, got.Metadata)
			}
			if len(got.Again) != 58 || got.Again[0] != "value-42" {
				t.Errorf("from the committed offset %v", got.Again)
			}
			for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
				if got.Codecs[codec] != 200 {
					t.Errorf("%d of 200 records came back with %s", got.Codecs[codec], codec)
				}
			}
		})
	}
}

// What confluent.py tells.
type confluent struct {
	Version   string            `json:"version"`
	Delivered int               `json:"delivered"`
	Errors    []string          `json:"errors"`
	Values    map[string][]int  `json:"values"`
	Headers   []json.RawMessage `json:"headers"`
	Committed int64             `json:"committed"`
	Config    map[string]string `json:"config"`
	Watermark [2]int64          `json:"watermark"`
	Deleted   bool              `json:"deleted"`
}

func TestConfluentKafkaProducesIdempotently(t *testing.T) {
	interpreter := python(t, "confluent-kafka==2.16.1")
	var got confluent
	script(t, interpreter, "confluent.py", &got, native(t), topic(t))
	if got.Delivered != 5000 || len(got.Errors) != 0 {
		t.Errorf("%d delivered, errors %v", got.Delivered, got.Errors)
	}
	total := 0
	for key, values := range got.Values {
		for i, v := range values {
			if v != i {
				t.Fatalf("%s: value %d is %d", key, i, v)
			}
		}
		total += len(values)
	}
	if total != 5000 || len(got.Values) != 10 {
		t.Errorf("%d values of %d keys came back", total, len(got.Values))
	}
	if len(got.Headers) != 2 || string(got.Headers[0]) != `["unit", "Cel"]` || string(got.Headers[1]) != `["none", null]` {
		t.Errorf("headers %s", got.Headers)
	}
	if got.Committed != 17 || got.Config["retention.ms"] != "3600000" || got.Watermark[1] == 0 || !got.Deleted {
		t.Errorf("%+v", got)
	}
}
