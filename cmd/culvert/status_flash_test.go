package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/culvert-mq/culvert/node/admin"
)

func TestTheDaysWritingIsShown(t *testing.T) {
	const gib = 1 << 30
	for name, c := range map[string]struct {
		flash admin.Flash
		want  string
	}{
		"no budget": {admin.Flash{DayBytes: 3 * gib, Known: 86400, Budget: -1, YearsLeft: -1}, "day 3.0 GiB written in the last 24h\nlinger 0s"},
		"a young node": {admin.Flash{DayBytes: gib, Known: 5400, Budget: -1, Linger: 0.05, YearsLeft: -1},
			"day 1.0 GiB written in 1h30m0s that are known of the last 24h\nlinger 50ms"},
		"a budget": {admin.Flash{DayBytes: gib, Known: 86400, Budget: 2 * gib, BudgetUsed: 0.5, Linger: 0.18, MaxLinger: 1, YearsLeft: -1},
			"budget 50 % used: 1.0 GiB of 2.0 GiB written in the last 24h\nlinger 180ms (0s to 1s, as the budget needs it)"},
		"a budget that does not last": {admin.Flash{DayBytes: 3 * gib, Known: 86400, Budget: 2 * gib, BudgetUsed: 1.5, Exceeding: true, Linger: 1, MaxLinger: 1, YearsLeft: -1},
			"budget 150 % used: 3.0 GiB of 2.0 GiB written in the last 24h\nOVER BUDGET log.write_budget cannot be kept, although commits wait; raise it or commit.max_delay, or publish less often\nlinger 1s"},
		"a card":                  {admin.Flash{Known: 86400, Budget: -1, Endurance: 30 << 40, Written: 1 << 40, YearsLeft: 21.4}, "lasts 21 years at this rate, 1.0 TiB of 30.0 TiB written so far"},
		"a card that is new":      {admin.Flash{Known: 86400, Budget: -1, Endurance: 30 << 40, YearsLeft: -1}, "lasts not known yet, 0 B of 30.0 TiB"},
		"an eMMC":                 {admin.Flash{Known: 86400, Budget: -1, Medium: "eMMC", LifeUsed: 0.2, YearsLeft: 3.25}, "lasts 3.2 years at this rate; the eMMC says that up to 20 % of its life is used"},
		"an eMMC without a count": {admin.Flash{Known: 86400, Budget: -1, Medium: "eMMC", LifeUsed: 0.2, YearsLeft: -1}, "lasts the eMMC says that up to 20 %"},
		"an eMMC that is used up": {admin.Flash{Known: 86400, Budget: -1, Medium: "eMMC", LifeUsed: 1.1, YearsLeft: 0}, "lasts the eMMC says that its life is used up"},
		"nearly for ever":         {admin.Flash{Known: 86400, Budget: -1, YearsLeft: 1000}, "lasts more than 100 years at this rate"},
	} {
		var b bytes.Buffer
		l := &admin.LogStatus{Flash: &c.flash, ReceivedBytes: 100, DeviceAmplification: 0.6, Device: admin.Device{DeviceBytes: 60, Name: "mmcblk0p2"}}
		if err := printStore(&b, l, "/srv"); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(b.String()) {
			got = append(got, strings.Join(strings.Fields(line), " "))
		}
		if text := strings.Join(got, "\n"); !strings.Contains(text, c.want) || !strings.Contains(text, "60 B by everything on mmcblk0p2 (0.60 times what was received)") {
			t.Errorf("%s:\n%s\nwant\n%s", name, text, c.want)
		}
		for line := range strings.Lines(b.String()) {
			if len(line) > 130 {
				t.Errorf("%s: a line of %d characters: %s", name, len(line), line)
			}
		}
	}
}
