package doctor

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// checkPorts tries every address that the node would listen on.
func (e *exam) checkPorts(ctx context.Context) []Finding {
	var all []Finding
	for _, l := range e.opt.Listen {
		if l.Address != "" {
			all = append(all, e.checkPort(ctx, l))
		}
	}
	return all
}

func (e *exam) checkPort(ctx context.Context, l Listener) Finding {
	f := Finding{Check: l.Protocol, Measured: printable(l.Address) + " is free", Means: "The node can listen there.", Values: map[string]any{"address": l.Address}}
	err := e.listen(ctx, l.Address)
	switch {
	case err == nil:
		return f
	case errors.Is(err, syscall.EADDRINUSE):
		f.Level, f.Measured = Fail, printable(l.Address)+" is taken"
		f.Means = "The node would not start."
		f.Do = "Find who has it with `ss -ltnp` as root; end that program or change " + l.Protocol + ".listen."
		pid, uid, known := e.portOwner(l.Address)
		if !known {
			break
		}
		f.Values["uid"] = uid
		if pid == 0 {
			f.Measured += fmt.Sprintf(" by a process of user %d", uid)
			if e.held != nobody {
				f.Level, f.Do = Note, "`ss -ltnp` as root tells."
				f.Means = "That may be the node that runs on the data directory; if it is not, the node would not start."
			}
			break
		}
		f.Values["pid"] = pid
		f.Measured += fmt.Sprintf(" by process %d%s", pid, e.nameOf(pid))
		f.Do = "End that program, or change " + l.Protocol + ".listen."
		if pid == e.held {
			f.Level, f.Means, f.Do = OK, "That is the node that runs on the data directory.", ""
		}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.Level, f.Measured = Fail, printable(l.Address)+": no such address here"
		f.Means = "No interface of this machine has that address, so the node would not start."
		f.Do = "See `ip address`. If a network brings it later, start the node after network-online.target."
	case errors.Is(err, fs.ErrPermission):
		f.Level, f.Measured = Warn, printable(l.Address)+": not allowed for user "+strconv.Itoa(e.uid)
		f.Means = "Ports below 1024 are for root and for programs with CAP_NET_BIND_SERVICE."
		f.Do = "Add AmbientCapabilities=CAP_NET_BIND_SERVICE to the unit, or take a port from 1024 on."
	default:
		f.Level, f.Measured, f.Means = Fail, printable(l.Address+": "+err.Error()), "The node would not start."
	}
	return f
}

// portOwner returns who listens on an address, as far as /proc tells: the process, 0 if only its user is known.
func (e *exam) portOwner(address string) (pid, uid int, known bool) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return 0, 0, false
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0, 0, false
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, _ := netip.ParseAddr(host) // the zero value stands for all addresses
	for _, name := range []string{"proc/net/tcp", "proc/net/tcp6"} {
		inode, owner, ok := e.listening(name, ip, uint16(port))
		if ok {
			return e.socketOwner(inode), owner, true
		}
	}
	return 0, 0, false
}

// maxSockets bounds what is read of the kernel's list of sockets.
const maxSockets = 64 << 20

// listening looks in a list of sockets for one that listens on a port and gets in the way of ip: proc_pid_net(5).
func (e *exam) listening(name string, ip netip.Addr, port uint16) (inode string, uid int, found bool) {
	f, err := os.Open(e.tree.path(name))
	if err != nil {
		return "", 0, false
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxSockets))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		const listen = "0A"
		if len(fields) < 10 || fields[3] != listen {
			continue
		}
		at, ok := parseSocket(fields[1])
		if !ok || at.Port() != port || ip.IsValid() && !ip.IsUnspecified() && !at.Addr().IsUnspecified() && at.Addr() != ip.Unmap() {
			continue
		}
		if uid, err := strconv.Atoi(fields[7]); err == nil {
			return fields[9], uid, true
		}
	}
	return "", 0, false
}

// parseSocket reads an address as the kernel lists it: groups of four bytes in the order of the machine, here taken to
// be little endian as on all that culvert is built for, a colon, and the port.
func parseSocket(text string) (netip.AddrPort, bool) {
	ip, port, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	raw, err2 := hex.DecodeString(ip)
	if err != nil || err2 != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.LittleEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), ok
}

// socketOwner returns the process that has a socket open, 0 if none is found: other users' cannot be looked into.
func (e *exam) socketOwner(inode string) int {
	want := "socket:[" + inode + "]"
	for _, name := range e.tree.names("proc") {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		dir := filepath.Join("proc", name, "fd")
		for _, fd := range e.tree.names(dir) {
			if link, err := os.Readlink(e.tree.path(filepath.Join(dir, fd))); err == nil && link == want {
				return pid
			}
		}
	}
	return 0
}
