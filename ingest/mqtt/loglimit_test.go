package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFailedLogIsToldOnceASecondHoweverManyClientsItCosts(t *testing.T) {
	bubble(t, func(*Config) {}, func(t *testing.T, s *testServer) {
		s.trouble.perSecond = maxTroublePerSecond
		s.log.setRefuse(fmt.Errorf("%w: the device gave up", ErrFailed))
		publish := func(clients int) {
			for i := range clients {
				c := s.connect(fmt.Sprintf("c%d", i))
				c.send(publishBytes("a", "1", 1, false, 1))
				c.expectClosed()
			}
			synctest.Wait()
		}
		said := func() []string {
			var lines []string
			for line := range strings.Lines(s.logged.String()) {
				if strings.Contains(line, "connection ended") && strings.Contains(line, "the device gave up") {
					lines = append(lines, line)
				}
			}
			return lines
		}
		publish(50)
		if lines := said(); len(lines) != 1 || !strings.Contains(lines[0], "level=WARN") {
			t.Errorf("%d lines about 50 clients: %q", len(lines), lines)
		}
		time.Sleep(time.Second)
		publish(50)
		if lines := said(); len(lines) != 2 || !strings.Contains(lines[1], "lines_suppressed=49") {
			t.Errorf("a second later there are %d lines: %q", len(lines), lines)
		}
		bad := s.connect("bad") // what a client does wrong is told all the same
		bad.send([]byte{0xf0, 0})
		bad.expectClosed()
		synctest.Wait()
		if !strings.Contains(s.logged.String(), "client=bad") {
			t.Error("a client's own mistake is not told")
		}
		s.log.setRefuse(nil)
	})
}
