package node_test

import (
	"go/ast"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/culvert-mq/culvert"

// A row is one line of the design's import table: what the package owns is in its doc.go, what it may
// import from this module is here. "log/*" stands for every package below log, "node" for the package
// alone. A package below a row's path belongs to the longest row that covers it.
//
// A package that is missing fails the test: decide its place first, then add the row here and in
// .golangci.yml.
var rows = map[string][]string{
	"cmd":            {"cmd/*", "node", "node/*"},
	"node":           {"node/*", "ingest/*", "sensors", "sensors/*", "sync/*", "log/*"},
	"node/config":    {},
	"node/admin":     {},
	"node/doctor":    {"log/fsx"},
	"node/flash":     {},
	"node/logtool":   {"log/*"},
	"node/soak":      {"node/soak/*"},
	"node/interop":   {"node/*"},
	"log/record":     {},
	"log/boltfile":   {},
	"log/store":      {"log/boltfile", "log/record", "log/fsx"},
	"log/compact":    {"log/store", "log/record"},
	"log/partition":  {"log/store", "log/record"},
	"log/fsx":        {},
	"log/powercut":   {"log/*"},
	"sync/meta":      {},
	"sync/quorum":    {"sync/meta", "log/boltfile", "log/fsx"},
	"sync/gossip":    {},
	"sync/isr":       {},
	"sync/replica":   {"sync/isr", "sync/meta", "log/*"},
	"sync/group":     {"sync/meta", "log/*"},
	"sync/upstream":  {"log/*"},
	"ingest/kafka":   {"sync/*", "log/*"},
	"ingest/mqtt":    {"ingest/route"},
	"ingest/bridge":  {"ingest/route"},
	"ingest/route":   {},
	"sensors":        {},
	"sensors/<chip>": {"sensors"},
	"cross":          {"node/soak/*"},
}

// Libraries that the design gives to one place: the prefix of their import path, and the rows whose
// code may know them. Tests may use any of them.
var libraries = map[string][]string{
	"go.etcd.io/bbolt":                   {"log/store", "sync/quorum"},
	"github.com/hashicorp/raft":          {"sync/quorum"},
	"github.com/hashicorp/serf":          {"sync/gossip"},
	"github.com/eclipse/paho.mqtt":       {"ingest/bridge", "cmd"},
	"github.com/spf13":                   {"cmd"},
	"github.com/BurntSushi/toml":         {"node/config", "cmd"},
	"github.com/twmb/franz-go/pkg/kgo":   {"sync/upstream", "cmd", "node/soak"},
	"github.com/twmb/franz-go/pkg/kadm":  {"sync/upstream", "cmd", "node/soak"},
	"github.com/twmb/franz-go/pkg/kmsg":  {"ingest/kafka", "sync/group", "sync/upstream", "cmd", "node/soak"},
	"periph.io":                          {"sensors", "sensors/<chip>"},
	"github.com/pierrec/lz4":             {"log/record"},
	"github.com/golang/snappy":           {"log/record"},
	"github.com/klauspost/compress":      {"log/record"},
	"github.com/hanwen/go-fuse":          {},
	"go.uber.org/goleak":                 {},
	"pgregory.net/rapid":                 {},
	"github.com/anishathalye/porcupine":  {},
	"github.com/stretchr/testify":        {},
	"github.com/prometheus/client_model": {},
}

// Pure packages take input and return state and effects. What they may not import is I/O and chance;
// what they may not call is the clock.
var (
	pure         = []string{"sync/meta", "sync/isr", "ingest/route", "node/flash"}
	impureImport = []string{"os", "io/fs", "net", "syscall", "log", "log/slog", "math/rand", "crypto/rand", "database", "golang.org/x/sys"}
	impureTime   = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
)

func TestImportsPointDownwards(t *testing.T) {
	for _, f := range sources(t) {
		own := rowOf(f.pkg())
		if own == "" {
			t.Errorf("%s: package %s has no row in the import table", f.path, f.pkg())
			continue
		}
		for _, imp := range f.imports() {
			if dep, ok := strings.CutPrefix(imp, module+"/"); ok && !mayImport(f.pkg(), dep) {
				t.Errorf("%s imports %s: %s may import %v of this module", f.path, dep, own, rows[own])
			}
		}
	}
}

func TestLibrariesStayInTheirPlace(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		for _, imp := range f.imports() {
			for lib, places := range libraries {
				if within(imp, lib) && !slices.Contains(places, rowOf(f.pkg())) {
					t.Errorf("%s imports %s, which belongs to %v", f.path, imp, places)
				}
			}
		}
	}
}

func TestPurePackagesHaveNoClockNoIOAndNoGoroutine(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || !slices.Contains(pure, rowOf(f.pkg())) {
			continue
		}
		for _, imp := range f.imports() {
			for _, no := range impureImport {
				if within(imp, no) {
					t.Errorf("%s imports %s", f.path, imp)
				}
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: starts a goroutine", f.at(n))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(impureTime, n.Sel.Name) {
					t.Errorf("%s: asks the clock: time.%s", f.at(n), n.Sel.Name)
				}
			}
			return true
		})
	}
}

// The linter shows the same table while one writes; two tables that differ would be none.
func TestLinterHoldsTheSameImportTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	got := depguardRules(string(text))
	for row, may := range rows {
		if strings.Contains(row, "<") {
			continue
		}
		want := slices.Sorted(func(yield func(string) bool) {
			if !yield(module + "/" + row) {
				return
			}
			for _, m := range may {
				if !yield(module + "/" + strings.TrimSuffix(m, "/*")) {
					return
				}
			}
		})
		// depguard looks a path up next to its neighbours: an entry below another hides that one.
		want = slices.CompactFunc(want, func(a, b string) bool { return within(a, b) || within(b, a) })
		have, ok := got[row]
		if !ok {
			t.Errorf(".golangci.yml has no depguard rule for %s", row)
			continue
		}
		slices.Sort(have)
		if !slices.Equal(have, want) {
			t.Errorf(".golangci.yml lets %s import %v, the table %v", row, have, want)
		}
	}
	for row := range maps.Keys(got) {
		if _, ok := rows[row]; !ok {
			t.Errorf(".golangci.yml has a depguard rule for %s, the table has no such row", row)
		}
	}
}

// depguardRules reads rule name -> allowed packages of this module from the regular layout that the
// section has in .golangci.yml: names at eight spaces, "allow: [a, b]" below them. A rule is named like
// its row with dashes for slashes.
func depguardRules(text string) map[string][]string {
	_, section, _ := strings.Cut(text, "\n    depguard:\n      rules:\n")
	rules := map[string][]string{}
	name := ""
	for line := range strings.Lines(section) {
		line = strings.TrimRight(line, "\n")
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "" || strings.HasPrefix(trimmed, "#"):
		case !strings.HasPrefix(line, "        "):
			return rules
		case !strings.HasPrefix(line, "         "):
			name = strings.ReplaceAll(strings.TrimSuffix(trimmed, ":"), "-", "/")
			rules[name] = nil
		case strings.HasPrefix(trimmed, "allow: ["):
			list := strings.TrimSuffix(strings.TrimPrefix(trimmed, "allow: ["), "]")
			for item := range strings.SplitSeq(list, ", ") {
				if strings.HasPrefix(item, module) {
					rules[name] = append(rules[name], item)
				}
			}
		}
	}
	return rules
}

// rowOf returns the row that covers pkg, "" when none does.
func rowOf(pkg string) string {
	if dir, chip := path.Split(pkg); dir == "sensors/" && chip != "" {
		return "sensors/<chip>"
	}
	for p := pkg; p != "."; p = path.Dir(p) {
		if _, ok := rows[p]; ok {
			return p
		}
	}
	return ""
}

// mayImport says whether pkg may import dep, both relative to the module. A package may import what
// lies below itself: its internals.
func mayImport(pkg, dep string) bool {
	own := rowOf(pkg)
	if dep == pkg || (own != "node" && within(dep, own)) {
		return true
	}
	return slices.ContainsFunc(rows[own], func(may string) bool {
		if below, ok := strings.CutSuffix(may, "/*"); ok {
			return within(dep, below) && dep != below
		}
		return dep == may
	})
}

// within says whether the import path p is prefix or lies below it.
func within(p, prefix string) bool {
	return p == prefix || strings.HasPrefix(p, prefix+"/") || strings.HasPrefix(p, prefix+".")
}

func TestTableRefusesTheForbiddenDirections(t *testing.T) {
	for _, c := range []struct {
		pkg, dep string
		ok       bool
	}{
		{"cmd/culvert", "node", true},
		{"cmd/culvert", "node/config", true},
		{"cmd/culvert", "log/store", false},
		{"node", "ingest/kafka", true},
		{"node", "cmd/culvert", false},
		{"node/admin", "node", false},
		{"log/store", "log/record", true},
		{"log/record", "log/store", false},
		{"log/partition", "log/fsx", false},
		{"sync/replica", "log/partition", true},
		{"sync/meta", "sync/quorum", false},
		{"sync/upstream", "sync/replica", false},
		{"log/store", "sync/meta", false},
		{"ingest/mqtt", "ingest/route", true},
		{"ingest/mqtt", "log/record", false},
		{"ingest/route", "sync/meta", false},
		{"ingest/kafka", "sync/group", true},
		{"ingest/kafka", "node", false},
		{"sensors/sps30", "sensors", true},
		{"sensors/sps30", "sensors/sds011", false},
		{"log/store/internal/page", "log/record", true},
		{"log/store", "log/store/internal/page", true},
	} {
		if got := mayImport(c.pkg, c.dep); got != c.ok {
			t.Errorf("%s -> %s: allowed %v, want %v", c.pkg, c.dep, got, c.ok)
		}
	}
}
