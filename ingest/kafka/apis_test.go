package kafka

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var update = flag.Bool("update", false, "write SUPPORT.md anew")

// unserved are the keys that are not served, and why. Those that are internal to Kafka's brokers and controllers are never
// shown to clients.
var unserved = map[string][]int16{
	"gone from Kafka itself":                      {4, 5, 6, 7},
	"group protocol, of which offsets are served": {11, 12, 13, 14, 15, 16, 42, 47, 68, 69},
	"authentication and authorization":            {17, 29, 30, 31, 36, 38, 39, 40, 41, 50, 51},
	"transactions":                                {24, 25, 26, 27, 28, 61, 65, 66},
	"administration of several nodes":             {34, 43, 45, 46, 55, 57, 64, 80, 81, 94},
	"quotas":                                      {48, 49},
	"telemetry of clients, list of resources":     {71, 72, 74},
	"share groups":                                {76, 77, 78, 79, 90, 91, 92},
	"streams groups":                              {88, 89, 93},
	"between Kafka's brokers and controllers":     {52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82, 83, 84, 85, 86, 87},
}

func TestEveryKeyOfTheProtocolIsServedOrListedAsNot(t *testing.T) {
	count := map[int16]int{}
	for i := range apis {
		count[apis[i].key]++
		if i > 0 && apis[i-1].key >= apis[i].key {
			t.Errorf("key %d is out of order", apis[i].key)
		}
	}
	for _, keys := range unserved {
		for _, k := range keys {
			count[k]++
		}
	}
	for k := range int16(kmsg.MaxKey + 1) {
		if count[k] != 1 {
			t.Errorf("%s (%d) is listed %d times, should be once", kmsg.NameForKey(k), k, count[k])
		}
		delete(count, k)
	}
	for k := range count {
		t.Errorf("key %d is not known to the library", k)
	}
}

// What librdkafka before 2.11 looks for, to the exact version, before it uses a feature.
func TestRangesContainTheVersionsThatLibrdkafkaAsksFor(t *testing.T) {
	for key, versions := range map[int16][]int16{
		0: {0, 3, 7}, 1: {4, 10}, 2: {1}, 8: {1, 2}, 9: {1}, 10: {0}, 18: {0}, 22: {0}, 23: {2},
	} {
		a := (&Server{apis: apis}).lookup(key)
		if a == nil {
			t.Errorf("key %d is not served", key)
			continue
		}
		for _, v := range versions {
			if !a.serves(v) {
				t.Errorf("%s %d is not served, %d to %d are", a.name(), v, a.min, a.max)
			}
		}
	}
}

func TestSupportMatrixIsUpToDate(t *testing.T) {
	var b strings.Builder
	b.WriteString("# What is served of the Kafka protocol\n\n" +
		"Generated from the table in `apis.go` by `go test ./ingest/kafka -run SupportMatrix -update`.\n\n" +
		"| key | API | versions | flexible from | an authorizer is asked for |\n|---|---|---|---|---|\n")
	for i := range apis {
		a := &apis[i]
		flexible := "-"
		if a.flexible <= a.max {
			flexible = fmt.Sprint(a.flexible)
		}
		versions := fmt.Sprintf("%d-%d", a.min, a.max)
		if a.min == a.max {
			versions = fmt.Sprint(a.min)
		}
		needs := a.needs
		if needs == "" {
			needs = "-"
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", a.key, a.name(), versions, flexible, needs)
	}
	b.WriteString("\nProduce 0 to 2, which carry message formats older than magic 2, are announced and answered with UNSUPPORTED_VERSION.\n" +
		"A key that is not in this table is not announced, and a request for it ends its connection.\n\n## Not served\n\n| what | keys |\n|---|---|\n")
	for _, what := range slices.Sorted(maps.Keys(unserved)) {
		var names []string
		for _, k := range unserved[what] {
			names = append(names, fmt.Sprintf("%s (%d)", kmsg.NameForKey(k), k))
		}
		fmt.Fprintf(&b, "| %s | %s |\n", what, strings.Join(names, ", "))
	}
	if *update {
		if err := os.WriteFile("SUPPORT.md", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("SUPPORT.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Error("SUPPORT.md is not what the table says; run the test with -update")
	}
}

func TestShapesAreThoseOfTheRequests(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range apis {
		a := &apis[i]
		if (a.shape == nil) != a.records {
			t.Errorf("%s: exactly what is not read as it arrives has a shape", a.name())
		}
		for v := a.min; v <= a.max && a.shape != nil; v++ {
			for range 50 {
				req := kmsg.RequestForKey(a.key)
				req.SetVersion(v)
				fillRandom(reflect.ValueOf(req).Elem(), rnd)
				req.SetVersion(v)
				body := req.AppendTo(nil)
				w := shapeWalk{rest: body, version: v, flexible: req.IsFlexible(), left: maxElements}
				w.fieldsOf(a.shape, true)
				if w.err != nil || len(w.rest) > 0 {
					t.Fatalf("%s %d: %v, %d bytes left of %x (%+v)", a.name(), v, w.err, len(w.rest), body, req)
				}
				for cut := range len(body) {
					if err := a.shape.check(body[:cut], v, req.IsFlexible()); err == nil {
						t.Fatalf("%s %d: passes with %d of %d bytes", a.name(), v, cut, len(body))
					}
				}
				if back := kmsg.RequestForKey(a.key); true {
					back.SetVersion(v)
					if err := back.ReadFrom(body); err != nil {
						t.Fatalf("%s %d: %v", a.name(), v, err)
					}
				}
			}
		}
	}
}

func TestShapeRefusesWhatTheDecoderWouldTrust(t *testing.T) {
	metadata := apis[3]
	if metadata.key != 3 {
		t.Fatal("the table has changed")
	}
	for name, c := range map[string]struct {
		version int16
		body    []byte
		want    error
	}{
		"array longer than the request":          {1, []byte{0x7f, 0xff, 0xff, 0xff}, errShape},
		"array of a negative length beyond null": {1, []byte{0x80, 0, 0, 0}, errShape},
		"array as long as the rest":              {1, append([]byte{0, 0, 0, 8}, make([]byte, 8)...), errShape},
		"compact array of 4 billion":             {9, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0}, errShape},
		"4 billion tags":                         {9, []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, errShape},
		"tag longer than the request":            {9, []byte{0, 0, 0, 0, 1, 9, 0xff, 0x7f}, errShape},
		"too many elements":                      {9, slices.Concat([]byte{0x81, 0x80, 0x08}, make([]byte, 1<<19)), errElements},
	} {
		if err := metadata.shape.check(c.body, c.version, c.version >= 9); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// Tagged fields inside a tagged field, which the decoder counts, too.
	fetch := apis[1]
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(15)
	req.ReplicaState.ID = 1
	body := req.AppendTo(nil)
	i := strings.LastIndex(string(body), string([]byte{1, 13})) // tag 1, 13 bytes
	bad := slices.Concat(body[:i], []byte{1, 17}, body[i+2:i+14], []byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	if err := fetch.shape.check(bad, 15, true); !errors.Is(err, errShape) {
		t.Errorf("tags in a tag: %v", err)
	}
}

// fillRandom sets the fields of a message, sometimes to nothing.
func fillRandom(v reflect.Value, rnd *rand.Rand) {
	switch v.Kind() {
	case reflect.Struct:
		if tags, ok := reflect.TypeAssert[*kmsg.Tags](v.Addr()); ok {
			for range rnd.IntN(4) / 3 {
				tags.Set(uint32(100+rnd.IntN(100)), make([]byte, rnd.IntN(5)))
			}
			return
		}
		if d, ok := reflect.TypeAssert[interface{ Default() }](v.Addr()); ok {
			d.Default()
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Version" {
				fillRandom(v.Field(i), rnd)
			}
		}
	case reflect.Slice:
		n := rnd.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fillRandom(v.Index(i), rnd)
		}
	case reflect.Array:
		for i := range v.Len() {
			fillRandom(v.Index(i), rnd)
		}
	case reflect.Pointer:
		if rnd.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fillRandom(v.Elem(), rnd)
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", rnd.IntN(200)))
	case reflect.Bool:
		v.SetBool(rnd.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(int64(rnd.Int32()) >> rnd.IntN(32))
	case reflect.Uint8:
		v.SetUint(uint64(rnd.IntN(256)))
	}
}
