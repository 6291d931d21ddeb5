package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestEveryKeyIsHonoured finds each key in the code that builds a node from the configuration: a key that nothing reads
// would be a promise to nobody.
func TestEveryKeyIsHonoured(t *testing.T) {
	used := map[string]bool{} // Section.Field, and Section alone where it is handed on whole
	for _, pattern := range []string{"../*.go", "../../cmd/culvert/*.go", "*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, files, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			// Within this package only the checks that are promises themselves count: who may listen where.
			noteSelectors(file, used, !strings.Contains(name, "/"))
		}
	}
	var check func(section string, typ reflect.Type)
	check = func(section string, typ reflect.Type) {
		for f := range typ.Fields() {
			if f.Tag.Get("toml") == "" {
				continue
			}
			path := strings.TrimPrefix(section+"."+f.Name, ".")
			switch {
			case isTable(f.Type) && !used["whole "+path]:
				check(f.Name, f.Type)
			case isTable(f.Type) || used[path]:
			default:
				t.Errorf("nothing reads %s", path)
			}
		}
	}
	check("", reflect.TypeFor[Config]())
}

// noteSelectors notes every a.Section.Field of a file, and every Section that is an argument of a conversion or call.
func noteSelectors(file *ast.File, used map[string]bool, onlyOpen bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if inner, ok := n.X.(*ast.SelectorExpr); ok && (!onlyOpen || n.Sel.Name == "AllowAnonymous" || n.Sel.Name == "MemoryLimit") {
				used[inner.Sel.Name+"."+n.Sel.Name] = true
			}
		case *ast.CallExpr:
			for _, arg := range n.Args {
				if s, ok := arg.(*ast.SelectorExpr); ok && !onlyOpen {
					if inner, ok := s.X.(*ast.SelectorExpr); ok {
						used["whole "+inner.Sel.Name+"."+s.Sel.Name] = true
					}
				}
			}
		}
		return true
	})
}
