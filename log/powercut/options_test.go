//go:build powercut

package powercut

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// homePath is the directory that is there before the store is, and storePath the one that the store makes and owns.
const (
	homePath  = "data"
	storePath = "data/log"
)

// storeOptions are those of store.Options that matter here, sizes in bytes.
type storeOptions struct {
	SegmentBytes, JournalBytes, DirectBytes, AbsorbBytes, MaxOpenBytes int64
	AbsorbInterval, Linger, SegmentAge                                 time.Duration
	Codec                                                              record.Codec
}

// drawOptions makes everything small, so that all that a store does at its bounds comes often.
func drawOptions(r *rand.Rand) storeOptions {
	pick := func(of ...int64) int64 { return of[r.IntN(len(of))] }
	o := storeOptions{
		SegmentBytes: pick(48<<10, 64<<10, 128<<10), JournalBytes: pick(24<<10, 32<<10, 64<<10),
		DirectBytes: pick(6<<10, 10<<10), AbsorbBytes: pick(4<<10, 12<<10, 48<<10), MaxOpenBytes: 96 << 10,
		AbsorbInterval: time.Duration(pick(2, 10, 100)) * time.Millisecond,
		Linger:         time.Duration(pick(0, 0, 1)) * time.Millisecond,
		SegmentAge:     time.Duration(pick(20, 3_600_000)) * time.Millisecond,
		Codec:          []record.Codec{record.None, record.LZ4}[r.IntN(2)],
	}
	return o
}

func (o storeOptions) open(dir string, logger *slog.Logger) (*store.Store, error) {
	return store.Open(store.Options{
		Dir: dir, SegmentBytes: o.SegmentBytes, JournalBytes: o.JournalBytes, DirectBytes: o.DirectBytes,
		AbsorbBytes: o.AbsorbBytes, MaxOpenBytes: o.MaxOpenBytes, AbsorbInterval: o.AbsorbInterval, Linger: o.Linger,
		SegmentAge: o.SegmentAge, MaxMaps: 2, Logger: logger, Metrics: store.NewMetrics(prometheus.NewRegistry()),
	})
}

// alarms is a log handler that keeps what the store calls an error, except that a commit was not finished where that may
// be.
type alarms struct {
	unfinished bool // may be
	mu         sync.Mutex
	said       []string // guarded by mu
}

func (a *alarms) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (a *alarms) WithAttrs([]slog.Attr) slog.Handler           { return a }
func (a *alarms) WithGroup(string) slog.Handler                { return a }

func (a *alarms) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	excused := false
	r.Attrs(func(at slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", at.Key, at.Value)
		err, ok := at.Value.Any().(error)
		excused = excused || ok && a.unfinished && errors.Is(err, store.ErrUnfinished)
		return true
	})
	if excused {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said = append(a.said, b.String())
	return nil
}

// err returns what was said as one error, nil if nothing was.
func (a *alarms) err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.said) == 0 {
		return nil
	}
	return fmt.Errorf("the store raises an alarm: %s", strings.Join(a.said, "; "))
}
