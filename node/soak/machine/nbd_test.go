package machine

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// A customer speaks the machine's side of the protocol.
type customer struct {
	*nbdConn
	t *testing.T
	c net.Conn
}

// serve serves the disk on a socket and returns what connects to it.
func serve(t *testing.T, d *Disk) (connect func() *customer) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- d.Serve(l) }()
	var conns []net.Conn
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
		l.Close()
		must(t, <-served)
	})
	return func() *customer {
		var dialer net.Dialer
		c, err := dialer.DialContext(t.Context(), "unix", l.Addr().String())
		must(t, err)
		must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		conns = append(conns, c)
		return &customer{&nbdConn{r: bufio.NewReader(c), w: bufio.NewWriter(c)}, t, c}
	}
}

func (c *customer) send(fields ...any) {
	c.t.Helper()
	must(c.t, c.write(fields...))
	must(c.t, c.w.Flush())
}

func (c *customer) get(fields ...any) {
	c.t.Helper()
	must(c.t, c.read(fields...))
}

// greet does the handshake up to the options.
func (c *customer) greet(flags uint32) {
	c.t.Helper()
	var magic, option uint64
	var offered uint16
	c.get(&magic, &option, &offered)
	if magic != nbdMagic || option != nbdOption || offered != nbdFixedNewstyle|nbdNoZeroes {
		c.t.Fatalf("greeted with %x, %x, %x", magic, option, offered)
	}
	c.send(flags)
}

func (c *customer) option(option uint32, data []byte) (kind uint32) {
	c.t.Helper()
	c.send(uint64(nbdOption), option, uint32(len(data)), data)
	for {
		var magic uint64
		var to, length uint32
		c.get(&magic, &to, &kind, &length)
		answer := make([]byte, length)
		c.get(answer)
		if magic != nbdOptionReply || to != option {
			c.t.Fatalf("%x answers option %d", magic, to)
		}
		if kind != nbdRepInfo {
			return kind
		}
		if binary.BigEndian.Uint16(answer) == nbdInfoExport && binary.BigEndian.Uint64(answer[2:]) != 16*Sector {
			c.t.Errorf("the export is %x", answer)
		}
	}
}

// ready gets the connection as far as commands.
func (c *customer) ready() *customer {
	c.t.Helper()
	c.greet(nbdFixedNewstyle | nbdNoZeroes)
	if kind := c.option(nbdOptGo, []byte("\x00\x00\x00\x00\x00\x00")); kind != nbdRepAck {
		c.t.Fatalf("GO is answered with %x", kind)
	}
	return c
}

func (c *customer) ask(command, flags uint16, at, n int64, data []byte) {
	c.t.Helper()
	c.send(uint32(nbdRequest), flags, command, uint64(at)^0xabcdef, uint64(at), uint32(n), data)
}

// do asks and returns the error number of the answer; what is read goes into data.
func (c *customer) do(command, flags uint16, at int64, data []byte) uint32 {
	c.t.Helper()
	var sent []byte
	if command == nbdWrite {
		sent = data
	}
	c.ask(command, flags, at, int64(len(data)), sent)
	var magic, code uint32
	var cookie uint64
	c.get(&magic, &code, &cookie)
	if magic != nbdReply || cookie != uint64(at)^0xabcdef {
		c.t.Fatalf("%x answers request %x", magic, cookie)
	}
	if command == nbdRead && code == 0 {
		c.get(data)
	}
	return code
}

// ends checks that the other side closes the connection.
func (c *customer) ends() {
	c.t.Helper()
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		c.t.Errorf("the connection goes on: %v", err)
	}
}

func TestServedDiskHonoursFlushAndForcedUnitAccess(t *testing.T) {
	d := newDisk(t, 16)
	c := serve(t, d)().ready()
	for _, w := range []struct {
		command, flags uint16
		at             int64
		data           []byte
	}{
		{nbdWrite, 0, 0, content(1, 2)},
		{nbdFlush, 0, 0, nil},
		{nbdWrite, 0, 0, content(2, 1)},
		{nbdWrite, nbdFUA, 4 * Sector, content(3, 1)},
		{nbdTrim, 0, Sector, make([]byte, Sector)},
	} {
		if code := c.do(w.command, w.flags, w.at, w.data); code != 0 {
			t.Fatalf("command %d fails with %d", w.command, code)
		}
	}
	b := make([]byte, 5*Sector)
	if code := c.do(nbdRead, 0, 0, b); code != 0 || !bytes.Equal(b, append(append(content(2, 1), make([]byte, 3*Sector)...), content(3, 1)...)) {
		t.Errorf("before the cut it reads otherwise, or fails with %d", code)
	}
	_, err := d.Cut(nil)
	must(t, err)
	if code := c.do(nbdRead, 0, 0, b); code != 0 || !bytes.Equal(b, append(append(content(1, 2), make([]byte, 2*Sector)...), content(3, 1)...)) {
		t.Errorf("after the cut it reads otherwise, or fails with %d", code)
	}
	c.ask(nbdDisc, 0, 0, 0, nil)
	c.ends()
}

func TestServedDiskSpeaksTheOldWayOfTheHandshake(t *testing.T) {
	c := serve(t, newDisk(t, 16))()
	c.greet(nbdFixedNewstyle)
	if kind := c.option(8 /* structured replies */, nil); kind != nbdRepErrUnsup {
		t.Errorf("an unknown option is answered with %x", kind)
	}
	if kind := c.option(nbdOptInfo, []byte("\x00\x00\x00\x00\x00\x00")); kind != nbdRepAck {
		t.Errorf("INFO is answered with %x", kind)
	}
	c.send(uint64(nbdOption), uint32(nbdOptExportName), uint32(1), []byte("x"))
	var size uint64
	var flags uint16
	var zeroes [124]byte
	c.get(&size, &flags, &zeroes)
	if size != 16*Sector || flags != nbdHasFlags|nbdSendFlush|nbdSendFUA|nbdSendTrim {
		t.Errorf("the export has %d bytes, flags %x", size, flags)
	}
	if code := c.do(nbdRead, 0, 0, make([]byte, Sector)); code != 0 {
		t.Errorf("reading fails with %d", code)
	}
}

func TestServedDiskRefusesWhatItCannotDo(t *testing.T) {
	c := serve(t, newDisk(t, 16))().ready()
	for _, r := range []struct {
		command uint16
		at      int64
		data    []byte
	}{{nbdRead, 1, make([]byte, Sector)}, {nbdWrite, 16 * Sector, make([]byte, Sector)}, {nbdTrim, 15 * Sector, make([]byte, 2*Sector)}, {99, 0, nil}} {
		if code := c.do(r.command, 0, r.at, r.data); code != 22 {
			t.Errorf("command %d at %d: %d", r.command, r.at, code)
		}
	}
}

func TestServedDiskEndsAConnectionThatMakesNoSense(t *testing.T) {
	d := newDisk(t, 16)
	connect := serve(t, d)
	c := connect()
	c.greet(0)
	c.send(uint64(nbdOption), uint32(nbdOptGo), uint32(1<<30))
	c.ends()

	c = connect()
	c.greet(0)
	if kind := c.option(nbdOptAbort, nil); kind != nbdRepAck {
		t.Errorf("ABORT is answered with %x", kind)
	}
	c.ends()

	c = connect().ready()
	c.ask(nbdRead, 0, 0, nbdMaxPayload+Sector, nil)
	c.ends()

	c = connect().ready()
	c.send(make([]byte, 28))
	c.ends()

	if code := connect().ready().do(nbdRead, 0, 0, make([]byte, Sector)); code != 0 {
		t.Errorf("the next connection's reading fails with %d", code)
	}
}

func TestServedDiskWithoutPowerIsSilent(t *testing.T) {
	d := newDisk(t, 16)
	c := serve(t, d)().ready()
	sprung := d.Set(Trap{Op: OpWrite, Nth: 1})
	c.ask(nbdWrite, 0, 0, Sector, make([]byte, Sector))
	<-sprung
	must(t, c.c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	if b, err := c.r.ReadByte(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("it answers: %x, %v", b, err)
	}
}
