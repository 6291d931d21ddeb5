package upstream

import (
	"context"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"
)

// kafkaLog writes the client library's log. The library tells of every attempt while the centre is away, where the
// forwarder itself says once that it is: so only what the library calls an error is a warning, the rest is for debugging.
type kafkaLog struct{ log *slog.Logger }

const levelTrace = slog.LevelDebug - 4

// Level is the most detailed level that is wanted.
func (k kafkaLog) Level() kgo.LogLevel {
	switch ctx := context.Background(); {
	case k.log.Enabled(ctx, levelTrace):
		return kgo.LogLevelDebug
	case k.log.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	case k.log.Enabled(ctx, slog.LevelWarn):
		return kgo.LogLevelError
	}
	return kgo.LogLevelNone
}

// Log writes one line.
func (k kafkaLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	switch level {
	case kgo.LogLevelError:
		to = slog.LevelWarn
	case kgo.LogLevelDebug:
		to = levelTrace
	}
	k.log.Log(context.Background(), to, "kafka client: "+msg, keyvals...)
}
