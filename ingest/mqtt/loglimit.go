package mqtt

import (
	"log/slog"
	"sync"
	"time"
)

// logLimit keeps clients from filling the disk with log lines: so many a second, the others are counted.
type logLimit struct {
	perSecond int

	mu         sync.Mutex
	second     int64
	lines      int
	suppressed int
}

const maxLinesPerSecond = 20

// warn logs at level warn.
func (l *logLimit) warn(logger *slog.Logger, msg string, args ...any) {
	now := time.Now().Unix()
	l.mu.Lock()
	if now != l.second {
		l.second, l.lines = now, 0
	}
	l.lines++
	if l.lines > l.perSecond {
		l.suppressed++
		l.mu.Unlock()
		return
	}
	suppressed := l.suppressed
	l.suppressed = 0
	l.mu.Unlock()
	if suppressed > 0 {
		args = append(args, "lines_suppressed", suppressed)
	}
	logger.Warn(msg, args...)
}
