package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"

	"github.com/culvert-mq/culvert/node/config"
)

// newLogger makes the logger that the configuration asks for, and what its level is changed by. journal is the value of
// JOURNAL_STREAM.
func newLogger(cfg *config.Config, w io.Writer, journal string) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	level.Set(logLevel(cfg))
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Node.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), level
	}
	if cfg.Node.LogFormat == "auto" && isJournal(w, journal) {
		opts.ReplaceAttr = withoutTime
	}
	return slog.New(slog.NewTextHandler(w, opts)), level
}

func logLevel(cfg *config.Config) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(cfg.Node.LogLevel)); err != nil {
		return slog.LevelInfo
	}
	return l
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// isJournal reports whether w is the journal: systemd sets JOURNAL_STREAM to the device and inode of the stream it gave,
// so that a program can tell whether its output still goes there (systemd.exec(5)).
func isJournal(w io.Writer, journal string) bool {
	f, ok := w.(*os.File)
	if !ok || journal == "" {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && journal == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
