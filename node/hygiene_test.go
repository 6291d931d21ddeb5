package node_test

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The fixed top level, and what building and running may leave beside it (see .gitignore).
var (
	topLevel  = []string{"cmd", "node", "log", "ingest", "sync", "sensors", "deploy", "cross", "go.mod", "go.sum", "Makefile", "README.md", "LICENSE", "CHANGELOG.md"}
	leftovers = []string{"build", "culvert", "culvert-data"}
)

func TestTopLevelIsTheFixedOne(t *testing.T) {
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) && !slices.Contains(leftovers, name) {
			t.Errorf("%s stands at the top level, which is fixed: %v", name, topLevel)
		}
	}
}

func TestNamespacesHoldNoGoFiles(t *testing.T) {
	for _, dir := range []string{"log", "sync", "ingest"} {
		files, err := filepath.Glob(filepath.Join(root(t), dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			t.Errorf("%s/%s: %s/ is a namespace, its packages stand below it", dir, filepath.Base(f), dir)
		}
	}
}

func TestNoPackageShadowsTheStandardLibrary(t *testing.T) {
	for _, f := range sources(t) {
		if name := strings.TrimSuffix(f.ast.Name.Name, "_test"); slices.Contains([]string{"log", "sync", "errors", "context"}, name) {
			t.Errorf("%s: package %s", f.path, name)
		}
	}
}

func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		pkg := f.pkg()
		documented[pkg] = documented[pkg] || (f.ast.Doc != nil && (strings.HasSuffix(f.path, "/doc.go") || f.ast.Name.Name == "main"))
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("%s has no doc.go with a package comment", pkg)
		}
	}
}

// Nothing that comes from a network, a sensor, a file or a disk may panic. A panic that remains marks a
// bug of ours, and a comment beside it that has the word "bug" says which.
func TestLibrariesPanicOnlyOverTheirOwnBugs(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || within(f.path, "cmd") {
			continue
		}
		lines := strings.Split(string(f.text), "\n")
		inspectCalls(f, func(call *ast.CallExpr, _ string) {
			if id, ok := call.Fun.(*ast.Ident); !ok || id.Name != "panic" {
				return
			}
			at := f.fset.Position(call.Pos()).Line
			reason := lines[at-1]
			if at >= 2 && strings.HasPrefix(strings.TrimSpace(lines[at-2]), "//") {
				reason += lines[at-2]
			}
			if _, comment, _ := strings.Cut(reason, "//"); !strings.Contains(comment, "bug") {
				t.Errorf("%s: panic without a comment that names the bug it stands for", f.at(call))
			}
		})
	}
}

// A sleep in a test is a race with the machine it runs on. Three places may have one: a helper that polls,
// known by its name; a loop that does nothing else until its condition changes; and a bubble of
// testing/synctest, where time is not real.
var pollingHelper = regexp.MustCompile(`(?i)^(poll|eventually|wait|until|await|retry|pace|stays)`)

func TestTestsSleepOnlyInPollingHelpers(t *testing.T) {
	makers := bubbleMakers(sources(t))
	sleeps := 0
	for _, f := range sources(t) {
		if !f.test {
			continue
		}
		inspectCalls(f, func(call *ast.CallExpr, fn string) {
			if isCall(call, "time", "Sleep") && !pollingHelper.MatchString(fn) && !inPollingLoop(f, call) && !inBubble(f, call, makers[f.pkg()]) {
				sleeps++
				t.Errorf("%s: time.Sleep in %s, which is no polling helper", f.at(call), fn)
			}
		})
	}
	if sleeps > 0 {
		t.Errorf("%d sleeps outside polling helpers", sleeps)
	}
}

// atomic.AddInt64 and its kin need 64-bit alignment that 32-bit machines do not give; atomic.Int64 has it.
func TestNoRaw64BitAtomics(t *testing.T) {
	raw := regexp.MustCompile(`^(Add|And|Or|Load|Store|Swap|CompareAndSwap)(Int|Uint)64$`)
	for _, f := range sources(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && raw.MatchString(sel.Sel.Name) {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "atomic" {
					t.Errorf("%s: atomic.%s", f.at(n), sel.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestNothingRegistersItselfInInit(t *testing.T) {
	for _, f := range sources(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init", f.at(fn))
			}
		}
	}
}

func TestNoUnfinishedWorkIsMarked(t *testing.T) {
	mark := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b|(?i:not (yet )?implemented)`)
	for _, f := range sources(t) {
		if f.path == "node/hygiene_test.go" {
			continue
		}
		for i, line := range strings.Split(string(f.text), "\n") {
			if m := mark.FindString(line); m != "" {
				t.Errorf("%s:%d: %s", f.path, i+1, m)
			}
		}
	}
}

// Goroutines are joined by their owner's Close; goleak in TestMain is what notices the one that is not.
func TestPackagesThatStartGoroutinesLookForLeaks(t *testing.T) {
	starts, tests, checks := map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, f := range sources(t) {
		pkg := f.pkg()
		if f.test {
			tests[pkg] = true
			checks[pkg] = checks[pkg] || slices.Contains(f.imports(), "go.uber.org/goleak")
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok {
				starts[pkg] = f.at(n)
			}
			if call, ok := n.(*ast.CallExpr); ok {
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" && len(call.Args) == 1 {
					starts[pkg] = f.at(n)
				}
			}
			return true
		})
	}
	for pkg, at := range starts {
		if tests[pkg] && !checks[pkg] && !within(pkg, "cmd") && !within(pkg, "node/soak") {
			t.Errorf("%s starts a goroutine (%s), its tests do not use goleak", pkg, at)
		}
	}
}

// inspectCalls visits every call of f with the name of the declared function that holds it.
func inspectCalls(f *source, visit func(call *ast.CallExpr, fn string)) {
	for _, d := range f.ast.Decls {
		name := "a declaration"
		if fn, ok := d.(*ast.FuncDecl); ok {
			name = fn.Name.Name
		}
		ast.Inspect(d, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				visit(call, name)
			}
			return true
		})
	}
}

func isCall(call *ast.CallExpr, pkg, name string) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// bubbleMakers returns, per package, the functions of its tests that run an argument in a bubble: those
// that call synctest.Test.
func bubbleMakers(all []*source) map[string][]string {
	makers := map[string][]string{}
	for _, f := range all {
		inspectCalls(f, func(call *ast.CallExpr, fn string) {
			if f.test && isCall(call, "synctest", "Test") {
				makers[f.pkg()] = append(makers[f.pkg()], fn)
			}
		})
	}
	return makers
}

// inBubble says whether call stands in an argument of synctest.Test or of one of the makers.
func inBubble(f *source, call *ast.CallExpr, makers []string) bool {
	found := false
	ast.Inspect(f.ast, func(n ast.Node) bool {
		outer, ok := n.(*ast.CallExpr)
		if !ok || !contains(outer, call.Pos()) {
			return !found
		}
		id, ok := outer.Fun.(*ast.Ident)
		found = found || isCall(outer, "synctest", "Test") || (ok && slices.Contains(makers, id.Name))
		return !found
	})
	return found
}

// inPollingLoop says whether call is what a loop does between two looks at something: its post statement,
// or all of its body under a condition.
func inPollingLoop(f *source, call *ast.CallExpr) bool {
	found := false
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if loop, ok := n.(*ast.ForStmt); ok {
			alone := loop.Cond != nil && len(loop.Body.List) == 1
			found = found || (loop.Post != nil && contains(loop.Post, call.Pos())) || (alone && contains(loop.Body.List[0], call.Pos()))
		}
		return !found
	})
	return found
}

func contains(n ast.Node, p token.Pos) bool { return n.Pos() <= p && p < n.End() }
