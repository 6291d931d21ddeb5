package quorum

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// bridge is the logger raft is given. All of it comes out at debug level, with raft's own level as an
// attribute: elections and snapshots are raft's business, and what matters to an operator is logged by
// this package.
type bridge struct {
	log     *slog.Logger
	name    string
	implied []any
}

func newBridge(l *slog.Logger) hclog.Logger { return &bridge{log: l, name: "raft"} }

func (b *bridge) enabled() bool { return b.log.Enabled(context.Background(), slog.LevelDebug) }

// Log implements [hclog.Logger].
func (b *bridge) Log(level hclog.Level, msg string, args ...any) {
	if level == hclog.Off || !b.enabled() {
		return
	}
	attrs := make([]any, 0, len(b.implied)+len(args)+2)
	attrs = append(attrs, slog.String("raft_level", level.String()))
	attrs = append(attrs, b.implied...)
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		if s, ok := a.(fmt.Stringer); ok && i%2 == 1 {
			a = s.String()
		}
		attrs = append(attrs, a)
	}
	b.log.Debug(b.name+": "+strings.TrimSpace(msg), attrs...)
}

func (b *bridge) Trace(msg string, args ...any) { b.Log(hclog.Trace, msg, args...) }
func (b *bridge) Debug(msg string, args ...any) { b.Log(hclog.Debug, msg, args...) }
func (b *bridge) Info(msg string, args ...any)  { b.Log(hclog.Info, msg, args...) }
func (b *bridge) Warn(msg string, args ...any)  { b.Log(hclog.Warn, msg, args...) }
func (b *bridge) Error(msg string, args ...any) { b.Log(hclog.Error, msg, args...) }

func (b *bridge) IsTrace() bool { return b.enabled() }
func (b *bridge) IsDebug() bool { return b.enabled() }
func (b *bridge) IsInfo() bool  { return b.enabled() }
func (b *bridge) IsWarn() bool  { return b.enabled() }
func (b *bridge) IsError() bool { return b.enabled() }

func (b *bridge) ImpliedArgs() []any { return b.implied }

func (b *bridge) With(args ...any) hclog.Logger {
	n := *b
	n.implied = append(slices.Clip(n.implied), args...)
	return &n
}

func (b *bridge) Name() string { return b.name }

func (b *bridge) Named(name string) hclog.Logger { return b.ResetNamed(b.name + "." + name) }

func (b *bridge) ResetNamed(name string) hclog.Logger {
	n := *b
	n.name = name
	return &n
}

func (b *bridge) SetLevel(hclog.Level)  {} // slog's handler decides
func (b *bridge) GetLevel() hclog.Level { return hclog.Debug }

func (b *bridge) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(b.StandardWriter(nil), "", 0)
}

func (b *bridge) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{b} }

type lineWriter struct{ b *bridge }

func (w lineWriter) Write(p []byte) (int, error) {
	w.b.Debug(string(p))
	return len(p), nil
}
