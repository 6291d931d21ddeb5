package cross

import "debug/elf"

// A Target is a machine that culvert is built for. All are Linux, without cgo.
type Target struct {
	Name    string   // in file names: linux-armv7
	Env     []string // GOOS, GOARCH and the architecture's level, as the go command takes them
	Machine elf.Machine
	Class   elf.Class
	Qemu    string // user-mode emulator that runs the binary elsewhere; "" where none is needed
	Limit   int64  // largest size of the binary, bytes; 0 for none
}

// Targets returns the matrix. GOARM=6 is the Pi Zero and 1, GOARM=7 the Pi 2 and 32-bit systems on later
// ones; both are built because 7 has better atomics and floating point.
func Targets() []Target {
	return []Target{
		{"linux-arm64", []string{"GOOS=linux", "GOARCH=arm64", "GOARM64=v8.0"}, elf.EM_AARCH64, elf.ELFCLASS64, "qemu-aarch64-static", 20_000_000},
		{"linux-armv7", []string{"GOOS=linux", "GOARCH=arm", "GOARM=7"}, elf.EM_ARM, elf.ELFCLASS32, "qemu-arm-static", 0},
		{"linux-armv6", []string{"GOOS=linux", "GOARCH=arm", "GOARM=6"}, elf.EM_ARM, elf.ELFCLASS32, "qemu-arm-static", 0},
		{"linux-riscv64", []string{"GOOS=linux", "GOARCH=riscv64", "GORISCV64=rva20u64"}, elf.EM_RISCV, elf.ELFCLASS64, "qemu-riscv64-static", 0},
		{"linux-amd64", []string{"GOOS=linux", "GOARCH=amd64", "GOAMD64=v1"}, elf.EM_X86_64, elf.ELFCLASS64, "", 0},
	}
}
