package doctor

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Bits of the Raspberry Pi firmware's GET_THROTTLED: what is so now, and 16 bits above what has been since the start.
const (
	underVoltage = 1 << 0
	capped       = 1 << 1
	throttled    = 1 << 2
	tooWarm      = 1 << 3
	everShift    = 16
)

const powerDo = "Use the board's own supply (5.1 V, 3 A for a Pi 4, 5 A for a Pi 5) and a short thick cable, and feed disks from a supply of their own."

// checkPower asks a Raspberry Pi whether its supply is enough; other machines have no such file, and no finding.
func (e *exam) checkPower() []Finding {
	if text := e.tree.text("sys/devices/platform/soc/soc:firmware/get_throttled"); text != "" {
		bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 32)
		if err == nil {
			return judgeThrottled(uint32(bits))
		}
	}
	const class = "sys/class/hwmon"
	for _, dir := range e.tree.names(class) {
		if e.tree.text(filepath.Join(class, dir, "name")) != "rpi_volt" {
			continue
		}
		if alarm, ok := e.tree.number(filepath.Join(class, dir, "in0_lcrit_alarm")); ok {
			return judgeThrottled(uint32(min(max(alarm, 0), 1)) * underVoltage)
		}
	}
	return nil
}

// judgeThrottled says what the firmware's bits mean.
func judgeThrottled(bits uint32) []Finding {
	ever := bits >> everShift
	values := map[string]any{"throttled": bits}
	power := Finding{Check: "power", Measured: "enough voltage", Means: "The supply holds.", Values: values}
	switch {
	case bits&underVoltage != 0:
		power.Level, power.Measured = Fail, "too little voltage now"
		power.Means = "The board gets less than 4.63 V. Cards lose and garble writes when the voltage sags, whatever was acknowledged before."
		power.Do = powerDo
	case ever&underVoltage != 0:
		power.Level, power.Measured = Warn, "too little voltage at times, since the start"
		power.Means = "The board got less than 4.63 V for a while. Cards lose and garble writes when the voltage sags, whatever was acknowledged before."
		power.Do = powerDo
	}
	findings := []Finding{power}
	if now := bits & (throttled | tooWarm | capped); now != 0 && bits&underVoltage == 0 {
		findings = append(findings, Finding{Check: "heat", Level: Warn, Measured: "the processor is slowed down",
			Means: "The board is too warm, and everything takes longer.", Do: "Give it air or a heat sink; a street cabinet in the sun passes 60 degrees.", Values: values})
	} else if ever&tooWarm != 0 {
		findings = append(findings, Finding{Check: "heat", Level: Note, Measured: "the processor was slowed down at times, since the start",
			Means: "The board was too warm for a while.", Do: "Give it air or a heat sink; a street cabinet in the sun passes 60 degrees.", Values: values})
	}
	return findings
}
