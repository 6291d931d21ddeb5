package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/culvert-mq/culvert/log/fsx"
)

// Latencies are how long syncs took.
type Latencies struct {
	Count         int
	P50, P99, Max time.Duration
}

// A file that is measured with: preallocated, and overwritten in blocks, as the log's journal is.
const (
	probePrefix = ".culvert-doctor-"
	probeBytes  = 1 << 20
	probeBlock  = 4096
)

// measureSync overwrites blocks of a file of its own in dir, each synced before the next, until a bound is reached or ctx
// ends. The file is removed, and so are those that earlier measurements have left because they were killed.
func (e *exam) measureSync(ctx context.Context) (_ Latencies, err error) {
	left, _ := filepath.Glob(filepath.Join(globQuote(e.dir), probePrefix+"*"))
	for _, path := range left {
		_ = os.Remove(path)
	}
	f, err := os.CreateTemp(e.dir, probePrefix+"*")
	if err != nil {
		return Latencies{}, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := fsx.Zero(f, probeBytes); err != nil {
		return Latencies{}, err
	}
	block := make([]byte, probeBlock)
	took := make([]time.Duration, 0, e.opt.SyncCount)
	start := e.now()
	for i := range e.opt.SyncCount {
		if ctx.Err() != nil || e.now().Sub(start) >= e.opt.SyncTime {
			break
		}
		block[0] = byte(i) // a device need not write what it has
		begin := e.now()
		if _, err := f.WriteAt(block, int64(i)*probeBlock%probeBytes); err != nil {
			return Latencies{}, err
		}
		if err := e.datasync(f); err != nil {
			return Latencies{}, err
		}
		took = append(took, e.now().Sub(begin))
	}
	return summarise(took), nil
}

// globQuote makes a path safe for a pattern.
func globQuote(path string) string {
	var quoted []byte
	for i := range len(path) {
		if slices.Contains([]byte(`*?[\`), path[i]) {
			quoted = append(quoted, '\\')
		}
		quoted = append(quoted, path[i])
	}
	return string(quoted)
}

// summarise sorts took.
func summarise(took []time.Duration) Latencies {
	l := Latencies{Count: len(took)}
	if l.Count == 0 {
		return l
	}
	slices.Sort(took)
	rank := func(percent int) time.Duration { return took[(l.Count*percent+99)/100-1] } // the nearest rank
	l.P50, l.P99, l.Max = rank(50), rank(99), took[l.Count-1]
	return l
}

const checkSyncName = "sync"

func (e *exam) checkSync(ctx context.Context) []Finding {
	l, err := e.measureSync(ctx)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return []Finding{{Check: checkSyncName, Level: Warn, Measured: "not measured: no right to write in " + printable(e.dir),
			Means: "Nothing is known about how fast the log can be.", Do: "Run this as the user that runs the node, or as root."}}
	case err != nil:
		return []Finding{{Check: checkSyncName, Level: Fail, Measured: printable(err.Error()),
			Means: "A file in the data directory cannot be written and synced, so no record can be, either.", Do: "See `dmesg` for the device's errors."}}
	case l.Count == 0:
		return []Finding{{Check: checkSyncName, Level: Note, Measured: "not measured: interrupted", Means: "Nothing is known about how fast the log can be."}}
	}
	return []Finding{judgeSync(l, e.medium.Class, e.held != nobody && e.held != unseen)}
}

// Bounds of what is expected of a medium.
const (
	slowTypical = 20 * time.Millisecond  // of the median: a card at the lower end
	slowTail    = 250 * time.Millisecond // of one in a hundred
	longStall   = 2 * time.Second
	cardFloor   = 150 * time.Microsecond // no card or stick has synced a block before
	diskFloor   = time.Millisecond       // nor has a disk turned
)

// judgeSync says what the latencies mean on a medium.
func judgeSync(l Latencies, c Class, busy bool) Finding {
	f := Finding{Check: checkSyncName, Measured: fmt.Sprintf("p50 %s, p99 %s, max %s (%d of 4 KiB)", short(l.P50), short(l.P99), short(l.Max), l.Count),
		Values: map[string]any{"p50_seconds": l.P50.Seconds(), "p99_seconds": l.P99.Seconds(), "max_seconds": l.Max.Seconds(), "count": l.Count}}
	rate := max(1, int64(time.Second/max(l.P50, 1)))
	f.Means = fmt.Sprintf("A sensor that waits for every acknowledgement gets about %d messages a second; those that wait together share a sync, "+
		"so that all of them together get many more. One in a hundred waits %s.", rate, short(l.P99))
	if busy {
		f.Means += " A node was running meanwhile: its own syncs are in these times."
	}
	fast := l.P50 < cardFloor && (c == SDCard || c == MMC || c == USBStick) || l.P50 < diskFloor && c == HardDisk
	switch {
	case c == Memory:
		f.Means = "Memory has nothing to sync; the times say nothing."
	case fast:
		f.Level = Warn
		f.Means += fmt.Sprintf(" But that is faster than a %s can be: something says that data is stored before it is, and a power cut may take acknowledged records.", c)
		f.Do = "Look for a write cache that has no battery, in the adapter or the device, and turn it off."
	case l.P50 > slowTypical || l.P99 > slowTail || l.Max > longStall:
		f.Level = Warn
		f.Means += " That is slow"
		if l.Max > longStall {
			f.Means += fmt.Sprintf(", and publishers stood still for %s", short(l.Max))
		}
		f.Means += "."
		f.Do = "See what else writes to the device (iostat -x 5), use a card of class A2 or an SSD, and let more share a sync with a longer commit.linger."
	}
	return f
}
