package mqtt

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// statements are the normative statements of MQTT 3.1.1 as its appendix B numbers them: section, and how many it has.
// (The standard writes the fourth of 3.8.3 as MQTT-3-8.3-4.)
var statements = []struct {
	section string
	count   int
}{
	{"1.5.3", 3}, {"2.2.2", 2}, {"2.3.1", 7}, {"3.1.0", 2}, {"3.1.2", 24}, {"3.1.3", 11}, {"3.1.4", 5}, {"3.2.0", 1},
	{"3.2.2", 6}, {"3.3.1", 12}, {"3.3.2", 3}, {"3.3.4", 1}, {"3.3.5", 2}, {"3.6.1", 1}, {"3.8.1", 1}, {"3.8.3", 3}, {"3.8.4", 6},
	{"3.9.3", 2}, {"3.10.1", 1}, {"3.10.3", 2}, {"3.10.4", 6}, {"3.12.4", 1}, {"3.14.1", 1}, {"3.14.4", 3}, {"4.1.0", 2},
	{"4.3.1", 1}, {"4.3.2", 2}, {"4.3.3", 2}, {"4.4.0", 1}, {"4.5.0", 2}, {"4.6.0", 6}, {"4.7.1", 3}, {"4.7.2", 1}, {"4.7.3", 4},
	{"4.8.0", 2}, {"6.0.0", 4}, {"7.0.0", 2}, {"7.1.1", 1}, {"7.1.2", 1},
}

func TestEveryStatementHasATestOrAReason(t *testing.T) {
	tested := namedByTests(t)
	support, err := os.ReadFile("SUPPORT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(support), "## Statements without a test")
	table, _, _ = strings.Cut(table, "## Choices")
	excused := map[string]bool{}
	for _, s := range statement.FindAllString(table, -1) {
		if excused[s] {
			t.Errorf("%s stands twice in SUPPORT.md", s)
		}
		excused[s] = true
	}
	all := map[string]bool{"MQTT-3-8.3-4": true}
	for _, s := range statements {
		for i := range s.count {
			all["MQTT-"+s.section+"-"+strconv.Itoa(i+1)] = true
		}
	}
	for s := range all {
		switch {
		case !tested[s] && !excused[s]:
			t.Errorf("%s is named neither by a test nor in SUPPORT.md", s)
		case tested[s] && excused[s]:
			t.Errorf("%s is tested, and SUPPORT.md says that it is not", s)
		}
	}
	for s := range tested {
		if !all[s] {
			t.Errorf("a test names %s, which the standard does not have", s)
		}
	}
	for s := range excused {
		if !all[s] {
			t.Errorf("SUPPORT.md names %s, which the standard does not have", s)
		}
	}
}

// The errors that clients' mistakes cause name statements, too.
func TestErrorsNameStatementsOfTheStandard(t *testing.T) {
	all := map[string]bool{"MQTT-3-8.3-4": true}
	for _, s := range statements {
		for i := range s.count {
			all["MQTT-"+s.section+"-"+strconv.Itoa(i+1)] = true
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range statement.FindAllString(string(src), -1) {
			if !all[s] {
				t.Errorf("%s names %s, which the standard does not have", name, s)
			}
		}
	}
}

var statement = regexp.MustCompile(`MQTT-[0-9][.-][0-9]+\.[0-9]+-[0-9]+`)

// namedByTests returns the statements that test functions name in their text, or the table of malformed packets.
func namedByTests(t *testing.T) map[string]bool {
	named := map[string]bool{}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			from, to := d.Pos(), d.End()
			switch d := d.(type) {
			case *ast.FuncDecl:
				if !strings.HasPrefix(d.Name.Name, "Test") || name == "statements_test.go" {
					continue
				}
			case *ast.GenDecl:
				if name != "malformed_test.go" {
					continue
				}
				if d.Doc != nil {
					from = d.Doc.Pos()
				}
			}
			for _, s := range statement.FindAllString(string(src[fset.Position(from).Offset:fset.Position(to).Offset]), -1) {
				named[s] = true
			}
		}
	}
	return named
}
