package mqtt

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs f with a server on pipes, in which time is not real.
func bubble(t *testing.T, change func(*Config), f func(t *testing.T, s *testServer)) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemLog()
		s := startServer(t, log, true, change)
		log.auto(t, nil)
		f(t, s)
	})
}

// closedAfter waits until the server closes the connection and returns how long that took.
func (c *client) closedAfter() time.Duration {
	c.t.Helper()
	began := time.Now()
	if err := c.nc.SetReadDeadline(began.Add(24 * time.Hour)); err != nil {
		c.t.Fatal(err)
	}
	b, err := readPacket(c.r)
	if err == nil {
		c.t.Fatalf("got % x", b)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 24 * time.Hour
	}
	return time.Since(began)
}

func between(t *testing.T, what string, d, least, most time.Duration) {
	t.Helper()
	if d < least || d > most {
		t.Errorf("%s after %v, want %v to %v", what, d, least, most)
	}
}

func TestConnectHasToComeInTime(t *testing.T) {
	bubble(t, func(c *Config) { c.ConnectTimeout = 3 * time.Second }, func(t *testing.T, s *testServer) {
		between(t, "closed", s.dial().closedAfter(), 3*time.Second, 3*time.Second+2*tickTime)
		c := s.dial()
		c.send(connectBytes("a", 0)[:10]) // a part of it is not enough
		between(t, "closed", c.closedAfter(), 3*time.Second, 3*time.Second+2*tickTime)
		s.expectLogged("no CONNECT in time")
	})
}

func TestKeepAlive(t *testing.T) {
	// [MQTT-3.1.2-24] closed after one and a half times the keepalive; the will is published.
	bubble(t, func(*Config) {}, func(t *testing.T, s *testServer) {
		for _, seconds := range []uint16{1, 10, 600, 65535} {
			c := s.dial()
			c.send(connectWith(connectClean|connectWill, seconds, str("a"), str("w"), str("x")))
			c.expect(connackOK)
			limit := time.Duration(seconds) * time.Second * 3 / 2
			took := c.closedAfter()
			if limit > 24*time.Hour {
				if took < 24*time.Hour {
					t.Errorf("keepalive %d: closed after %v", seconds, took)
				}
				c.send([]byte{0xe0, 0})
				continue
			}
			between(t, "closed", took, limit, limit+2*tickTime)
		}
		synctest.Wait()
		if got := s.log.all("mqtt"); len(got) != 3 {
			t.Errorf("%d wills", len(got))
		}
	})
}

func TestPacketsKeepTheConnectionAlive(t *testing.T) {
	bubble(t, func(*Config) {}, func(t *testing.T, s *testServer) {
		c := s.dial()
		c.send(connectBytes("a", 10))
		c.expect(connackOK)
		for i := range 20 {
			time.Sleep(14 * time.Second)
			if i%2 == 0 {
				c.expectNothing()
			} else {
				c.send(publishBytes("t", "x", 0, false, 0))
			}
		}
		// Parts of a packet are none.
		time.Sleep(10 * time.Second)
		c.send([]byte{0xc0})
		between(t, "closed", c.closedAfter(), 5*time.Second, 5*time.Second+2*tickTime)
	})
}

func TestWithoutKeepAliveSilenceIsAllowed(t *testing.T) {
	bubble(t, func(*Config) {}, func(t *testing.T, s *testServer) {
		c := s.dial()
		c.send(connectBytes("a", 0))
		c.expect(connackOK)
		time.Sleep(10 * time.Hour)
		c.expectNothing()
	})
	bubble(t, func(c *Config) { c.MaxKeepAlive = time.Minute }, func(t *testing.T, s *testServer) {
		for _, seconds := range []uint16{0, 3600, 60} {
			c := s.dial()
			c.send(connectBytes("a", seconds))
			c.expect(connackOK)
			between(t, "closed", c.closedAfter(), 90*time.Second, 90*time.Second+2*tickTime)
		}
	})
}

func TestKeepAliveRestsWhileAPublisherIsHeldBack(t *testing.T) {
	bubble(t, func(*Config) {}, func(t *testing.T, s *testServer) {
		c := s.dial()
		c.send(connectBytes("a", 10))
		c.expect(connackOK)
		s.log.setRefuse(ErrFull)
		c.send(publishBytes("t", "x", 1, false, 1))
		time.Sleep(time.Hour)
		s.log.setRefuse(nil)
		c.expect(puback(1))
		between(t, "closed", c.closedAfter(), 14*time.Second, 15*time.Second+2*tickTime)
	})
}

func TestKeepAliveRestsWhileTheLogIsSlow(t *testing.T) {
	bubble(t, func(*Config) {}, func(t *testing.T, s *testServer) {
		c := s.dial()
		c.send(connectBytes("a", 2))
		c.expect(connackOK)
		block := make(chan struct{})
		s.log.block.Store(&block)
		c.send(publishBytes("t", "x", 1, false, 1))
		time.Sleep(time.Minute)
		s.log.block.Store(nil)
		close(block)
		c.expect(puback(1))
		c.expectNothing()
	})
}

func TestClientThatTakesNothingIsGivenUp(t *testing.T) {
	bubble(t, func(c *Config) { c.WriteTimeout = 30 * time.Second }, func(t *testing.T, s *testServer) {
		c := s.dial()
		c.send(connectBytes("a", 0))
		c.expect(connackOK)
		c.send([]byte{0xc0, 0}) // a pipe holds nothing: the answer waits for the reader
		time.Sleep(25 * time.Second)
		c.expect([]byte{0xd0, 0})
		c.send([]byte{0xc0, 0})
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if n := s.Stats().Connections; n != 0 {
			t.Error("the connection is still there")
		}
		s.expectLogged("takes nothing")
	})
}

func TestRepliesDoNotPileUp(t *testing.T) {
	bubble(t, func(c *Config) { c.MaxOutboundBytes = 1 }, func(t *testing.T, s *testServer) {
		c := s.dial()
		c.send(connectBytes("a", 0))
		c.expect(connackOK)
		pings := []byte(strings.Repeat("\xc0\x00", 1000))
		if err := c.nc.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		sent := 0
		for {
			n, err := c.nc.Write(pings)
			sent += n
			if err != nil {
				break
			}
		}
		if most := maxPendingReplies + 3*bufferSizes[largestBuffer]; sent > most {
			t.Errorf("%d bytes of PINGREQ were taken, want at most %d", sent, most)
		}
	})
}

func TestWillIsKeptUntilTheLogTakesIt(t *testing.T) {
	bubble(t, func(*Config) {}, func(t *testing.T, s *testServer) {
		c := s.dial()
		c.send(connectWith(connectClean|connectWill, 0, str("a"), str("w"), str("bye")))
		c.expect(connackOK)
		s.log.setRefuse(ErrFull)
		c.nc.Close()
		time.Sleep(time.Minute)
		s.log.setRefuse(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := s.log.all("mqtt"); len(got) != 1 {
			t.Errorf("%d wills", len(got))
		}
	})
}

func TestWillThatCannotBeStoredIsCounted(t *testing.T) {
	bubble(t, func(*Config) {}, func(t *testing.T, s *testServer) {
		c := s.dial()
		c.send(connectWith(connectClean|connectWill, 0, str("a"), str("bad/x y"), str("bye")))
		c.expect(connackOK)
		c.nc.Close()
		synctest.Wait()
		s.expectLogged("a will is lost")
	})
}

func TestShutdownAcknowledgesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t, newMemLog(), true)
		c := s.connect("a")
		w := s.dial()
		w.send(connectWith(connectClean|connectWill, 0, str("b"), str("w"), str("bye")))
		w.expect(connackOK)
		c.send(publishBytes("t", "1", 1, false, 1), publishBytes("t", "2", 1, false, 2))
		s.stored("mqtt", 2)
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Shutdown did not wait: %v", err)
		default:
		}
		s.log.commit()
		c.expect(puback(1), puback(2))
		c.expectClosed()
		w.expectClosed()
		synctest.Wait()
		s.log.commit() // the will
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := s.log.all("mqtt"); len(got) != 3 {
			t.Errorf("%d records", len(got))
		}
	})
}

func TestShutdownDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t, newMemLog(), true)
		c := s.connect("a")
		c.send(publishBytes("t", "1", 1, false, 1))
		w := s.dial()
		w.send(connectWith(connectClean|connectWill, 0, str("b"), str("w"), str("bye")))
		w.expect(connackOK)
		s.stored("mqtt", 1)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		between(t, "Shutdown", time.Since(began), 3*time.Second, 4*time.Second)
		if _, err := io.ReadAll(c.r); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the client sees %v", err)
		}
		s.log.commit()
	})
}

// flakyListener fails before it gives connections.
type flakyListener struct {
	net.Listener
	fail int
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.fail--; l.fail >= 0 {
		return nil, errors.New("accept: too many open files")
	}
	return l.Listener.Accept()
}

func TestErrorsOfAcceptAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t, newMemLog(), true)
		network := newPipeListener()
		served := make(chan error, 1)
		go func() { served <- s.Serve(&flakyListener{network, 20}) }()
		began := time.Now()
		ours, theirs := net.Pipe()
		defer ours.Close()
		network.conns <- theirs
		between(t, "accepted", time.Since(began), time.Second, 20*time.Second)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
