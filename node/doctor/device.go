package doctor

import (
	"fmt"
	"strings"
)

// checkDevice says what kind of storage it is, and how worn.
func (e *exam) checkDevice() []Finding {
	const check = "device"
	m := e.medium
	parts := []string{string(m.Class)}
	if m.Model != "" {
		parts = append(parts, m.Model)
	}
	if m.Device != "" {
		parts = append(parts, m.Device)
	}
	if m.Made != "" {
		parts = append(parts, "made "+m.Made)
	}
	if m.Written >= 0 {
		parts = append(parts, size(m.Written)+" written")
	}
	f := Finding{Check: check, Measured: strings.Join(parts, ", "), Values: map[string]any{
		"class": m.Class, "device": m.Device, "disk": m.Disk, "model": m.Model, "rotational": m.Rotational, "removable": m.Removable,
		"write_cache": m.WriteCache,
	}}
	if m.Written >= 0 {
		f.Values["written_bytes"] = m.Written
	}
	judgeClass(&f, m.Class)
	findings := []Finding{f}
	if m.Class == EMMC {
		findings = append(findings, judgeLife(m.Life))
	}
	return findings
}

// judgeClass says what the class of the device means.
func judgeClass(f *Finding, c Class) {
	switch c {
	case SDCard, MMC:
		f.Level = Note
		f.Means = "A card wears with every block that is written, and stalls now and then. Unless commit.linger says otherwise, commits wait " +
			"50 ms for company, so that there are fewer of them."
		f.Do = "Use a high-endurance card of class A1 or A2, tell log.card_endurance what its maker promises, and bound the wear with log.write_budget."
	case EMMC:
		f.Means = "It wears with every block that is written, more slowly than a card. Unless commit.linger says otherwise, commits wait 50 ms " +
			"for company, so that there are fewer of them."
	case USBStick:
		f.Level = Warn
		f.Means = "Sticks are made for carrying files: they wear fast under small writes, and many say that a sync is done before it is."
		f.Do = "Use an SSD behind USB, or a high-endurance card."
	case USBDisk:
		f.Level = Note
		f.Means = "A disk behind USB is as good as its adapter: bad ones lose the disk when it draws too much power, or do not pass a sync on."
		f.Do = "Give it a good supply, and pull the plug once to see that it comes back."
	case SSD:
		f.Means = "It takes many small synced writes, and wears slowly."
	case HardDisk:
		f.Level = Note
		f.Means = "Every sync waits for the disk to turn: expect 100 to 200 commits a second, each of which serves all who wait."
		f.Do = "A commit.linger of 10 ms or more lets more share each sync."
	case Virtual:
		f.Level = Note
		f.Means = "The host decides whether what is synced here is on a disk there."
		f.Do = "See that the host does not run this machine with cache=unsafe or the like."
	case Loop:
		f.Level = Note
		f.Means = "It is a file on another file system, whose device wears and syncs in its place."
		f.Do = "Examine the directory of that file instead."
	case Flash:
		f.Level = Note
		f.Means = "Flash without a controller wears as a card does, and the file system spreads the wear."
		f.Do = "Bound the wear with log.write_budget."
	case Memory:
		f.Level = Fail
		f.Means = "It is in memory: everything is gone when the power goes, acknowledged or not."
		f.Do = "Put node.data_dir on a card or a disk."
	case Remote:
		f.Level = Warn
		f.Means = "It is as good and as near as the server behind it."
		f.Do = "Put node.data_dir on a disk or card of this machine."
	default:
		f.Level = Note
		f.Means = "The kernel does not tell what lies below the file system: layers such as overlays hide it."
	}
}

// judgeLife says how much of an eMMC's life is used.
func judgeLife(l Life) Finding {
	f := Finding{Check: "wear", Measured: "the device does not tell", Means: "eMMC before version 5 has no registers for wear.",
		Values: map[string]any{"life_time_a": l.A, "life_time_b": l.B, "pre_eol_info": l.EOL}}
	used, known := l.Used()
	if !known && l.EOL == 0 {
		f.Level = Note
		return f
	}
	f.Means = "The device has most of its life before it."
	switch {
	case used > 1:
		f.Measured = "used up"
	case known:
		f.Measured = fmt.Sprintf("up to %.0f %% of its life used", used*100)
	default:
		f.Measured = "life unknown"
	}
	if l.EOL > 1 {
		f.Measured += fmt.Sprintf(", more than %d %% of its spare blocks used", 60+10*l.EOL)
	}
	switch {
	case used > 1 || l.EOL == 3:
		f.Level, f.Means = Fail, "It has been written more than it was made for, or has nearly no spare blocks: it may refuse writes any day."
		f.Do = "Replace the device, and set log.write_budget on the next."
	case used > 0.8 || l.EOL == 2:
		f.Level, f.Means = Warn, "The end of its life is near."
		f.Do = "Plan to replace it, and set log.write_budget to stretch what is left."
	case used > 0.5:
		f.Level, f.Means = Note, "More than half of its life may be used."
		f.Do = "See the rate in `culvert status`, and set log.write_budget if it is too high."
	}
	return f
}
