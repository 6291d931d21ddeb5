package machine

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
)

// Numbers of the NBD protocol (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md): fixed newstyle
// handshake, simple replies.
const (
	nbdMagic       = 0x4e42444d41474943 // "NBDMAGIC"
	nbdOption      = 0x49484156454f5054 // "IHAVEOPT"
	nbdOptionReply = 0x3e889045565a9
	nbdRequest     = 0x25609513
	nbdReply       = 0x67446698

	nbdFixedNewstyle = 1 << 0 // handshake flags
	nbdNoZeroes      = 1 << 1

	nbdOptExportName = 1
	nbdOptAbort      = 2
	nbdOptInfo       = 6
	nbdOptGo         = 7

	nbdRepAck      = 1
	nbdRepInfo     = 3
	nbdRepErrUnsup = 1<<31 + 1

	nbdInfoExport    = 0
	nbdInfoBlockSize = 3

	nbdHasFlags  = 1 << 0 // transmission flags
	nbdSendFlush = 1 << 2
	nbdSendFUA   = 1 << 3
	nbdSendTrim  = 1 << 5

	nbdRead  = 0 // commands
	nbdWrite = 1
	nbdDisc  = 2
	nbdFlush = 3
	nbdTrim  = 4

	nbdFUA = 1 << 0 // of a command

	nbdMaxOption  = 4096     // bytes of an option that are read
	nbdMaxPayload = 32 << 20 // bytes of a READ or WRITE, the protocol's own default
)

// ErrNBD means that the other side of a connection does not speak the protocol.
var ErrNBD = errors.New("nbd")

// Serve lets the machines that connect to l use the disk. It returns when l is closed and every connection has ended.
// Each connection is served by itself, its requests one after the other.
func (d *Disk) Serve(l net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
		connections.Go(func() {
			defer conn.Close()
			if err := d.converse(conn); errors.Is(err, ErrOff) {
				// Not even an error comes from a disk without power: the machine waits until its own goes.
				_, _ = io.Copy(io.Discard, conn)
			}
		})
	}
}

// converse serves one connection to its end. Errors: ErrNBD, ErrOff, those of the connection.
func (d *Disk) converse(conn io.ReadWriter) error {
	c := &nbdConn{r: bufio.NewReaderSize(conn, 64<<10), w: bufio.NewWriterSize(conn, 64<<10), disk: d}
	if err := c.handshake(); err != nil {
		return err
	}
	for {
		if c.r.Buffered() == 0 {
			if err := c.w.Flush(); err != nil {
				return err
			}
		}
		if done, err := c.command(); done || err != nil {
			return err
		}
	}
}

type nbdConn struct {
	r    *bufio.Reader
	w    *bufio.Writer
	disk *Disk
}

func (c *nbdConn) read(fields ...any) error {
	for _, f := range fields {
		if err := binary.Read(c.r, binary.BigEndian, f); err != nil {
			return err
		}
	}
	return nil
}

func (c *nbdConn) write(fields ...any) error {
	for _, f := range fields {
		if err := binary.Write(c.w, binary.BigEndian, f); err != nil {
			return err
		}
	}
	return nil
}

func (c *nbdConn) flags() uint16 { return nbdHasFlags | nbdSendFlush | nbdSendFUA | nbdSendTrim }

// handshake answers options until one of them begins the transmission.
func (c *nbdConn) handshake() error {
	if err := c.write(uint64(nbdMagic), uint64(nbdOption), uint16(nbdFixedNewstyle|nbdNoZeroes)); err != nil {
		return err
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	var client uint32
	if err := c.read(&client); err != nil {
		return err
	}
	for {
		var magic uint64
		var option, length uint32
		if err := c.read(&magic, &option, &length); err != nil {
			return err
		}
		if magic != nbdOption || length > nbdMaxOption {
			return fmt.Errorf("%w: option %d of %d bytes with magic %x", ErrNBD, option, length, magic)
		}
		if _, err := c.r.Discard(int(length)); err != nil {
			return err
		}
		begins, err := c.option(option, client)
		if err == nil {
			err = c.w.Flush()
		}
		if begins || err != nil {
			return err
		}
	}
}

// option answers one option; begins tells that the transmission follows. The export's name does not matter: there is
// one disk.
func (c *nbdConn) option(option, client uint32) (begins bool, err error) {
	reply := func(kind uint32, data ...any) error {
		size := 0
		for _, d := range data {
			size += binary.Size(d)
		}
		return errors.Join(c.write(uint64(nbdOptionReply), option, kind, uint32(size)), c.write(data...))
	}
	switch option {
	case nbdOptExportName:
		err := c.write(uint64(c.disk.Size()), c.flags())
		if client&nbdNoZeroes == 0 {
			err = errors.Join(err, c.write([124]byte{}))
		}
		return true, err
	case nbdOptInfo, nbdOptGo:
		return option == nbdOptGo, errors.Join(
			reply(nbdRepInfo, uint16(nbdInfoExport), uint64(c.disk.Size()), c.flags()),
			reply(nbdRepInfo, uint16(nbdInfoBlockSize), uint32(Sector), uint32(4096), uint32(nbdMaxPayload)),
			reply(nbdRepAck))
	case nbdOptAbort:
		return false, errors.Join(reply(nbdRepAck), c.w.Flush(), fmt.Errorf("%w: aborted", ErrNBD))
	}
	return false, reply(nbdRepErrUnsup)
}

// command serves one request; done tells that it was the last.
func (c *nbdConn) command() (done bool, err error) {
	var head struct {
		Magic       uint32
		Flags, Type uint16
		Cookie, At  uint64
		Length      uint32
	}
	if err := c.read(&head); err != nil {
		return false, err
	}
	carries := head.Type == nbdRead || head.Type == nbdWrite
	if head.Magic != nbdRequest || head.At > 1<<62 || carries && head.Length > nbdMaxPayload {
		return false, fmt.Errorf("%w: request %+v", ErrNBD, head)
	}
	at, fua := int64(head.At), head.Flags&nbdFUA != 0
	var data []byte
	if carries {
		data = make([]byte, head.Length)
	}
	switch head.Type {
	case nbdRead:
		err = c.disk.Read(data, at)
	case nbdWrite:
		if _, err := io.ReadFull(c.r, data); err != nil {
			return false, err
		}
		err = c.disk.Write(data, at, fua)
	case nbdFlush:
		err = c.disk.Flush()
	case nbdTrim:
		err = c.trim(at, int64(head.Length), fua)
	case nbdDisc:
		return true, nil
	default:
		err = ErrRange
	}
	if errors.Is(err, ErrOff) {
		return false, err
	}
	if err := c.write(uint32(nbdReply), errno(err), head.Cookie); err != nil {
		return false, err
	}
	if head.Type == nbdRead && err == nil {
		_, err := c.w.Write(data)
		return false, err
	}
	return false, nil
}

// trim writes zeros, as many disks do.
func (c *nbdConn) trim(at, n int64, fua bool) error {
	for n > 0 {
		part := min(n, 1<<20)
		if err := c.disk.Write(make([]byte, part), at, fua); err != nil {
			return err
		}
		at, n = at+part, n-part
	}
	return nil
}

// errno is what a failure is called on the wire; the protocol has taken Linux's numbers.
func errno(err error) uint32 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrRange):
		return uint32(syscall.EINVAL)
	}
	return uint32(syscall.EIO)
}
