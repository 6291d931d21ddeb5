package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// maxDepth is how deep keys, lists and inline tables may nest. The configuration needs four.
const maxDepth = 16

// locate returns the line, counted from 1, of every table, key and list element of a TOML document, by path: mqtt,
// mqtt.listen, mqtt.route[1].filter. The parser proper does not tell them, neither for unknown keys nor inside lists.
// It is lenient: of a document with a syntax error it returns something, and the parser proper reports the error. It
// does refuse what nests too deep, and is called first, because the parser recurses.
func locate(document []byte) (map[string]int, error) {
	l := locator{rest: document, line: 1, lines: map[string]int{}, elements: map[string]int{}}
	for {
		l.skipBlank(true)
		if len(l.rest) == 0 {
			return l.lines, nil
		}
		before := len(l.rest)
		var err error
		switch {
		case l.take("[["):
			err = l.header(true)
		case l.take("["):
			err = l.header(false)
		default:
			err = l.pair(l.table, 0)
		}
		if err != nil {
			return nil, err
		}
		if len(l.rest) == before { // nothing TOML knows: step over it
			l.advance(1)
		}
	}
}

type locator struct {
	rest     []byte
	line     int
	table    string         // path of the table that keys belong to
	lines    map[string]int // the result
	elements map[string]int // number of elements of each array of tables so far
}

func (l *locator) advance(n int) {
	l.line += bytes.Count(l.rest[:n], []byte("\n"))
	l.rest = l.rest[n:]
}

func (l *locator) take(prefix string) bool {
	if !bytes.HasPrefix(l.rest, []byte(prefix)) {
		return false
	}
	l.advance(len(prefix))
	return true
}

// skipBlank skips spaces and, if asked, comments and line ends.
func (l *locator) skipBlank(lines bool) {
	for len(l.rest) > 0 {
		switch c := l.rest[0]; {
		case c == ' ' || c == '\t':
			l.advance(1)
		case lines && (c == '\n' || c == '\r'):
			l.advance(1)
		case lines && c == '#':
			l.skipLine()
		default:
			return
		}
	}
}

func (l *locator) skipLine() {
	end := bytes.IndexByte(l.rest, '\n')
	if end < 0 {
		end = len(l.rest)
	}
	l.advance(end)
}

// note records path, and the tables it lies in, unless they are known.
func (l *locator) note(path string) {
	for {
		if _, ok := l.lines[path]; !ok {
			l.lines[path] = l.line
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut <= 0 {
			return
		}
		path = path[:cut]
	}
}

// header reads the rest of [table] or [[table]].
func (l *locator) header(array bool) error {
	parts, err := l.key()
	if err != nil {
		return err
	}
	path := ""
	for i, part := range parts {
		path = join(path, part)
		n := l.elements[path]
		if array && i == len(parts)-1 {
			n++
			l.elements[path] = n
		}
		if n > 0 {
			path += "[" + strconv.Itoa(n-1) + "]"
		}
	}
	if path != "" {
		l.note(path)
	}
	l.table = path
	l.skipLine()
	return nil
}

// pair reads key = value.
func (l *locator) pair(table string, depth int) error {
	parts, err := l.key()
	if err != nil || len(parts) == 0 {
		return err
	}
	path := table
	for _, part := range parts {
		path = join(path, part)
	}
	l.note(path)
	l.skipBlank(false)
	if !l.take("=") {
		return nil
	}
	return l.value(path, depth)
}

// key reads a dotted key.
func (l *locator) key() (parts []string, err error) {
	for {
		l.skipBlank(false)
		part, ok := l.keyPart()
		if !ok {
			return parts, nil
		}
		if len(parts) == maxDepth {
			return nil, l.tooDeep()
		}
		parts = append(parts, part)
		l.skipBlank(false)
		if !l.take(".") {
			return parts, nil
		}
	}
}

func (l *locator) tooDeep() error {
	return fmt.Errorf("line %d: keys, lists and tables nest deeper than %d", l.line, maxDepth)
}

func (l *locator) keyPart() (string, bool) {
	if len(l.rest) > 0 && (l.rest[0] == '"' || l.rest[0] == '\'') {
		text := l.quoted()
		if s, err := strconv.Unquote(text); err == nil && text[0] == '"' {
			return s, true
		}
		return strings.Trim(text, `"'`), true
	}
	n := 0
	for n < len(l.rest) && (isNameByte(l.rest[n]) && l.rest[n] != '.') {
		n++
	}
	part := string(l.rest[:n])
	l.advance(n)
	return part, n > 0
}

// quoted reads one string of any of the four kinds, with its quotes.
func (l *locator) quoted() string {
	quote, escapes, lines := l.rest[:1], l.rest[0] == '"', false
	if triple := bytes.Repeat(quote, 3); bytes.HasPrefix(l.rest, triple) {
		quote, lines = triple, true
	}
	n := len(quote)
	for n < len(l.rest) {
		switch {
		case escapes && l.rest[n] == '\\':
			n = min(n+2, len(l.rest))
			continue
		case l.rest[n] == '\n' && !lines:
		case bytes.HasPrefix(l.rest[n:], quote):
			n += len(quote)
			for lines && n < len(l.rest) && l.rest[n] == quote[0] { // quotes just before the closing three
				n++
			}
		default:
			n++
			continue
		}
		break
	}
	text := string(l.rest[:n])
	l.advance(n)
	return text
}

// value reads a value and records what lies in it.
func (l *locator) value(path string, depth int) error {
	if depth > maxDepth {
		return l.tooDeep()
	}
	l.skipBlank(false)
	if len(l.rest) == 0 {
		return nil
	}
	switch l.rest[0] {
	case '"', '\'':
		l.quoted()
	case '[':
		return l.list(path, depth)
	case '{':
		return l.inlineTable(path, depth)
	default:
		end := bytes.IndexAny(l.rest, ",]}#\n")
		if end < 0 {
			end = len(l.rest)
		}
		l.advance(end)
	}
	return nil
}

func (l *locator) list(path string, depth int) error {
	l.advance(1)
	for i := 0; ; i++ {
		l.skipBlank(true)
		if len(l.rest) == 0 || l.take("]") {
			return nil
		}
		before := len(l.rest)
		element := path + "[" + strconv.Itoa(i) + "]"
		l.note(element)
		if err := l.value(element, depth+1); err != nil {
			return err
		}
		l.skipBlank(true)
		l.take(",")
		if len(l.rest) == before {
			return nil
		}
	}
}

func (l *locator) inlineTable(path string, depth int) error {
	l.advance(1)
	for {
		l.skipBlank(true)
		if len(l.rest) == 0 || l.take("}") {
			return nil
		}
		before := len(l.rest)
		if err := l.pair(path, depth+1); err != nil {
			return err
		}
		l.skipBlank(true)
		l.take(",")
		if len(l.rest) == before {
			return nil
		}
	}
}

// maxPath is the length that paths are cut at, so that a hostile document cannot make them long and many.
const maxPath = 256

// join returns the path of key in table.
func join(table, key string) string {
	if table == "" {
		return key[:min(len(key), maxPath)]
	}
	if room := maxPath - len(table); len(key) > room {
		key = key[:max(room, 0)]
	}
	return table + "." + key
}
