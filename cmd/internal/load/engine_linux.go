package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

// clock tells nanoseconds since the start of a run.
type clock struct{ start time.Time }

func (c clock) now() int64 { return int64(time.Since(c.start)) }

// link is one connection in an engine: a raw non-blocking socket and its flow.
type link struct {
	fd      int
	flow    *flow
	rest    []byte // bytes of a packet that is not complete yet
	pending []byte // bytes the socket did not take yet
	writing bool   // the socket is watched for room
	index   int    // in engine.links
	over    bool
}

// schedule releases messages at even times: message k of the engine belongs to link k modulo the number of links.
type schedule struct {
	every    int64 // nanoseconds between two messages, 0 without a rate
	first    int64 // intended time of message 0
	released int64
}

// engine drives its share of the connections from one thread: an epoll loop that reads a burst of acknowledgements and
// answers it with one write.
type engine struct {
	clock    clock
	links    []*link
	schedule schedule
	stopAt   int64 // when no further message is sent
	coalesce int64 // nanoseconds to let pass before the sockets are looked at again; 0: none
	patience int64 // nanoseconds without any byte moving after which the rest is given up
	epoll    int
	timer    int // -1 without a rate
	live     int // links that are not over
	rbuf     []byte
	wbuf     []byte

	moved    int64 // when a byte moved last
	endedAt  int64 // when the last link was over
	failures int64 // links that broke
	failure  error // of the first of them
}

const (
	burstSize = 64 << 10 // bytes of a write at most, unless one packet is larger
	minTick   = 50_000   // nanoseconds between two looks at the schedule, at least
)

func newEngine(c clock) (*engine, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &engine{clock: c, epoll: epoll, timer: -1, rbuf: make([]byte, burstSize), wbuf: make([]byte, 0, burstSize)}, nil
}

// add takes the socket of conn over and closes conn.
func (e *engine) add(conn *mqttc.Conn, f *flow) error {
	defer conn.Close()
	tcp, ok := conn.Conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("a connection of type %T has no socket", conn.Conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	l := &link{fd: -1, index: len(e.links), flow: f, rest: append([]byte(nil), conn.Buffered()...)}
	var dupErr error
	if err := raw.Control(func(fd uintptr) { l.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return err
	}
	if dupErr != nil {
		return os.NewSyscallError("fcntl", dupErr)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(len(e.links))}
	if err := unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, l.fd, &event); err != nil {
		unix.Close(l.fd)
		return os.NewSyscallError("epoll_ctl", err)
	}
	for _, p := range f.packets {
		if len(p) > cap(e.wbuf) {
			e.wbuf = make([]byte, 0, len(p))
		}
	}
	e.links = append(e.links, l)
	e.live++
	return nil
}

// close closes what is still open.
func (e *engine) close() {
	for _, l := range e.links {
		if l.fd >= 0 {
			unix.Close(l.fd)
		}
	}
	if e.timer >= 0 {
		unix.Close(e.timer)
	}
	unix.Close(e.epoll)
}

// pace sets the schedule up: a message every so many nanoseconds, the first one at the time first.
func (e *engine) pace(every, first int64) error {
	e.schedule = schedule{every: every, first: first}
	for i, l := range e.links {
		l.flow.paced = true
		l.flow.first = first + int64(i)*every
		l.flow.every = every * int64(len(e.links))
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	e.timer = timer
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1}
	if err := unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, timer, &event); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	spec := unix.ItimerSpec{
		Interval: unix.NsecToTimespec(max(every, minTick)),
		Value:    unix.NsecToTimespec(max(first-e.clock.now(), 1)),
	}
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(timer, 0, &spec, nil))
}

// run drives the links until all are over, the time to give up has come, or ctx ends.
func (e *engine) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	events := make([]unix.EpollEvent, 256)
	stopped := false
	e.moved = e.clock.now()
	for _, l := range e.links {
		e.send(l, e.clock.now())
	}
	for e.live > 0 {
		if e.coalesce > 0 {
			pause := unix.NsecToTimespec(e.coalesce)
			_ = unix.Nanosleep(&pause, nil)
		}
		n, err := unix.EpollWait(e.epoll, events, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			e.failAll(os.NewSyscallError("epoll_wait", err))
			return
		}
		now := e.clock.now()
		if !stopped && now >= e.stopAt {
			stopped = true
			if e.schedule.every > 0 {
				e.release(now) // what should have been sent by now is sent, and measured, however late
			}
			for _, l := range e.links {
				l.flow.stop()
				e.send(l, now)
			}
		}
		if now-e.moved > e.patience+2*e.schedule.every || ctx.Err() != nil {
			e.endedAt = now
			return
		}
		for _, ev := range events[:max(n, 0)] {
			if ev.Fd < 0 {
				var expirations [8]byte
				_, _ = unix.Read(e.timer, expirations[:])
				continue
			}
			l := e.links[ev.Fd]
			if l.over {
				continue
			}
			if ev.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
				e.read(l)
			}
			e.send(l, e.clock.now())
		}
		if e.schedule.every > 0 {
			e.release(now)
		}
	}
}

// release lets out the messages whose time has come.
func (e *engine) release(now int64) {
	s := &e.schedule
	if now < s.first {
		return
	}
	upTo := min(now, e.stopAt-1)
	target := (upTo-s.first)/s.every + 1
	from := s.released
	for ; s.released < target; s.released++ {
		e.links[s.released%int64(len(e.links))].flow.allowed++
	}
	for k := from; k < min(target, from+int64(len(e.links))); k++ {
		e.send(e.links[k%int64(len(e.links))], now)
	}
}

// read takes what the socket has, once: epoll is level-triggered and calls again.
func (e *engine) read(l *link) {
	kept := copy(e.rbuf, l.rest)
	n, err := unix.Read(l.fd, e.rbuf[kept:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if err == nil && n <= 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		e.end(l, fmt.Errorf("the broker closed the connection: %w", err))
		return
	}
	b, now := e.rbuf[:kept+n], e.clock.now()
	e.moved = now
	used, err := l.flow.receive(b, now)
	if err != nil {
		e.end(l, err)
		return
	}
	l.rest = append(l.rest[:0], b[used:]...)
}

// send writes what the flow has to send.
func (e *engine) send(l *link, now int64) {
	for !l.over {
		if len(l.pending) > 0 {
			n, ok := e.write(l, l.pending)
			if !ok {
				return
			}
			l.pending = l.pending[:copy(l.pending, l.pending[n:])]
			if len(l.pending) > 0 {
				e.watch(l, true)
				return
			}
		}
		out := l.flow.emit(e.wbuf[:0], l.flow.due(), now)
		if len(out) == 0 {
			out = l.flow.finish(out)
		}
		if len(out) == 0 {
			break
		}
		n, ok := e.write(l, out)
		if !ok {
			return
		}
		if n > 0 {
			e.moved = now
		}
		if n < len(out) {
			l.pending = append(l.pending[:0], out[n:]...)
			e.watch(l, true)
			return
		}
		if l.flow.qos == 0 && l.flow.due() > 0 {
			// Nothing but the socket's buffer bounds QoS 0: one burst, then the others' turn.
			e.watch(l, true)
			return
		}
	}
	if l.over {
		return
	}
	e.watch(l, false)
	if l.flow.idle() {
		e.end(l, nil)
	}
}

// write gives bytes to the socket and returns how many it took; ok is false when the link broke.
func (e *engine) write(l *link, b []byte) (n int, ok bool) {
	n, err := unix.Write(l.fd, b)
	switch {
	case err == nil:
		return n, true
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, true
	}
	e.end(l, fmt.Errorf("writing to the broker: %w", err))
	return 0, false
}

// watch asks to be called when the socket has room, or no longer.
func (e *engine) watch(l *link, room bool) {
	if l.writing == room {
		return
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.index)}
	if room {
		event.Events |= unix.EPOLLOUT
	}
	l.writing = room
	if err := unix.EpollCtl(e.epoll, unix.EPOLL_CTL_MOD, l.fd, &event); err != nil {
		e.end(l, os.NewSyscallError("epoll_ctl", err))
	}
}

// end closes a link: with a goodbye when nothing went wrong.
func (e *engine) end(l *link, err error) {
	if l.over {
		return
	}
	l.over = true
	if err != nil {
		e.failures++
		if e.failure == nil {
			e.failure = err
		}
	} else {
		_, _ = unix.Write(l.fd, mqttc.AppendEmpty(nil, mqttc.TypeDisconnect))
	}
	unix.Close(l.fd)
	l.fd = -1
	e.live--
	e.endedAt = e.clock.now()
}

func (e *engine) failAll(err error) {
	for _, l := range e.links {
		e.end(l, err)
	}
}
