package mqtt

import (
	"errors"
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

const (
	maxLinesPerSecond = 20
	// maxTroublePerSecond is for what the log does to all clients at once: one line says it.
	maxTroublePerSecond = 1
)

// limitFor returns the limit for lines about what err did to a client.
func (s *Server) limitFor(err error) *logLimit {
	if errors.Is(err, ErrFailed) || errors.Is(err, errCommitFailed) {
		return &s.trouble
	}
	return &s.limited
}

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
