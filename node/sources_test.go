package node_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A source is one parsed .go file of the tree, whatever its build tags.
type source struct {
	path string // slash separated, relative to the module's root
	test bool
	ast  *ast.File
	fset *token.FileSet
	text []byte
}

// pkg is the directory of the file, relative to the module's root.
func (s *source) pkg() string { return path.Dir(s.path) }

// at is the position of n as the compiler would print it.
func (s *source) at(n ast.Node) string {
	p := s.fset.Position(n.Pos())
	return s.path + ":" + strconv.Itoa(p.Line)
}

func (s *source) imports() []string {
	var list []string
	for _, spec := range s.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// root is the directory of go.mod; a test runs in its package's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

var parsed = struct {
	once sync.Once
	list []*source
	err  error
}{}

// sources parses every .go file of the tree once per test binary.
func sources(t *testing.T) []*source {
	t.Helper()
	dir := root(t)
	parsed.once.Do(func() { parsed.list, parsed.err = parseTree(dir) })
	if parsed.err != nil {
		t.Fatal(parsed.err)
	}
	return parsed.list
}

func parseTree(dir string) ([]*source, error) {
	var list []*source
	fset := token.NewFileSet()
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || p == "build") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(p)))
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		list = append(list, &source{path: p, test: strings.HasSuffix(name, "_test.go"), ast: file, fset: fset, text: text})
		return nil
	})
	return list, err
}
