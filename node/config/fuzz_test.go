package config

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// FuzzLoad holds that no document makes loading panic or hang, that what is refused is refused as content, and that
// what is accepted is valid, can be shown, and reads back the same.
func FuzzLoad(f *testing.F) {
	for _, b := range bad {
		f.Add([]byte(b.document))
	}
	var b bytes.Buffer
	if err := WriteDefault(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(full))
	f.Add([]byte("a = '''\n''''' # '\n[b.'c d'.\"e\\u0041\"]\nx = {y = [1, {z = 2}]}\n"))
	f.Add([]byte("\ufeffnode = { id = 1,\n name = \"a\" }\r\n[[mqtt . route]]\n[mqtt.route.headers]\n"))
	f.Add([]byte("[mqtt.route.x]\n[[mqtt]]\n[[a.b]]\n[[a.b.c]]\n[a.b.c.d]\nk=\"\"\"\\\"\"\"\"\n"))
	f.Fuzz(func(t *testing.T, document []byte) {
		c, err := load("f", document, home, nil)
		if err != nil {
			var ps Problems
			if !errors.Is(err, ErrInvalid) || !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted, and then: %v", err)
		}
		var b bytes.Buffer
		if err := c.Write(&b); err != nil {
			t.Fatal(err)
		}
		again, err := load("f", b.Bytes(), nil, nil)
		if err != nil {
			t.Fatalf("shown as\n%s\nand then: %v", b.String(), err)
		}
		if changes := c.Changes(again); len(changes) > 0 {
			t.Fatalf("read back, it differs: %+v", changes)
		}
	})
}

// FuzzLocate holds that every key the parser proper finds has a line.
func FuzzLocate(f *testing.F) {
	for _, b := range bad {
		f.Add([]byte(b.document))
	}
	f.Add([]byte(full))
	f.Fuzz(func(t *testing.T, document []byte) {
		lines, err := locate(document)
		if err != nil {
			return
		}
		total := bytes.Count(document, []byte("\n")) + 1
		for path, line := range lines {
			if line < 1 || line > total {
				t.Fatalf("%q is on line %d of %d", path, line, total)
			}
		}
		var tables map[string]any
		if bytes.ContainsRune(document, '\\') { // escaped keys are found only where Go's escapes are TOML's
			return
		}
		if _, err := toml.Decode(string(document), &tables); err != nil {
			return
		}
		var check func(path string, value any)
		check = func(path string, value any) {
			if _, ok := lines[path]; !ok && path != "" {
				t.Fatalf("%q has no line in %q", path, document)
			}
			switch v := value.(type) {
			case map[string]any:
				for name, e := range v {
					check(join(path, name), e)
				}
			case []map[string]any:
				for i, e := range v {
					check(path+"["+strconv.Itoa(i)+"]", e)
				}
			case []any:
				for i, e := range v {
					check(path+"["+strconv.Itoa(i)+"]", e)
				}
			}
		}
		check("", tables)
	})
}

func TestLinesAreFoundWhereverAKeyMayStand(t *testing.T) {
	const document = `# a comment with [brackets] and "quotes"
top = 1
a.b = '''
[not.a.table]
x = 1
'''                           # line 6
c = """\
  \""" [no] """             # line 8
[d]                           # with a comment
e = [ 1, # [
  { f = "}" }, [ 3 ],         # line 11
]
"g.h" = 'x' # = 5
[d.i]
[[l]]
m = { n.o = 1, p = [ "q" ] }
[[l]]
[l.r]
s=2026-01-01T00:00:00Z
[[ l . t ]]
u = """""five quotes at the end"""""
v = 22`
	lines, err := locate([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"top": 2, "a": 3, "a.b": 3, "c": 7, "d": 9, "d.e": 10, "d.e[0]": 10, "d.e[1]": 11, "d.e[1].f": 11, "d.e[2]": 11,
		"d.g.h": 13, "d.i": 14, "l": 15, "l[0]": 15, "l[0].m": 16, "l[0].m.n.o": 16, "l[0].m.p[0]": 16, "l[1]": 17, "l[1].r": 18,
		"l[1].r.s": 19, "l[1].t": 20, "l[1].t[0].u": 21, "l[1].t[0].v": 22,
	} {
		if lines[path] != want {
			t.Errorf("%s is found on line %d, stands on line %d", path, lines[path], want)
		}
	}
	for _, path := range []string{"not", "no", "x", "f"} {
		if line, ok := lines[path]; ok {
			t.Errorf("%s is found on line %d, and is not there", path, line)
		}
	}
}

func TestAHostileFileCostsLittle(t *testing.T) {
	long := strings.Repeat("k", MaxFileBytes/2)
	for name, document := range map[string]string{
		"long key with many elements": long + " = [" + strings.Repeat("1,", MaxFileBytes/5) + "]",
		"many parts":                  strings.Repeat("a.", MaxFileBytes/3) + "a = 1",
		"many tables":                 strings.Repeat("[[mqtt.route]]\n", MaxFileBytes/16),
		"deep lists":                  "a = " + strings.Repeat("[", MaxFileBytes/2),
		"deep tables":                 "a = " + strings.Repeat("{a=", MaxFileBytes/4),
		"open string":                 "a = \"\"\"" + strings.Repeat("x", MaxFileBytes/2),
	} {
		if _, err := load("f", []byte(document), home, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		} else if len(err.Error()) > 16<<10 {
			t.Errorf("%s: a message of %d bytes", name, len(err.Error()))
		}
	}
}
