package replica

import (
	"strings"
	"testing"
	"time"
)

// fakeClock is the clocks of a machine: time passes on both, a step changes the wall's alone.
type fakeClock struct {
	wall         time.Time
	up           time.Duration
	synchronised bool
}

func (c *fakeClock) pass(d time.Duration) { c.wall, c.up = c.wall.Add(d), c.up+d }
func (c *fakeClock) step(d time.Duration) { c.wall = c.wall.Add(d) }

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestRetentionGoesByAClockThatRunsEvenly(t *testing.T) {
	c := &fakeClock{wall: noon, up: time.Hour, synchronised: true}
	var g clockGuard
	for i := range 10_000 { // more than a day, with the corrections of an NTP client
		if held := g.look(c.wall, c.up, c.synchronised, noon.UnixMilli()); held != "" {
			t.Fatalf("look %d: %s", i, held)
		}
		c.pass(10 * time.Second)
		c.step(time.Duration(i%3-1) * 20 * time.Millisecond)
	}
	c.pass(90 * 24 * time.Hour) // suspended, which the time since boot counts
	if held := g.look(c.wall, c.up, true, -1); held != "" {
		t.Fatal(held)
	}
}

func TestRetentionIsDeafToClocksThatCannotBeRight(t *testing.T) {
	for _, tc := range []struct {
		name  string
		steps func(c *fakeClock, look func() string) string // what the last look says
		want  string                                        // "" if it may expire
	}{
		{"nobody set it", func(c *fakeClock, look func() string) string {
			c.synchronised = false
			c.pass(time.Hour)
			return look()
		}, "not synchronised"},
		{"1970", func(c *fakeClock, look func() string) string {
			c.wall = time.Unix(60, 0)
			return look()
		}, "the year 1970"},
		{"2300", func(c *fakeClock, look func() string) string {
			c.wall = time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)
			return look()
		}, "the year 2300"},
		{"2300, and back", func(c *fakeClock, look func() string) string {
			now := c.wall
			c.wall = time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)
			look()
			c.wall = now
			return look()
		}, ""},
		{"a leap of an hour", func(c *fakeClock, look func() string) string {
			c.step(time.Hour)
			return look()
		}, ""},
		{"a leap of a year", func(c *fakeClock, look func() string) string {
			c.step(365 * 24 * time.Hour)
			return look()
		}, "leapt forward by 8760h0m0s"},
		{"a leap of a year, nine minutes ago", func(c *fakeClock, look func() string) string {
			c.step(365 * 24 * time.Hour)
			for range 54 {
				look()
				c.pass(10 * time.Second)
			}
			return look()
		}, "leapt forward"},
		{"a leap of a year, ten minutes ago", func(c *fakeClock, look func() string) string {
			c.step(365 * 24 * time.Hour)
			for range 60 {
				look()
				c.pass(10 * time.Second)
			}
			return look()
		}, ""},
		{"two leaps, nine minutes apart", func(c *fakeClock, look func() string) string {
			for range 2 {
				c.step(20 * 24 * time.Hour)
				look()
				c.pass(9 * time.Minute)
			}
			return look()
		}, "leapt forward by 960h0m0s"},
		{"leaps of less than a day in every pass", func(c *fakeClock, look func() string) string {
			for range 3 {
				c.step(20 * time.Hour)
				look()
				c.pass(10 * time.Second)
			}
			return look()
		}, "leapt forward by 60h0m0s"},
		{"a leap that was taken back", func(c *fakeClock, look func() string) string {
			c.step(365 * 24 * time.Hour)
			look()
			c.pass(time.Minute)
			c.step(-365 * 24 * time.Hour)
			return look()
		}, ""},
		{"backwards for good", func(c *fakeClock, look func() string) string {
			c.step(-30 * 24 * time.Hour)
			return look()
		}, ""},
		{"backwards and forwards again", func(c *fakeClock, look func() string) string {
			c.step(-30 * 24 * time.Hour)
			for range 5 {
				look()
				c.pass(10 * time.Second)
			}
			c.step(30 * 24 * time.Hour)
			return look()
		}, ""},
		{"set by the network after a boot in 1970", func(c *fakeClock, look func() string) string {
			c.wall, c.synchronised = time.Unix(60, 0), false
			for range 100 {
				look()
				c.pass(10 * time.Second)
			}
			c.wall, c.synchronised = noon.Add(time.Hour), true
			return look()
		}, "leapt forward"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &fakeClock{wall: noon, up: time.Hour, synchronised: true}
			var g clockGuard
			look := func() string { return g.look(c.wall, c.up, c.synchronised, noon.UnixMilli()) }
			if held := look(); held != "" {
				t.Fatal(held)
			}
			c.pass(10 * time.Second)
			if held := tc.steps(c, look); (held == "") != (tc.want == "") || !strings.Contains(held, tc.want) {
				t.Fatalf("held because %q, want %q", held, tc.want)
			}
		})
	}
}

func TestNewestRecordStandsForTheLastTimeTheClockWasSeen(t *testing.T) {
	c := &fakeClock{wall: noon, up: time.Minute, synchronised: true}
	var g clockGuard
	old := noon.Add(-400 * 24 * time.Hour).UnixMilli()
	if held := g.look(c.wall, c.up, true, old); !strings.Contains(held, "leapt forward by 9600h0m0s") {
		t.Fatalf("held because %q", held)
	}
	for range 60 {
		c.pass(10 * time.Second)
		if held := g.look(c.wall, c.up, true, old); (held == "") != (c.up >= 11*time.Minute) {
			t.Fatalf("%v since the boot: %q", c.up, held)
		}
	}
}
