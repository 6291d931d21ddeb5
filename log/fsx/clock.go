package fsx

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// BootID names one boot of the machine: a random UUID (RFC 9562) that the kernel makes when it starts. The zero value
// names none. Together with [BootTime] it orders what happened without trusting a clock that may jump: within one boot
// by the time since its start, and of two boots neither's times say anything about the other's.
type BootID [16]byte

const bootIDFile = "/proc/sys/kernel/random/boot_id"

// ErrBootID says that the kernel's boot id has no form that is known.
var ErrBootID = errors.New("boot id is no UUID")

// Boot returns the id of the present boot: proc_sys_kernel(5). Containers on one machine share it.
func Boot() (BootID, error) { return bootFrom(bootIDFile) }

func bootFrom(path string) (BootID, error) {
	const most = 64 // the text has 36 characters and a line end
	text, err := ReadFile(path, most)
	if err != nil {
		return BootID{}, err
	}
	id, err := ParseBootID(strings.TrimSpace(string(text)))
	if err != nil {
		return BootID{}, &os.PathError{Op: "parse", Path: path, Err: err}
	}
	return id, nil
}

// ParseBootID reads the form that [BootID.String] writes.
func ParseBootID(text string) (BootID, error) {
	var id BootID
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return BootID{}, ErrBootID
	}
	digits := strings.ReplaceAll(text, "-", "")
	if len(digits) != 2*len(id) {
		return BootID{}, ErrBootID
	}
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return BootID{}, fmt.Errorf("%w: %w", ErrBootID, err)
	}
	return id, nil
}

// IsZero reports whether b names no boot.
func (b BootID) IsZero() bool { return b == BootID{} }

// String returns the id as the kernel writes it: 32 hexadecimal digits in five groups.
func (b BootID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// BootTime returns the time since the machine started, in milliseconds, the time it slept included: CLOCK_BOOTTIME of
// clock_gettime(2). It only grows, whatever happens to the clock on the wall, and begins anew with every boot.
func BootTime() (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return ts.Nano() / 1e6, nil
}

// Synchronised reports whether something, such as an NTP client, has set the machine's clock and keeps it right:
// STA_UNSYNC of adjtimex(2) is clear. Asking needs no privilege, but a sandbox may forbid the call; then, as for any
// other error, nothing is known, and a caller had better not trust the clock.
//
// A kernel clears the flag when it is told to, and sets it when no correction has arrived until the error may be 16 s.
// Most virtual machines without an NTP client are never synchronised, although their clock is that of their host.
func Synchronised() (bool, error) {
	var tx unix.Timex // Modes 0: only read
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return false, os.NewSyscallError("adjtimex", err)
	}
	return synchronised(state, tx.Status), nil
}

// synchronised judges what adjtimex said. The state is TIME_ERROR for other reasons, too, such as a lost PPS signal.
func synchronised(state int, status int32) bool {
	return state >= unix.TIME_OK && status&unix.STA_UNSYNC == 0
}
