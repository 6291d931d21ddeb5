//go:build cross

package cross

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-mq/culvert/node/soak/rig"
)

var version = flag.String("version", "dev", "version written into the binaries")

func rootDir(t *testing.T) string {
	t.Helper()
	dir, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// built is where the binaries stay: build/cross/culvert-linux-arm64 and so on.
func built(t *testing.T, target Target) string {
	t.Helper()
	return filepath.Join(rootDir(t), "build", "cross", "culvert-"+target.Name)
}

func TestBinariesAreStaticStrippedAndSmall(t *testing.T) {
	for _, target := range Targets() {
		t.Run(target.Name, func(t *testing.T) {
			out := built(t, target)
			if err := rig.Build(t.Context(), rootDir(t), out, *version, target.Env...); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(out)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes", info.Size())
			if target.Limit > 0 && info.Size() > target.Limit {
				t.Errorf("%d bytes, the limit is %d", info.Size(), target.Limit)
			}
			checkELF(t, out, target)
			checkTraceless(t, out)
		})
	}
}

// checkELF wants the target's machine, no dynamic linking and no symbols.
func checkELF(t *testing.T, path string, target Target) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine != target.Machine || f.Class != target.Class {
		t.Errorf("built for %v %v, not %v %v", f.Machine, f.Class, target.Machine, target.Class)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("has a %v segment: not static", p.Type)
		}
	}
	for _, s := range f.Sections {
		if s.Name == ".symtab" || strings.HasPrefix(s.Name, ".debug_") || strings.HasPrefix(s.Name, ".zdebug_") {
			t.Errorf("has a section %s: not stripped", s.Name)
		}
	}
}

// checkTraceless wants no path of the machine that built it.
func checkTraceless(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{rootDir(t), goEnv(t, "GOMODCACHE"), goEnv(t, "GOROOT")} {
		if bytes.Contains(data, []byte(dir+"/")) {
			t.Errorf("has the path %s", dir)
		}
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// The same sources give the same bytes: from another directory, and for one target from an empty build
// cache, so that it is the compiler that answers and not what it said before.
func TestBinariesAreReproducible(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "a", "copy of the tree")
	copyTree(t, rootDir(t), elsewhere)
	for i, target := range Targets() {
		t.Run(target.Name, func(t *testing.T) {
			first, again := built(t, target), filepath.Join(t.TempDir(), "culvert")
			if err := rig.Build(t.Context(), rootDir(t), first, *version, target.Env...); err != nil {
				t.Fatal(err)
			}
			env := target.Env
			if i == 0 {
				env = append(append([]string{}, env...), "GOCACHE="+t.TempDir())
			}
			if err := rig.Build(t.Context(), elsewhere, again, *version, env...); err != nil {
				t.Fatal(err)
			}
			if a, b := sum(t, first), sum(t, again); a != b {
				t.Errorf("two builds of the same sources differ: %x and %x", a, b)
			} else {
				t.Logf("sha256 %x", a)
			}
		})
	}
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// copyTree copies the sources, not the repository's state and not what was built.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && rel != "." && (strings.HasPrefix(d.Name(), ".") || rel == "build" || rel == "culvert-data"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Tests are compiled too: vet type-checks every file of every package under each machine's sizes.
func TestEveryPackageAndTestCompiles(t *testing.T) {
	for _, target := range Targets() {
		t.Run(target.Name, func(t *testing.T) {
			// -trimpath as for the binaries: what was compiled for them is not compiled again.
			for _, args := range [][]string{{"build", "-trimpath", "./..."}, {"vet", "-trimpath", "-tags", "cross,soak,interop", "./..."}} {
				cmd := exec.CommandContext(t.Context(), "go", args...)
				cmd.Dir = rootDir(t)
				cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), target.Env...)
				if text, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, text)
				}
			}
		})
	}
}
