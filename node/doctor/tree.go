package doctor

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tree is the directory below which the kernel's file systems are found: "/", or one that a test has made.
type tree string

// maxText bounds what is read of a file: all that the kernel writes on demand is smaller.
const maxText = 1 << 20

func (t tree) path(name string) string { return filepath.Join(string(t), name) }

// read returns the beginning of a file, and whether it could be read.
func (t tree) read(name string) (string, bool) {
	f, err := os.Open(t.path(name))
	if err != nil {
		return "", false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxText))
	return string(data), err == nil
}

// text returns the content of a file without what surrounds it, printable; "" if there is none.
func (t tree) text(name string) string {
	data, _ := t.read(name)
	return printable(strings.Trim(data, " \t\r\n\x00"))
}

// number returns the decimal number in a file, or false.
func (t tree) number(name string) (int64, bool) {
	n, err := strconv.ParseInt(t.text(name), 10, 64)
	return n, err == nil
}

// names returns the names in a directory, sorted; none if there is no such directory.
func (t tree) names(name string) []string {
	entries, err := os.ReadDir(t.path(name))
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

func (t tree) exists(name string) bool {
	_, err := os.Stat(t.path(name))
	return err == nil
}

// resolve follows the symbolic links of a name, and returns where it ends, below t; "" if it ends nowhere or outside.
func (t tree) resolve(name string) string {
	end, err := filepath.EvalSymlinks(t.path(name))
	if err != nil {
		return ""
	}
	root, err := filepath.EvalSymlinks(string(t))
	if err != nil {
		return ""
	}
	inside, err := filepath.Rel(root, end)
	if err != nil || !filepath.IsLocal(inside) {
		return ""
	}
	return inside
}

// printable makes what a device or a file calls itself safe for a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
