package doctor

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
)

// ownFiles are what a node has open beside connections: segments, journal, metadata, epoll, with room to spare.
const ownFiles = 128

// openFiles returns the hard limit of open files in a /proc/PID/limits file: proc_pid_limits(5). The hard one counts,
// because a Go program raises the soft one to it when it starts.
func openFiles(limits string) (int64, bool) {
	const name = "Max open files"
	for line := range strings.Lines(limits) {
		rest, ok := strings.CutPrefix(line, name)
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 {
			continue
		}
		if fields[1] == "unlimited" {
			return math.MaxInt64, true
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		return n, err == nil
	}
	return 0, false
}

// checkOpenFiles compares the limit of open files, of the running node where there is one, with what it may need.
func (e *exam) checkOpenFiles() []Finding {
	who, whose := "self", "a program started from here"
	if e.held > 0 && e.tree.exists(filepath.Join("proc", strconv.Itoa(e.held), "limits")) {
		who, whose = strconv.Itoa(e.held), "the running node"
	}
	text, _ := e.tree.read(filepath.Join("proc", who, "limits"))
	limit, ok := openFiles(text)
	if !ok {
		return nil
	}
	need := e.opt.Connections + ownFiles
	shown := strconv.FormatInt(limit, 10)
	if limit == math.MaxInt64 {
		shown = "unlimited"
	}
	f := Finding{Check: "open files", Measured: fmt.Sprintf("%s for %s, %d may be needed", shown, whose, need),
		Means:  "Every connection that the configuration allows finds room.",
		Values: map[string]any{"limit": limit, "needed": need}}
	if limit < need {
		f.Level = Warn
		f.Means = fmt.Sprintf("The configuration allows %s; from about %d on new ones fail, and with them the opening of segments.",
			plural(e.opt.Connections, "connection", "connections"), max(0, limit-ownFiles))
		f.Do = fmt.Sprintf("Raise it (LimitNOFILE=%d in the unit, ulimit -Hn in a shell), or lower mqtt.max_connections and kafka.max_connections.", need)
	}
	return []Finding{f}
}
