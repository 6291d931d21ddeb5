package machine

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// kernelTree makes a directory like an unpacked kernel package.
func kernelTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put := func(path string) {
		path = filepath.Join(dir, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(filepath.Base(path)), 0o600))
	}
	put("boot/vmlinuz-6.1.0")
	for _, m := range modules {
		put("lib/modules/6.1.0/kernel/" + m + ".ko")
	}
	return dir
}

func TestKernelIsFoundWithItsModulesInOrder(t *testing.T) {
	dir := kernelTree(t)
	k, err := FindKernel(dir)
	must(t, err)
	if filepath.Base(k.Image) != "vmlinuz-6.1.0" || len(k.Modules) != len(modules) || filepath.Base(k.Modules[0]) != "virtio_ring.ko" {
		t.Errorf("%+v", k)
	}
	must(t, os.WriteFile(filepath.Join(dir, "boot/vmlinuz-6.2.0"), nil, 0o600))
	if _, err := FindKernel(dir); !errors.Is(err, ErrMissing) {
		t.Errorf("of two kernels: %v", err)
	}
	if _, err := FindKernel(t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("of none: %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, "boot/vmlinuz-6.2.0")))
	must(t, os.Remove(k.Modules[3]))
	if _, err := FindKernel(dir); !errors.Is(err, ErrMissing) {
		t.Errorf("without a module: %v", err)
	}
}

// The archive, read as the kernel reads it, has the files that were put in.
func TestInitramfsHoldsWhatTheMachineStartsWith(t *testing.T) {
	k, err := FindKernel(kernelTree(t))
	must(t, err)
	dir := t.TempDir()
	for _, name := range []string{"init", "culvert"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("program "+name), 0o600))
	}
	out := filepath.Join(dir, "out.cpio")
	must(t, WriteInitramfs(out, k, filepath.Join(dir, "init"), filepath.Join(dir, "culvert")))
	data, err := os.ReadFile(out)
	must(t, err)
	var names []string
	files := map[string]string{}
	for {
		if len(data) < 110 || string(data[:6]) != "070701" {
			t.Fatalf("no header: %.20q", data)
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(data[6+8*i:14+8*i]), 16, 32)
			must(t, err)
			return int(n)
		}
		mode, size, nameSize := field(1), field(6), field(11)
		name := string(data[110 : 110+nameSize-1])
		at := (110 + nameSize + 3) &^ 3
		if name == "TRAILER!!!" {
			break
		}
		if name == "dev/console" && (mode != modeDevice || field(9) != 5 || field(10) != 1) {
			t.Errorf("the console has mode %o, device %d:%d", mode, field(9), field(10))
		}
		if name == "init" && mode != modeFile {
			t.Errorf("init has mode %o", mode)
		}
		names, files[name] = append(names, name), string(data[at:at+size])
		data = data[(at+size+3)&^3:]
	}
	if files["init"] != "program init" || files["culvert"] != "program culvert" || files["modules/00-virtio_ring.ko"] != "virtio_ring.ko" {
		t.Errorf("%v holds %q", names, files)
	}
	if len(names) != 5+len(modules) || names[0] != "dev" {
		t.Errorf("%v", names)
	}
	if err := WriteInitramfs(out, k, filepath.Join(dir, "none"), filepath.Join(dir, "culvert")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without init: %v", err)
	}
}

func TestImageHasAFileSystemWithoutFaults(t *testing.T) {
	for _, name := range []string{"mkfs.ext4", "e2fsck"} {
		if _, err := FindTool(name); err != nil {
			t.Skip(err)
		}
	}
	path := filepath.Join(t.TempDir(), "disk.img")
	must(t, MakeImage(t.Context(), path, 64<<20))
	must(t, CheckImage(t.Context(), path))
	data, err := os.ReadFile(path)
	must(t, err)
	copy(data[4096:], bytes.Repeat([]byte{0xff}, 64<<10))
	must(t, os.WriteFile(path, data, 0o600))
	if err := CheckImage(t.Context(), path); err == nil {
		t.Error("a file system that was overwritten has no faults")
	}
	if _, err := FindTool("culvert-no-such-tool"); !errors.Is(err, ErrMissing) {
		t.Errorf("a tool that is nowhere: %v", err)
	}
}
