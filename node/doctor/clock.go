package doctor

import (
	"path/filepath"
	"strings"
	"time"
)

// No clock that is right stands before the first or after the last year.
const (
	firstYear = 2026 // this was written then
	lastYear  = 2100
)

// rtcSlack is how far a hardware clock may be from the system's: it may keep local time.
const rtcSlack = 26 * time.Hour

func (e *exam) checkClock() []Finding {
	const check = "clock"
	now := e.now().UTC()
	synced, err := e.synchronised()
	rtc, rtcTime := e.rtc()
	state := map[bool]string{true: "synchronised", false: "not synchronised"}[synced]
	if err != nil {
		state = "synchronisation unknown"
	}
	battery := "no hardware clock"
	if rtc != "" {
		battery = "hardware clock " + rtc
	}
	f := Finding{Check: check, Measured: now.Format("2006-01-02 15:04 UTC") + ", " + state + ", " + battery,
		Values: map[string]any{"time": now, "synchronised": synced, "synchronisation_known": err == nil, "rtc": rtc}}
	plausible := func(t time.Time) bool { return t.Year() >= firstYear && t.Year() <= lastYear }
	switch {
	case !plausible(now):
		f.Level = Fail
		f.Means = "That is not the time. Records would carry it, retention would count by it, and certificates of the centre would not be valid yet, or no longer."
		f.Do = "Let the machine reach an NTP server, or set the clock with `date -s`, before the node starts."
	case err != nil:
		f.Level = Note
		f.Means = "The kernel cannot be asked from here (" + printable(err.Error()) + "): a sandbox may forbid it. The node cannot ask, either, if it runs in the same one."
		f.Do = "Allow the system call adjtimex."
	case !synced && rtc == "":
		f.Level = Warn
		f.Means = "Nothing has set the clock since the machine started, and it has none that runs without power: records carry a wrong time."
		f.Do = "Install an NTP client (systemd-timesyncd, chrony) and let it reach a server; fit a clock module such as a DS3231 where there is no network."
	case !synced:
		f.Level = Note
		f.Means = "Nothing corrects the clock: it is as good as the hardware clock, seconds a day off. A virtual machine may well have it from its host."
		f.Do = "Install an NTP client (systemd-timesyncd, chrony)."
	case rtc == "":
		f.Level = Note
		f.Means = "It is right now. After a power cut the machine starts with a wrong one, until it reaches an NTP server again; records from that time carry it."
		f.Do = "Where the network may be away after a power cut, fit a clock module such as a DS3231."
	default:
		f.Means = "Records carry the right time, also after a power cut."
	}
	findings := []Finding{f}
	if rtc != "" && plausible(now) && (!plausible(rtcTime) || rtcTime.Sub(now).Abs() > rtcSlack) {
		findings = append(findings, Finding{Check: check, Level: Warn, Measured: "hardware clock " + rtc + " says " + rtcTime.Format("2006-01-02 15:04"),
			Means: "It does not keep the time: its battery is empty or missing, and after a power cut the machine starts with a wrong clock.",
			Do:    "Replace the battery.", Values: map[string]any{"rtc_time": rtcTime}})
	}
	return findings
}

// rtc returns the name and the time of the hardware clock that the kernel starts from, "" if there is none.
func (e *exam) rtc() (name string, at time.Time) {
	const class = "sys/class/rtc"
	for _, dir := range e.tree.names(class) {
		get := func(file string) string { return filepath.Join(class, dir, file) }
		if !strings.HasPrefix(dir, "rtc") {
			continue
		}
		seconds, ok := e.tree.number(get("since_epoch"))
		if !ok {
			continue // it cannot be read, so it serves nobody
		}
		first := name == ""
		if first || e.tree.text(get("hctosys")) == "1" {
			name, at = e.tree.text(get("name")), time.Unix(seconds, 0).UTC()
			if name == "" {
				name = dir
			}
		}
	}
	return name, at
}
