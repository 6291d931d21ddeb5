package doctor

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestTheClockIsJudgedByWhatSetsItAndWhatKeepsIt(t *testing.T) {
	now := time.Date(2027, 3, 4, 5, 6, 0, 0, time.UTC)
	clock := func(at time.Time) map[string]string {
		return map[string]string{"sys/class/rtc/rtc0/name": "rtc-ds1307 1-0068\n", "sys/class/rtc/rtc0/since_epoch": strconv.FormatInt(at.Unix(), 10) + "\n"}
	}
	right, none := clock(now.Add(-time.Hour)), map[string]string{}
	yes := func() (bool, error) { return true, nil }
	no := func() (bool, error) { return false, nil }
	for name, c := range map[string]struct {
		now    time.Time
		synced func() (bool, error)
		files  map[string]string
		level  Level
		says   string
	}{
		"all there":            {now, yes, right, OK, "2027-03-04 05:06 UTC, synchronised, hardware clock rtc-ds1307 1-0068"},
		"no battery":           {now, yes, none, Note, "synchronised, no hardware clock"},
		"nothing sets it":      {now, no, right, Note, "not synchronised, hardware clock"},
		"nothing at all":       {now, no, none, Warn, "not synchronised, no hardware clock"},
		"forbidden to ask":     {now, func() (bool, error) { return false, errors.New("operation not permitted") }, right, Note, "synchronisation unknown"},
		"the epoch":            {time.Unix(100, 0), no, none, Fail, "1970-01-01"},
		"before this program":  {time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), yes, right, Fail, "2021-01-01"},
		"far in the future":    {time.Date(2106, 2, 7, 0, 0, 0, 0, time.UTC), yes, right, Fail, "2106"},
		"battery empty":        {now, yes, clock(time.Unix(50, 0)), Warn, "says 1970-01-01"},
		"keeps local time":     {now, yes, clock(now.Add(14 * time.Hour)), OK, "synchronised"},
		"battery runs out":     {now, yes, clock(now.Add(-48 * time.Hour)), Warn, "says 2027-03-02"},
		"unreadable":           {now, no, map[string]string{"sys/class/rtc/rtc0/name": "x", "sys/class/rtc/rtc0/since_epoch": "x"}, Warn, "no hardware clock"},
		"the second starts it": {now, yes, with(clock(time.Unix(1, 0)), map[string]string{"sys/class/rtc/rtc1/name": "good", "sys/class/rtc/rtc1/hctosys": "1\n", "sys/class/rtc/rtc1/since_epoch": strconv.FormatInt(now.Unix(), 10)}), OK, "hardware clock good"},
	} {
		e := &exam{tree: machineOf(t, c.files), now: func() time.Time { return c.now }, synchronised: c.synced}
		all := e.checkClock()
		worst := (&Report{Findings: all}).Worst()[0]
		if worst.Level != c.level || !strings.Contains(worst.Measured, c.says) {
			t.Errorf("%s: %+v, want %v with %q", name, all, c.level, c.says)
		}
		explained(t, all)
	}
}

func TestTheSupplyOfABoardIsJudged(t *testing.T) {
	const firmware = "sys/devices/platform/soc/soc:firmware/get_throttled"
	volt := func(alarm string) map[string]string {
		return map[string]string{"sys/class/hwmon/hwmon0/name": "cpu_thermal\n", "sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": alarm}
	}
	for name, c := range map[string]struct {
		files    map[string]string
		level    Level
		measured string
	}{
		"enough":             {map[string]string{firmware: "0\n"}, OK, "enough voltage"},
		"too little now":     {map[string]string{firmware: "50005\n"}, Fail, "too little voltage now"},
		"too little earlier": {map[string]string{firmware: "0x50000\n"}, Warn, "too little voltage at times"},
		"too warm now":       {map[string]string{firmware: "80008\n"}, Warn, "slowed down"},
		"too warm earlier":   {map[string]string{firmware: "80000\n"}, Note, "slowed down at times"},
		"sensor: enough":     {volt("0\n"), OK, "enough voltage"},
		"sensor: too little": {volt("1\n"), Fail, "too little voltage now"},
		"both: firmware":     {with(volt("0\n"), map[string]string{firmware: "1"}), Fail, "too little voltage now"},
		"nonsense: sensor":   {with(volt("0\n"), map[string]string{firmware: "volts"}), OK, "enough voltage"},
	} {
		all := (&exam{tree: machineOf(t, c.files)}).checkPower()
		if len(all) == 0 {
			t.Errorf("%s: nothing", name)
			continue
		}
		worst := (&Report{Findings: all}).Worst()[0]
		if worst.Level != c.level || !strings.Contains(worst.Measured, c.measured) {
			t.Errorf("%s: %+v, want %v with %q", name, all, c.level, c.measured)
		}
		explained(t, all)
	}
	for _, files := range []map[string]string{nil, volt("x"), {"sys/class/hwmon/hwmon0/name": "cpu_thermal"}} {
		if all := (&exam{tree: machineOf(t, files)}).checkPower(); all != nil {
			t.Errorf("a machine that does not tell: %+v", all)
		}
	}
}
