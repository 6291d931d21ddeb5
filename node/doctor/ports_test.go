package doctor

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const (
	tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000   107        0 4711 1 0 100 0 0 10 0\n" + // 127.0.0.1:1883
		"   1: 0100007F:2384 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n" + // connected
		"   2: 0A00000A:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n" + // 10.0.0.10:9092
		"short\n"
	tcp6 = "head\n   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0  33        0 4714 1 0\n" + // [::]:8080
		"   1: 0000000000000000FFFF00000100007F:270F 00000000000000000000000000000000:0000 0A 0:0 00:0 0  33        0 4715 1 0\n" // [::ffff:127.0.0.1]:9999
)

func TestWhoListensOnAPortIsToldAsFarAsTheKernelDoes(t *testing.T) {
	files := map[string]string{
		"proc/net/tcp": tcp, "proc/net/tcp6": tcp6, "proc/77/comm": "mosquitto\n", "proc/77/fd/0": "-> /dev/null", "proc/77/fd/5": "-> socket:[4711]",
		"proc/78/fd/3": "-> socket:[47110]", "proc/self/x": "", "proc/79/comm": "culvert\n", "proc/79/fd/9": "-> socket:[4713]",
	}
	taken := func(context.Context, string) error {
		return &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	for _, c := range []struct {
		address  string
		held     int
		level    Level
		measured string
	}{
		{"127.0.0.1:1883", 0, Fail, "taken by process 77 (mosquitto)"},
		{"localhost:1883", 0, Fail, "taken by process 77 (mosquitto)"},
		{":1883", 0, Fail, "taken by process 77 (mosquitto)"},
		{"0.0.0.0:1883", 0, Fail, "taken by process 77 (mosquitto)"},
		{"10.0.0.10:9092", 79, OK, "taken by process 79 (culvert)"},
		{"10.0.0.10:9092", 80, Fail, "taken by process 79 (culvert)"},
		{"127.0.0.1:8080", 0, Fail, "taken by a process of user 33"},
		{"127.0.0.1:8080", somebody, Note, "taken by a process of user 33"},
		{"127.0.0.1:8080", unseen, Note, "taken by a process of user 33"},
		{"127.0.0.1:9999", 0, Fail, "taken by a process of user 33"},
		{"127.0.0.1:9092", 0, Fail, "127.0.0.1:9092 is taken"}, // by whom the kernel does not tell
		{"nonsense", 0, Fail, "nonsense is taken"},
		{"127.0.0.1:x", 0, Fail, "is taken"},
	} {
		e := &exam{tree: machineOf(t, files), held: c.held, listen: taken, opt: Options{Listen: []Listener{{"mqtt", c.address}, {"http", ""}}}}
		all := e.checkPorts(t.Context())
		if len(all) != 1 || all[0].Level != c.level || !strings.Contains(all[0].Measured, c.measured) || all[0].Check != "mqtt" {
			t.Errorf("%s: %+v, want %v with %q", c.address, all, c.level, c.measured)
		}
		explained(t, all)
	}
}

func TestWhyAnAddressCannotBeListenedOnIsTold(t *testing.T) {
	for err, want := range map[error]struct {
		level    Level
		measured string
	}{
		nil: {OK, "is free"}, syscall.EADDRNOTAVAIL: {Fail, "no such address here"}, syscall.EACCES: {Warn, "not allowed for user 1000"},
		syscall.ENETDOWN: {Fail, "network is down"},
	} {
		e := &exam{uid: 1000, tree: machineOf(t, nil), listen: func(context.Context, string) error { return err }, opt: Options{Listen: []Listener{{"mqtt", "192.168.4.1:883"}}}}
		all := e.checkPorts(t.Context())
		if all[0].Level != want.level || !strings.Contains(all[0].Measured, want.measured) {
			t.Errorf("%v: %+v, want %+v", err, all, want)
		}
		if want.level != Fail || err == syscall.EADDRNOTAVAIL { //nolint:errorlint // the key of a map
			explained(t, all)
		}
	}
}

func TestARealPortIsFoundTakenByThisProcess(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := newExam(Options{Listen: []Listener{{"mqtt", l.Addr().String()}}})
	f := e.checkPorts(t.Context())[0]
	if f.Level != Fail || !strings.Contains(f.Measured, "is taken") {
		t.Errorf("%+v", f)
	}
	if _, err := os.Stat("/proc/net/tcp"); err == nil && !strings.Contains(f.Measured, "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("the owner is not found: %+v", f)
	}
	l.Close()
	if f := e.checkPorts(t.Context())[0]; f.Level != OK {
		t.Errorf("after it was closed: %+v", f)
	}
}

func FuzzSockets(f *testing.F) {
	f.Add("0100007F:075B")
	f.Add("0000000000000000FFFF00000100007F:270F")
	f.Add(":")
	f.Fuzz(func(t *testing.T, text string) {
		if at, ok := parseSocket(text); ok && !at.IsValid() {
			t.Errorf("%q: %v", text, at)
		}
	})
}
